"""Rendering on a Dask cluster: a real scheduler and real workers, which are killed, differ, and come back."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from errors import ConfigurationError, DiskFullError, RendererUnavailableError, ServiceStoppingError
from models import ReadReply, ReadRequest
from render import PoolOptions
from render.cluster.executor import ClusterOptions, RenderCluster
from tests.dicom_files import Tree, a_dicom_file, write_tree
from tests.integration.dask_cluster import DaskCluster
from tests.integration.sandbox_process import SandboxProcess
from tests.integration.service_process import REPOSITORY, ServiceProcess
from tests.integration.xiehe_facts import names
from tests.waiting import async_until as until
from tests.waiting import until as wait_until

POOL = PoolOptions(workers=1, timeout_s=10.0, memory_mb=256, entry="tests.integration.dask_jobs:behave", check=None)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are killed with SIGKILL")


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A cluster that each test leaves as it finds it. It gives a job up at the first death of a worker."""
    with DaskCluster(tmp_path_factory.mktemp("dask"), allowed_failures=0) as cluster:
        cluster.start_worker()
        cluster.start_worker()
        yield cluster


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The shared storage where pictures are made."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def a_cluster(
    cluster: DaskCluster, shared: Path | str, pool: PoolOptions = POOL
) -> AbstractAsyncContextManager[RenderCluster]:
    return RenderCluster.open(ClusterOptions(cluster.address, pool, str(shared)))


def a_request(deed: str, *words: object, prefix: object = "/nonexistent/x") -> ReadRequest:
    return ReadRequest(path=" ".join([deed, *map(str, words)]), named_dicom=True, output_prefix=str(prefix))


def code(reply: ReadReply) -> str | None:
    return reply.failure.code if reply.failure else None


def is_empty(folder: Path) -> bool:
    """Whether it has no images; the probe is there as long as the service is."""
    return not any(not path.name.startswith("probe-") for path in folder.iterdir())


async def ready(renderer: RenderCluster, workers: int) -> None:
    await until(lambda: renderer.check().alive == workers)


@pytest.fixture
async def renderer(two_workers: DaskCluster, shared: Path) -> AsyncIterator[RenderCluster]:
    async with a_cluster(two_workers, shared) as opened:
        await ready(opened, 2)
        yield opened


# --- what a file may cost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deed", "words", "wanted"),
    [
        ("paint-and-abort", (), "render_crashed"),
        ("spin", (), "render_timeout"),
        ("devour", (400,), "render_out_of_memory"),
        ("damaged", (), "pixel_decode_failed"),
        ("defect", (), "render_crashed"),
    ],
)
async def test_a_bad_file_costs_itself_only(
    renderer: RenderCluster, shared: Path, deed: str, words: tuple[object, ...], wanted: str
) -> None:
    bad = asyncio.create_task(renderer.run(a_request(deed, *words, prefix=shared / "x")))
    others = await asyncio.gather(*(renderer.run(a_request("who")) for _ in range(8)))

    assert code(await bad) == wanted
    assert {code(reply) for reply in others} == {None}
    assert renderer.check().alive == 2
    assert is_empty(shared)


async def test_a_full_disk_is_raised_and_all_workers_stay_usable(renderer: RenderCluster) -> None:
    with pytest.raises(DiskFullError):
        await renderer.run(a_request("disk-full"))
    assert renderer.check().alive == 2


