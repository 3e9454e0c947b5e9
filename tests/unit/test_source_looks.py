"""Looks into sources: equal ones share an answer, a share that hangs keeps few threads and leaves the others alone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from errors import SourceNotFoundError, SourceUnavailableError
from importing.threads import (
    ANSWER_WITHIN_S,
    AT_A_GLANCE_S,
    LATE_KEPT_S,
    LOOKS_AT_ONCE,
    LOOKS_PER_SHARE,
    SourceLooks,
    for_people,
    for_walk,
)
from tests.waiting import PATIENCE_S, Leap, async_until, leaping

SHARES = ("/mnt/nas", "/data/dicom")


@dataclass
class Shares:
    """Folders that answer when ``awake`` is set."""

    awake: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def listing(self, path: str, ending: str = "") -> str:
        self.asked.append(path)
        assert threading.current_thread().daemon, "a thread that hangs would keep the process from ending"
        assert self.awake.wait(PATIENCE_S)
        if path.endswith("gone"):
            raise SourceNotFoundError("gone")
        return path + ending


@pytest.fixture
def shares() -> Iterator[Shares]:
    shares = Shares()
    yield shares
    shares.awake.set()


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    return leaping(monkeypatch)


async def many(looks: SourceLooks, shares: Shares, paths: list[str]) -> list[asyncio.Task[str]]:
    """So many looks that have come as far as they come."""
    tasks = [asyncio.create_task(looks.look(shares.listing, path, "!", within_s=10 * PATIENCE_S)) for path in paths]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def test_equal_looks_cost_one_thread_and_get_one_answer(shares: Shares) -> None:
    looks = SourceLooks(SHARES)
    tasks = await many(looks, shares, ["/mnt/nas/2024-01"] * 50)
    shares.awake.set()
    assert set(await asyncio.gather(*tasks)) == {"/mnt/nas/2024-01!"}
    assert shares.asked == ["/mnt/nas/2024-01"]

    assert await looks.look(shares.listing, "/mnt/nas/2024-01", "!") == "/mnt/nas/2024-01!"
    assert len(shares.asked) == 2, "what has ended is looked at anew"


async def test_equal_looks_share_a_refusal_too(shares: Shares) -> None:
    tasks = await many(SourceLooks(SHARES), shares, ["/mnt/nas/gone"] * 3)
    shares.awake.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [SourceNotFoundError] * 3
    assert len(shares.asked) == 1


async def test_other_arguments_are_another_look(shares: Shares) -> None:
    looks = SourceLooks(SHARES)
    shares.awake.set()
    assert await asyncio.gather(*(looks.look(shares.listing, "/mnt/nas", end) for end in "ab")) == [
        "/mnt/nasa",
        "/mnt/nasb",
    ]


@pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")
@pytest.mark.parametrize(
    ("roots", "hanging", "fine"),
    [
        (SHARES, "/mnt/nas/{}", "/data/dicom/2024-01"),
        (("/mnt/nas/a", "/mnt/nas/b"), "/mnt/nas/a/{}/P1", "/mnt/nas/b"),
        ((), "/mnt/nas/{}", "/mnt/other/2024-01"),
        ((), "/mnt/nas/x/../{}", "/data"),
    ],
)
async def test_a_share_that_hangs_keeps_few_threads_and_others_have_theirs(
    roots: tuple[str, ...], hanging: str, fine: str, shares: Shares
) -> None:
    looks = SourceLooks(roots)
    tasks = await many(looks, shares, [hanging.format(number) for number in range(100)])
    assert len(shares.asked) == LOOKS_PER_SHARE
    async with asyncio.timeout(PATIENCE_S):
        assert await looks.look(lambda path: path, fine) == fine
    shares.awake.set()
    async with asyncio.timeout(PATIENCE_S):
        assert len(set(await asyncio.gather(*tasks))) == 100


@pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")
async def test_all_shares_together_keep_so_many_threads(shares: Shares) -> None:
    tasks = await many(SourceLooks(()), shares, [f"/mnt/{number}" for number in range(3 * LOOKS_AT_ONCE)])
    assert len(shares.asked) == LOOKS_AT_ONCE
    shares.awake.set()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*tasks)


async def test_no_answer_in_time_raises_and_the_late_one_is_for_the_next_caller(shares: Shares, leap: Leap) -> None:
    looks = SourceLooks(SHARES)
    first = asyncio.create_task(looks.look(shares.listing, "/mnt/nas/2024-01"))
    await async_until(lambda: shares.asked)
    await leap(ANSWER_WITHIN_S + 1)
    with pytest.raises(SourceUnavailableError, match="2024-01"):
        await first

    again = asyncio.create_task(looks.look(shares.listing, "/mnt/nas/2024-01"))
    await asyncio.sleep(0)
    shares.awake.set()
    assert await again == "/mnt/nas/2024-01"
    assert len(shares.asked) == 1


@pytest.mark.parametrize("within_s", [ANSWER_WITHIN_S, AT_A_GLANCE_S])
@pytest.mark.parametrize("name", ["2024-01", "gone"])
async def test_an_answer_that_came_too_late_is_for_the_next_caller(
    name: str, within_s: float, shares: Shares, leap: Leap
) -> None:
    """A folder that always needs longer than the limit is shown at the second try."""
    looks, path = SourceLooks(SHARES), f"/mnt/nas/{name}"
    await asks_too_early(looks, shares, path, within_s, leap)
    shares.awake.set()
    await async_until(lambda: all(answer.done() for answer in looks._answers.values()))

    again = asyncio.gather(looks.look(shares.listing, path, within_s=within_s), return_exceptions=True)
    (found,) = await again
    assert isinstance(found, SourceNotFoundError) if name == "gone" else found == path
    assert shares.asked == [path]
    await asyncio.gather(looks.look(shares.listing, path), return_exceptions=True)
    assert shares.asked == [path] * 2, "a late answer is given once"


async def test_a_late_answer_is_not_kept_for_long(shares: Shares, leap: Leap) -> None:
    looks = SourceLooks(SHARES)
    await asks_too_early(looks, shares, "/mnt/nas/2024-01", ANSWER_WITHIN_S, leap)
    shares.awake.set()
    await async_until(lambda: all(answer.done() for answer in looks._answers.values()))
    await leap(LATE_KEPT_S + 1)
    await looks.look(shares.listing, "/mnt/nas/2024-01")
    assert len(shares.asked) == 2


async def asks_too_early(looks: SourceLooks, shares: Shares, path: str, within_s: float, leap: Leap) -> None:
    first = asyncio.create_task(looks.look(shares.listing, path, within_s=within_s))
    await async_until(lambda: shares.asked)
    await leap(within_s + 1)
    with pytest.raises(SourceUnavailableError):
        await first


async def test_waiting_for_a_thread_counts_as_waiting_for_the_share(shares: Shares, leap: Leap) -> None:
    looks = SourceLooks(SHARES)
    await many(looks, shares, [f"/mnt/nas/{number}" for number in range(LOOKS_PER_SHARE)])
    last = asyncio.create_task(looks.look(shares.listing, "/mnt/nas/last"))
    await asyncio.sleep(0)
    await leap(ANSWER_WITHIN_S + 1)
    with pytest.raises(SourceUnavailableError):
        await last
    assert "/mnt/nas/last" not in shares.asked


async def test_a_cancelled_caller_takes_no_answer_from_the_others(shares: Shares) -> None:
    leaving, staying = await many(SourceLooks(SHARES), shares, ["/mnt/nas/2024-01"] * 2)
    leaving.cancel()
    await asyncio.sleep(0)
    shares.awake.set()
    assert await staying == "/mnt/nas/2024-01!"


async def test_people_walks_and_the_rest_have_threads_of_their_own() -> None:
    names = [await run(lambda: threading.current_thread().name) for run in (for_people, for_walk, asyncio.to_thread)]
    assert len({name.rpartition("_")[0] for name in names}) == 3
