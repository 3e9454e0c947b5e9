"""The render pool with real processes that crash, hang, devour memory and die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from errors import DiskFullError, HostError, ServiceStoppingError
from models import ReadReply, ReadRequest
from render import PoolOptions
from render.pool import RenderPool
from tests.waiting import PATIENCE_S, Leap, leaping
from tests.waiting import async_until as until

LIMIT_S = 40.0
"""For one file. No test waits for it: the clock leaps. New processes have more than that to start."""
NEVER_S = 3_600.0
HERE = str(Path(__file__).parent)

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")


def a_pool(
    workers: int = 1,
    timeout_s: float = LIMIT_S,
    memory_mb: int = 256,
    entry: str = "render_jobs:behave",
    rss_mb: int = 768,
) -> AbstractAsyncContextManager[RenderPool]:
    return RenderPool.open(PoolOptions(workers, timeout_s, memory_mb, entry, rss_mb))


def a_request(deed: str, *words: object, prefix: str = "/nonexistent/x") -> ReadRequest:
    return ReadRequest(path=" ".join([deed, *map(str, words)]), named_dicom=True, output_prefix=prefix)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
async def pool() -> AsyncIterator[RenderPool]:
    async with a_pool() as opened:
        yield opened


def code(reply: ReadReply) -> str | None:
    return reply.failure.code if reply.failure else None


async def pid_of(pool: RenderPool) -> int:
    reply = await pool.run(a_request("nothing"))
    assert reply.content_sha256 is not None
    return int(reply.content_sha256)


def words_in(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").split()


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """See :func:`leaping`."""
    return leaping(monkeypatch)


# --- the ordinary ----------------------------------------------------------------------------------------------------


async def test_jobs_run_in_the_warm_processes() -> None:
    async with a_pool(workers=2) as pool:
        assert pool.check().ready
        pids = {await pid_of(pool) for _ in range(10)}
    assert len(pids) <= 2
    assert os.getpid() not in pids


async def test_both_processes_work_at_once(tmp_path: Path) -> None:
    async with a_pool(workers=2) as pool:
        go = tmp_path / "go"
        requests = [
            a_request("paint-when-released", tmp_path / f"started{n}", go, prefix=f"{tmp_path}/{n}") for n in range(2)
        ]
        jobs = [asyncio.create_task(pool.run(request)) for request in requests]
        await until(lambda: all((tmp_path / f"started{n}").exists() for n in range(2)))
        go.touch()
        replies = await asyncio.gather(*jobs)
    assert len({reply.content_sha256 for reply in replies}) == 2


async def test_jobs_are_taken_in_the_order_in_which_they_came(pool: RenderPool, log: Path) -> None:
    await asyncio.gather(*(pool.run(a_request("noted", log, number)) for number in range(12)))
    assert words_in(log) == [str(number) for number in range(12)]


async def test_a_reply_larger_than_a_pipe_arrives_whole(pool: RenderPool) -> None:
    reply = await pool.run(a_request("big", 1_000_000))
    assert reply.content_sha256 == "x" * 1_000_000


async def test_what_libraries_print_does_not_get_among_the_replies(pool: RenderPool) -> None:
    assert code(await pool.run(a_request("chatter"))) is None
    assert code(await pool.run(a_request("nothing"))) is None


async def test_the_processes_do_not_see_the_services_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "secret")
    async with a_pool() as pool:
        assert (await pool.run(a_request("environment", "API_TOKEN"))).content_sha256 == "absent"
        assert (await pool.run(a_request("environment", "OMP_NUM_THREADS"))).content_sha256 == "1"


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
async def test_ctrl_c_in_the_terminal_does_not_reach_the_processes(pool: RenderPool) -> None:
    assert (await pool.run(a_request("session"))).content_sha256 != str(os.getsid(0))


# --- failures that are the file's own --------------------------------------------------------------------------------


async def test_a_crash_costs_exactly_its_own_file_among_several_in_flight(log: Path) -> None:
    async with a_pool(workers=2) as pool:
        deeds = ["nothing", "nothing", "abort", "nothing", "nothing", "nothing"]
        replies = await asyncio.gather(*(pool.run(a_request(deed, *[log][: deed == "abort"])) for deed in deeds))
    assert [code(reply) for reply in replies] == [None, None, "render_crashed", None, None, None]


async def test_a_crashing_file_fails_only_after_a_second_crash_in_a_fresh_process(pool: RenderPool, log: Path) -> None:
    assert code(await pool.run(a_request("abort", log))) == "render_crashed"
    first, second = words_in(log)
    assert first != second


async def test_a_file_whose_process_crashed_once_does_not_fail(pool: RenderPool, log: Path) -> None:
    assert code(await pool.run(a_request("abort-first-time", log))) is None
    assert len(words_in(log)) == 2


async def test_after_a_kill_by_the_kernel_the_file_is_tried_again_with_no_other_in_flight(log: Path) -> None:
    async with a_pool(workers=2) as pool:
        suspect = asyncio.create_task(pool.run(a_request("killed-first-time", log)))
        others = [asyncio.create_task(pool.run(a_request("noted", log, "other"))) for _ in range(30)]
        assert code(await suspect) is None
        assert [code(reply) for reply in await asyncio.gather(*others)] == [None] * 30
    lines = words_in(log)
    assert lines.index("alone-end") == lines.index("alone-begin") + 1


async def test_two_files_killed_by_the_kernel_at_once_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    async with a_pool(workers=2) as pool, asyncio.timeout(PATIENCE_S):
        replies = await asyncio.gather(*(pool.run(a_request("killed-first-time", tmp_path / str(n))) for n in range(4)))
    assert [code(reply) for reply in replies] == [None] * 4


async def test_a_hang_costs_exactly_its_own_file(tmp_path: Path, leap: Leap) -> None:
    started = tmp_path / "started"
    async with a_pool(workers=2) as pool:
        requests = [a_request("nothing"), a_request("spin", started), a_request("nothing"), a_request("nothing")]
        first, hanging, *others = [asyncio.create_task(pool.run(request)) for request in requests]
        assert [code(await job) for job in (first, *others)] == [None] * 3
        await until(started.exists)
        await leap(LIMIT_S)
        assert code(await hanging) == "render_timeout"
        assert code(await pool.run(a_request("nothing"))) is None


@needs_proc
async def test_memory_beyond_the_limit_costs_exactly_its_own_file() -> None:
    async with a_pool(workers=2, memory_mb=200) as pool:
        replies = await asyncio.gather(*(pool.run(a_request("devour", size)) for size in [100, 4000, 150, 100]))
    assert [code(reply) for reply in replies] == [None, "render_out_of_memory", None, None]


async def test_one_of_our_file_errors_that_escapes_is_that_files_failure(pool: RenderPool) -> None:
    assert code(await pool.run(a_request("damaged"))) == "pixel_decode_failed"


async def test_a_defect_of_ours_is_reported_by_its_place_and_never_by_its_text(pool: RenderPool) -> None:
    before = await pid_of(pool)
    reply = await pool.run(a_request("defect"))
    assert reply.failure is not None
    assert reply.failure.code == "render_crashed"
    assert "TypeError render_jobs.py" in reply.failure.detail
    assert "Wang" not in reply.failure.detail
    assert await pid_of(pool) == before


async def test_a_reply_that_is_no_data_is_not_executed(tmp_path: Path) -> None:
    async with a_pool(entry="render_jobs:evil") as pool:
        reply = await pool.run(
            ReadRequest(path=str(tmp_path / "made"), named_dicom=True, output_prefix="/nonexistent/x")
        )
    assert code(reply) == "render_crashed"
    assert not (tmp_path / "made").exists()


# --- failures that are no file's own ------------------------------------------------------------------------------


async def test_a_full_disk_is_raised_and_the_process_goes_on(pool: RenderPool) -> None:
    before = await pid_of(pool)
    with pytest.raises(DiskFullError, match="磁盘已满"):
        await pool.run(a_request("disk-full"))
    assert await pid_of(pool) == before


async def test_a_process_that_dies_idle_is_replaced_and_no_file_fails(pool: RenderPool) -> None:
    before = await pid_of(pool)
    os.kill(before, signal.SIGTERM)
    await until(lambda: pool.check().alive == 0)
    assert not pool.check().ready
    assert await pid_of(pool) != before
    assert pool.check().ready


async def test_a_process_that_dies_unnoticed_just_before_a_job_does_not_cost_the_file(pool: RenderPool) -> None:
    os.kill(await pid_of(pool), signal.SIGTERM)
    assert code(await pool.run(a_request("nothing"))) is None


@needs_proc
async def test_a_process_that_keeps_too_much_memory_is_replaced() -> None:
    async with a_pool(rss_mb=100, memory_mb=512) as pool:
        before = await pid_of(pool)
        assert code(await pool.run(a_request("hoard", 200))) is None
        assert await pid_of(pool) != before


async def test_a_job_that_cannot_be_imported_refuses_the_start_with_the_reason() -> None:
    with pytest.raises(HostError, match="ModuleNotFoundError"):
        async with a_pool(entry="no_such_module:job"):
            pytest.fail("opened")


async def test_processes_that_no_longer_start_are_no_files_fault_and_show_in_the_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "fragile_jobs.py"
    module.write_text("from render_jobs import behave\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with a_pool(entry="fragile_jobs:behave") as pool:
        whole = module.read_text(encoding="utf-8")
        module.write_text("raise RuntimeError('broken')\n", encoding="utf-8")
        os.kill(await pid_of(pool), signal.SIGTERM)
        with pytest.raises(HostError, match="broken"):
            await pool.run(a_request("nothing"))
        assert not pool.check().ready
        assert "broken" in pool.check().detail
        module.write_text(whole, encoding="utf-8")
        assert code(await pool.run(a_request("nothing"))) is None
        assert pool.check().ready


# --- jobs that wait for a process -----------------------------------------------------------------------------------


async def codes_of(pool: RenderPool, *requests: ReadRequest) -> list[str | None]:
    """The codes of jobs that are asked for at once."""
    return [code(reply) for reply in await asyncio.gather(*map(pool.run, requests))]


async def test_jobs_that_wait_behind_a_crash_run_once_and_do_not_fail(pool: RenderPool, log: Path) -> None:
    behind = [a_request("noted", log, number) for number in range(5)]
    found = await codes_of(pool, a_request("abort", os.devnull), *behind)
    assert found == ["render_crashed", *[None] * 5]
    assert words_in(log) == [str(number) for number in range(5)]


async def test_jobs_that_wait_behind_a_hang_run_in_another_process(tmp_path: Path, log: Path, leap: Leap) -> None:
    started = tmp_path / "started"
    async with a_pool() as pool:
        behind = [a_request("noted", log, number) for number in range(5)]
        jobs = asyncio.create_task(codes_of(pool, a_request("spin", started), *behind))
        await until(started.exists)
        await leap(LIMIT_S)
        found = await jobs
    assert found == ["render_timeout", *[None] * 5]
    assert words_in(log) == [str(number) for number in range(5)]


async def test_a_job_is_not_timed_while_it_waits(tmp_path: Path, leap: Leap) -> None:
    """Each takes half of what it may."""
    started, gates = [tmp_path / f"started{n}" for n in range(4)], [tmp_path / f"go{n}" for n in range(4)]
    requests = [
        a_request("paint-when-released", started[n], gates[n], prefix=str(tmp_path / f"{n}")) for n in range(len(gates))
    ]
    async with a_pool() as pool:
        jobs = asyncio.create_task(codes_of(pool, *requests))
        for begun, go in zip(started, gates, strict=True):
            await until(begun.exists)
            await leap(LIMIT_S / 2)
            go.touch()
        assert await jobs == [None] * 4


@needs_proc
async def test_a_job_after_one_that_took_much_memory_has_its_whole_share() -> None:
    async with a_pool(rss_mb=100, memory_mb=512) as pool:
        before = await pid_of(pool)
        found = await codes_of(pool, a_request("hoard", 300), a_request("devour", 400), a_request("nothing"))
        assert found == [None] * 3
        assert await pid_of(pool) != before


@needs_proc
async def test_what_a_job_leaves_behind_is_not_taken_off_the_next_ones_share() -> None:
    async with a_pool(memory_mb=200) as pool:
        before = await pid_of(pool)
        for request in (a_request("hoard", 150), a_request("devour", 150)):
            assert code(await pool.run(request)) is None
        assert await pid_of(pool) == before
        assert code(await pool.run(a_request("devour", 4000))) == "render_out_of_memory"


@needs_proc
async def test_a_job_after_one_beyond_the_memory_limit_runs_in_another_process() -> None:
    async with a_pool(memory_mb=200) as pool:
        before = await pid_of(pool)
        found = await codes_of(pool, a_request("devour", 4000), a_request("devour", 150))
        assert found == ["render_out_of_memory", None]
        assert await pid_of(pool) != before


async def test_a_reply_without_content_fails_its_own_job_only(log: Path) -> None:
    async with a_pool(entry="render_jobs:hollow") as pool, asyncio.timeout(PATIENCE_S):
        behind = [a_request("big", number) for number in range(1, 6)]
        await pid_of(pool)
        jobs = [asyncio.create_task(pool.run(request)) for request in [a_request("none"), *behind]]
        replies = await asyncio.gather(*jobs)
    assert code(replies[0]) == "render_crashed"
    assert [reply.content_sha256 for reply in replies[1:]] == ["x" * number for number in range(1, 6)]


async def test_jobs_keep_their_order_over_a_process_that_is_replaced(log: Path) -> None:
    async with a_pool(memory_mb=200) as pool:
        requests = [a_request("noted", log, number) for number in range(8)]
        await codes_of(pool, a_request("devour", 4000), *requests)
    assert words_in(log) == [str(number) for number in range(8)]


async def test_a_process_that_cannot_be_started_at_all_is_no_files_fault(
    pool: RenderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(await pid_of(pool), signal.SIGTERM)
    await until(lambda: pool.check().alive == 0)
    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", _no_more_threads)
        with pytest.raises(HostError, match="new thread"):
            await pool.run(a_request("nothing"))
    assert code(await pool.run(a_request("nothing"))) is None


def _no_more_threads(_thread: object) -> None:
    raise RuntimeError("can't start new thread")


async def test_jobs_do_not_wait_for_a_busy_process_while_another_is_idle(tmp_path: Path) -> None:
    async with a_pool(workers=2) as pool:
        await asyncio.gather(*(pid_of(pool) for _ in range(4)))
        started, go = tmp_path / "started", tmp_path / "go"
        long = asyncio.create_task(pool.run(a_request("paint-when-released", started, go, prefix=f"{tmp_path}/x")))
        await until(started.exists)
        async with asyncio.timeout(PATIENCE_S):
            others = {await pid_of(pool) for _ in range(8)}
        go.touch()
        reply = await long
    assert len(others) == 1
    assert reply.content_sha256 not in {str(pid) for pid in others}


# --- what is left behind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["paint-and-hang", "paint-and-abort"])
async def test_pictures_of_a_dead_job_are_removed_and_no_others(tmp_path: Path, deed: str, leap: Leap) -> None:
    neighbour = tmp_path / "[a]b-0001.jpg"
    neighbour.touch()
    async with a_pool() as pool:
        job = asyncio.create_task(pool.run(a_request(deed, prefix=str(tmp_path / "[a]"))))
        if deed == "paint-and-hang":
            await until((tmp_path / "[a]-0001.jpg").exists)
            await leap(LIMIT_S)
        assert code(await job) is not None
    assert os.listdir(tmp_path) == [neighbour.name]


async def test_a_cancelled_job_leaves_no_picture_and_a_healthy_pool(pool: RenderPool, tmp_path: Path) -> None:
    before = await pid_of(pool)
    started, go, prefix = tmp_path / "started", tmp_path / "go", tmp_path / "picture"
    job = asyncio.create_task(pool.run(a_request("paint-when-released", started, go, prefix=str(prefix))))
    await until(started.exists)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    go.touch()
    assert await pid_of(pool) == before
    await until(lambda: not any(name.startswith("picture") for name in os.listdir(tmp_path)))


async def test_a_job_cancelled_while_it_waits_is_never_begun(pool: RenderPool, tmp_path: Path) -> None:
    started, go, log = tmp_path / "started", tmp_path / "go", tmp_path / "log"
    first = asyncio.create_task(pool.run(a_request("paint-when-released", started, go, prefix=str(tmp_path / "x"))))
    await until(started.exists)
    second = asyncio.create_task(pool.run(a_request("noted", log, "second")))
    third = asyncio.create_task(pool.run(a_request("noted", log, "third")))
    await asyncio.sleep(0)
    second.cancel()
    go.touch()
    await asyncio.gather(first, third)
    assert words_in(log) == ["third"]


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_closing_ends_jobs_under_way_and_waiting_at_once(tmp_path: Path) -> None:
    async with a_pool(timeout_s=NEVER_S) as pool:
        jobs = [
            asyncio.create_task(pool.run(a_request("paint-when-released", tmp_path / "s", tmp_path / "no")))
            for _ in range(3)
        ]
        await until((tmp_path / "s").exists)
        await pool.close()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        with pytest.raises(ServiceStoppingError):
            await pool.run(a_request("nothing"))
    assert [type(result) for result in results] == [ServiceStoppingError] * 3


@needs_proc
def test_processes_die_with_a_killed_parent_even_in_the_middle_of_a_job(tmp_path: Path) -> None:
    script = f"""
        import asyncio, os, sys
        sys.path[:0] = [{HERE!r}, {str(Path(HERE).parents[1])!r}]
        from test_render_pool import a_pool, a_request, pid_of, until
        async def main():
            async with a_pool(workers=2) as pool:
                pids = {{await pid_of(pool) for _ in range(4)}}
                spinning = asyncio.create_task(pool.run(a_request("spin", {str(tmp_path / "started")!r})))
                await until(lambda: os.path.exists({str(tmp_path / "started")!r}))
                print(*pids, flush=True)
                await spinning
        asyncio.run(main())
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = {int(pid) for pid in parent.stdout.readline().split()}
    assert pids
    parent.kill()
    parent.communicate()
    asyncio.run(until(lambda: not any(map(_runs, pids))))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_defect_of_the_pool_costs_its_job_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with a_pool(workers=1) as pool:
        with monkeypatch.context() as defect:
            defect.setattr("render.pool._kind_of", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await pid_of(pool)
        assert await pid_of(pool)
