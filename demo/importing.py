"""The service as an operator's script uses it: start an import, watch it, read the report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from demo.processes import DemoError
from demo.terminal import ProgressLine

Json = dict[str, Any]
COUNTERS = {
    "total_files_scanned": "扫描文件 files scanned",
    "total_patients_found": "涉及患者 patients found",
    "new_patients_created": "新建患者 patients created",
    "existing_patients_skipped": "已有患者 patients existing",
    "new_images_uploaded": "新上传文件 files uploaded",
    "duplicate_images_skipped": "已存在 already there",
    "failed_files": "失败文件 failed",
    "held_files": "  其中：身份不符扣留 held",
    "no_pixel_files": "  其中：不含图像 no picture",
    "ignored_files": "忽略的杂项文件 ignored",
    "frames_uploaded": "上传的图像（逐帧）pictures uploaded",
}
"""Counter → what it counts: the seven of the contract, and four more."""
_ENDED = frozenset({"completed", "failed", "cancelled"})
_POLL_S = 0.2
_IMPORT_WITHIN_S = 240.0


@dataclass(frozen=True, slots=True)
class Imported:
    """One finished import: the final status, a report row for each scanned file, seconds from request to end."""

    status: Json
    report: list[Json]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """The counters of :data:`COUNTERS`."""
        return {name: self.status["progress"][name] for name in COUNTERS}


def open_client(url: str) -> httpx.Client:
    """For one of the two processes on this machine; no proxy is used."""
    return httpx.Client(base_url=url, trust_env=False, timeout=30)


def detected_contract(service: httpx.Client) -> str:
    """XieHe's contract as the service detected it.

    Raises:
        DemoError: the service is not ready; with what is amiss.
    """
    ready: Json = service.get("/health/ready").json()
    amiss = [f"{check['name']}: {check['detail']}" for check in ready["checks"] if not check["ok"]]
    if amiss:
        raise DemoError("服务没有就绪：" + "；".join(amiss))
    return str(ready["contract"])


def run_import(service: httpx.Client, source: Path, description: str) -> Imported:
    """POST /import, then GET /status until it ends, then GET /report.

    Raises:
        DemoError: it was refused, or does not end.
    """
    begun = time.monotonic()
    answer = service.post("/import", json={"source_path": str(source), "description": description})
    if answer.status_code != 202:
        raise DemoError(f"POST /import → {answer.status_code} {answer.text}")
    path = f"/import/{answer.json()['task_id']}"
    status = _watch(service, f"{path}/status", begun + _IMPORT_WITHIN_S)
    seconds = time.monotonic() - begun
    report = service.get(f"{path}/report", params={"format": "json"}).raise_for_status().json()
    return Imported(status, report, seconds)


def _watch(service: httpx.Client, path: str, deadline: float) -> Json:
    line = ProgressLine()
    while True:
        status: Json = service.get(path).raise_for_status().json()
        ended = status["status"] in _ENDED
        line.show(status, final=ended)
        if ended:
            return status
        if time.monotonic() > deadline:
            raise DemoError(f"导入没有按时结束，最后状态 {status['status']}（{status['pause_reason']}）")
        time.sleep(_POLL_S)