async def test_both_workers_work_at_once(renderer: RenderCluster, tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    jobs = [asyncio.create_task(renderer.run(a_request("hold", log, go))) for _ in range(2)]
    await until(lambda: log.exists() and len(set(log.read_text().split())) == 2)
    go.touch()
    assert len({(await job).content_sha256 for job in jobs}) == 2


async def test_a_cancelled_job_leaves_no_picture(renderer: RenderCluster, shared: Path, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    job = asyncio.create_task(renderer.run(a_request("paint-when-released", started, go, prefix=shared / "x")))
    await until(started.exists)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    go.touch()
    await asyncio.gather(*(renderer.run(a_request("who")) for _ in range(4)))
    await until(lambda: is_empty(shared))


async def test_closing_ends_what_is_under_way(two_workers: DaskCluster, shared: Path, tmp_path: Path) -> None:
    async with a_cluster(two_workers, shared) as renderer:
        await ready(renderer, 2)
        log = tmp_path / "log"
        job = asyncio.create_task(renderer.run(a_request("hold", log, tmp_path / "never")))
        await until(log.exists)
    with pytest.raises(ServiceStoppingError):
        await job
    with pytest.raises(ServiceStoppingError):
        await renderer.run(a_request("who"))


async def test_a_worker_that_cannot_write_gets_no_jobs_and_no_file_fails(
    renderer: RenderCluster, tmp_path: Path
) -> None:
    marked = tmp_path / "marked"
    marked.write_text((await renderer.run(a_request("who"))).content_sha256 or "", encoding="utf-8")

    limits = resource.prlimit(int(marked.read_text()), resource.RLIMIT_FSIZE)
    try:
        replies = await asyncio.gather(*(renderer.run(a_request("refuse", marked)) for _ in range(6)))
    finally:
        resource.prlimit(int(marked.read_text()), resource.RLIMIT_FSIZE, limits)

    assert marked.read_text() not in {reply.content_sha256 for reply in replies}
    assert {code(reply) for reply in replies} == {None}
    health = renderer.check()
    assert (health.ready, health.alive) == (True, 1)
    assert "只读" in health.detail


# --- workers that die ------------------------------------------------------------------------------------------------


async def test_a_worker_that_dies_costs_a_retry(
    two_workers: DaskCluster, renderer: RenderCluster, tmp_path: Path
) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    workers = {str(worker.pid): worker for worker in two_workers.workers}
    job = asyncio.create_task(renderer.run(a_request("hold", log, go)))
    await until(lambda: log.exists() and bool(log.read_text()))
    two_workers.kill(workers.pop(log.read_text().strip()))
    await until(lambda: len(log.read_text().split()) == 2)
    go.touch()
    reply = await job

    assert (code(reply), [reply.content_sha256]) == (None, list(workers))
    await ready(renderer, 1)
    two_workers.start_worker()
    await ready(renderer, 2)


async def test_a_file_with_which_worker_after_worker_dies_fails_at_last(
    two_workers: DaskCluster, renderer: RenderCluster
) -> None:
    assert code(await renderer.run(a_request("kill-the-worker"))) == "render_crashed"
    await ready(renderer, 0)

    two_workers.start_worker()
    two_workers.start_worker()
    await ready(renderer, 2)
    assert code(await renderer.run(a_request("who"))) is None


# --- workers that differ ---------------------------------------------------------------------------------------------


async def test_workers_without_our_code_or_our_folder_get_no_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One path shows each working directory another folder, as storage does that is not shared."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "pictures").mkdir(parents=True)
    monkeypatch.chdir(here)
    with DaskCluster(tmp_path / "dask") as cluster:
        cluster.start_worker(code=changed_code(tmp_path / "changed"), cwd=here)
        cluster.start_worker(code=there, cwd=here)
        cluster.start_worker(cwd=there)
        async with a_cluster(cluster, "/proc/self/cwd/pictures") as renderer:
            reasons = ("看不到 OUTPUT_DIR", "程序代码不同", "没有本服务的程序")
            await until(lambda: all(reason in renderer.check().detail for reason in reasons))
            with pytest.raises(RendererUnavailableError, match="看不到 OUTPUT_DIR"):
                await renderer.run(a_request("who"))
            ours = cluster.start_worker(cwd=here)
            await ready(renderer, 1)
            replies = await asyncio.gather(*(renderer.run(a_request("who")) for _ in range(8)))

            assert {reply.content_sha256 for reply in replies} == {str(ours.pid)}
            assert "程序代码不同" in renderer.check().detail
            assert "没有本服务的程序" in renderer.check().detail
        assert not any((here / "pictures").iterdir())
        assert not any((there / "pictures").iterdir())


def changed_code(folder: Path) -> Path:
    """A copy of the program with one line more."""
    for package in ("dicom", "domain", "render"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for module in REPOSITORY.glob("*.py"):
        shutil.copy(module, folder)
    with (folder / "dicom" / "pixel_maths" / "grayscale.py").open("a", encoding="utf-8") as file:
        file.write("# a change\n")
    return folder


async def test_without_dask_the_setting_says_what_to_install(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "render.cluster.dask_client", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install -r requirements-dask\.txt"):
        async with RenderCluster.open(ClusterOptions("127.0.0.1:1", POOL, str(shared))):
            pass


# --- the whole service -----------------------------------------------------------------------------------------------


def many_files(root: Path) -> tuple[Path, set[tuple[str, str]]]:
    """Enough for a worker to be killed in the middle."""
    tree: dict[str, dict[str, Tree]] = {"2024-01": {}}
    for patient in ("P1", "P2"):
        tree["2024-01"][patient] = {f"{at}.dcm": a_dicom_file(patient, shade=9 * at) for at in range(24)}
    return write_tree(root, tree), {(patient, f"{at}.jpg") for patient in ("P1", "P2") for at in range(24)}


def pictures(service: ServiceProcess) -> dict[str, bytes]:
    """Those that are done: what a killed worker had begun is in ``.partial`` until the next start."""
    done = (path for path in service.output.rglob("*.jpg") if ".partial" not in path.parts)
    return {str(path.relative_to(service.output)): path.read_bytes() for path in done}


def uploaded_when_let_go(service: ServiceProcess, xiehe: SandboxProcess, task_id: str) -> int:
    """Files uploaded by now; those whose completion is held go on, and the next ones are held."""
    xiehe.let_go()
    return int(service.status(task_id)["progress"]["new_images_uploaded"])


def test_an_import_survives_a_killed_worker_and_a_lost_scheduler_with_the_same_pictures(tmp_path: Path) -> None:
    source, wanted = many_files(tmp_path / "dicom")
    with SandboxProcess(4, tmp_path / "xiehe") as xiehe, DaskCluster(tmp_path / "dask") as cluster:
        workers = [cluster.start_worker(), cluster.start_worker()]
        with ServiceProcess(tmp_path / "local", xiehe.url, api_token=xiehe.token) as local:
            local.run(source)
            alone = pictures(local)
        xiehe.reset()
        xiehe.hold("complete_session", skip=4)
        executor = {"render_executor": f"dask://{cluster.address}", "dicom_source_path": source}
        with ServiceProcess(tmp_path / "service", xiehe.url, api_token=xiehe.token, **executor) as service:
            task_id = service.start_import(source)
            xiehe.until_held("complete_session")
            cluster.kill(workers.pop())
            wait_until(lambda: uploaded_when_let_go(service, xiehe, task_id) >= 8)
            cluster.kill_scheduler()
            xiehe.clear_faults()
            paused = service.wait(task_id, "paused")
            assert paused["pause_reason"] == "renderer_unavailable"
            assert paused["progress"]["failed_files"] == 0
            answer = service.http.get("/health/ready")
            checks = {check["name"]: check for check in answer.json()["checks"]}
            assert (answer.status_code, checks["decoders"]["ok"]) == (503, False)
            assert "无法连接" in checks["decoders"]["detail"]

            cluster.start_scheduler()
            cluster.start_worker()
            done = service.wait(task_id)

            assert (done["status"], done["result"]) == ("completed", "success"), done
            assert done["progress"]["new_images_uploaded"] == len(wanted)
            assert names(xiehe) == wanted
            assert pictures(service) == alone
