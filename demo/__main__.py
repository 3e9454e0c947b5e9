"""``python -m demo``: the whole way from DICOM files to a XieHe, seen and checked; exit code 0 if all is well."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from demo.checks import Check, all_checks
from demo.importing import COUNTERS, Imported, detected_contract, open_client, run_import
from demo.processes import REPOSITORY, Account, DemoError, running_sandbox, running_service
from demo.sample_tree import SampleTree, build_sample_tree
from demo.terminal import heading, table

ACCOUNT = Account(token="demo-token", user="importer", password="demo-password")
_MARKER = ".dicom-import-demo"
_MILLION = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; 0 as expected, 1 not, 130 interrupted."""
    options = _parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that knows no Chinese
    for ending in ("SIGINT", "SIGTERM", "SIGHUP"):  # a shell's background job inherits a SIGINT that is ignored
        if hasattr(signal, ending):
            signal.signal(getattr(signal, ending), _leave)
    try:
        return demonstrate(options.folder.resolve(), options.contract, keep_running=options.keep_running)
    except DemoError as error:
        print(f"\n✗ {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n已中断，两个进程均已停止。Interrupted; both processes are stopped.")
        return 130


def demonstrate(folder: Path, contract: int, *, keep_running: bool) -> int:
    """Everything, in a fresh ``folder``; 0 if all is as expected, else 1."""
    begun = time.monotonic()
    _make_empty(folder)
    heading("样例目录 sample tree")
    tree = build_sample_tree(folder / "dicom")
    _describe(tree)
    heading("启动 XieHe 沙箱与导入服务 two processes")
    with (
        running_sandbox(contract, folder, ACCOUNT) as sandbox_url,
        running_service(sandbox_url, folder, ACCOUNT) as service_url,
    ):
        with open_client(service_url) as service:
            print(f"  XieHe 沙箱  {sandbox_url}  （接口 C{contract}）")
            print(f"  导入服务    {service_url}  （自动识别出接口 {detected_contract(service)}）")
            heading("第一次导入 first import")
            first = run_import(service, tree.root, "演示：首次导入")
            heading("再次导入同一目录 the same again")
            second = run_import(service, tree.root, "演示：再次导入")
        with open_client(sandbox_url) as sandbox:
            xiehe = sandbox.get("/sandbox/state").raise_for_status().json()
        _show_counts(first, second)
        _show_failures(first)
        _show_pictures(folder / "output")
        good = _show_checks(all_checks(tree, first, second, xiehe, folder / "output"))
        print(f"\n  用时 {time.monotonic() - begun:.1f} 秒；日志 {folder}/service.log、sandbox.log")
        if keep_running:
            _stay(tree, first, service_url, sandbox_url)
    if keep_running:
        print("两个进程均已停止。Both processes are stopped.")
    return 0 if good else 1


# --- the parts -----------------------------------------------------------------------------------------------------


def _make_empty(folder: Path) -> None:
    """Clears away an earlier demonstration, and nothing else.

    Raises:
        DemoError: the folder holds something that is not ours.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise DemoError(f"{folder} 不是空目录，也不是以前的演示目录；请用 --folder 指定别的目录")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARKER).touch()


def _describe(tree: SampleTree) -> None:
    size = sum(path.stat().st_size for path in tree.root.rglob("*") if path.is_file())
    print(f"  {tree.root}")
    print(
        f"  {len(tree.files)} 个 DICOM 文件（{size / _MILLION:.0f} MB），{len(tree.people)} 位患者，3 个月份；"
        f"另有 {tree.ignored} 个杂项文件、1 个不合规的目录"
    )
    print("  来源：pydicom 自带的真实影像，及绘制的全脊柱 X 光片；没有下载任何内容")


def _show_counts(first: Imported, second: Imported) -> None:
    heading("计数 counts")
    rows = [(label, first.counts[name], second.counts[name]) for name, label in COUNTERS.items()]
    table(("", "第一次 1st", "第二次 2nd"), rows)
    print(
        f"\n  第一次：{first.status['result']}，{first.status['result_detail']}；{first.seconds:.1f} 秒"
        f"\n  第二次：{second.status['result']}，{second.status['result_detail']}；{second.seconds:.1f} 秒"
    )


def _show_failures(first: Imported) -> None:
    heading("没有导入的，及原因 not imported, and why")
    for error in sorted(first.status["errors"], key=lambda entry: str(entry["file"])):
        print(f"  {error['file']}\n    {error['code']}：{error['error']}\n    → {error['hint']}")
    for skipped in first.status["skipped_folders"]:
        print(f"  {skipped['path']}\n    {skipped['reason']}\n    → {skipped['hint']}")


def _show_pictures(output: Path) -> None:
    heading("转换出的 JPG pictures")
    pictures = list(output.rglob("*.jpg"))
    size = sum(path.stat().st_size for path in pictures)
    print(f"  {output}/<月份>/<患者ID>/   共 {len(pictures)} 张，{size / _MILLION:.1f} MB")


def _show_checks(checks: Sequence[Check]) -> bool:
    heading("核对 checks")
    for check in checks:
        print(f"  {'✗' if check.differences else '✓'} {check.name}")
        for difference in check.differences:
            print(f"      {difference}")
    good = not any(check.differences for check in checks)
    print("\n  全部符合预期。All as expected." if good else "\n  有不符之处，见上。Not as expected.")
    return good


def _stay(tree: SampleTree, first: Imported, service_url: str, sandbox_url: str) -> None:
    """Leaves both processes up until Ctrl-C."""
    task = f"{service_url}/import/{first.status['task_id']}"
    heading("两个进程继续运行，按 Ctrl-C 结束 both stay up until Ctrl-C")
    print(
        f"""  管理界面   {service_url}/dashboard
  接口一览   {service_url}/   （OpenAPI：{service_url}/openapi.json）
  XieHe 内容 {sandbox_url}/sandbox/state?hashes=false

  curl {service_url}/health/ready
  curl {service_url}/import/tasks
  curl {task}/status
  curl {task}/stats
  curl '{task}/report?format=csv'
  curl -X POST {service_url}/import -H 'Content-Type: application/json' \\
       -d '{{"source_path": "{tree.root}/2024-01"}}'
  curl -X POST {task}/retry \\
       -H 'Content-Type: application/json' \\
       -d '{{"code": "patient_mismatch", "on_patient_mismatch": "trust_dicom"}}'""",
        flush=True,
    )
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    print("\n正在停止两个进程… Stopping both processes…", flush=True)


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    """Ends as Ctrl-C does, so that the children are stopped."""
    raise KeyboardInterrupt(signal_number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="从 DICOM 目录到 XieHe 的完整演示（约一分钟）")
    parser.add_argument("--contract", type=int, choices=[1, 2, 3, 4], default=4, help="沙箱扮演的 XieHe 接口版本")
    parser.add_argument("--keep-running", "--hold", action="store_true", help="结束后两个进程继续运行，按 Ctrl-C 停止")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "demo-run", help="演示目录（每次重建）")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
