"""Downloads of reports beside an import: one page at a time, and rest in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from errors import HistoryError
from tests.waiting import PATIENCE_S
from web.api.report_turns import ReportTurns


@dataclass
class Pages:
    """Reports of three pages; how many pages are being made now, and were at most."""

    now: int = 0
    most: int = 0
    made: asyncio.Event = field(default_factory=asyncio.Event)

    async def report(self) -> AsyncIterator[bytes]:
        for number in range(3):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            self.made.set()
            yield str(number).encode()


async def read(turns: ReportTurns, report: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return b"".join([piece async for piece in turns.in_turn(report)])


@pytest.mark.parametrize("task_runs", [False, True])
@pytest.mark.parametrize("clients", [1, 2, 20])
async def test_one_page_of_all_reports_is_made_at_a_time(clients: int, task_runs: bool) -> None:
    turns, pages = ReportTurns(lambda: task_runs), Pages()
    assert await asyncio.gather(*(read(turns, pages.report()) for _ in range(clients))) == [b"012"] * clients
    assert pages.most == 1


async def test_a_report_that_nobody_reads_keeps_no_other_waiting() -> None:
    turns, pages = ReportTurns(lambda: False), Pages()
    unread = turns.in_turn(pages.report())
    assert await anext(unread) == b"0"
    assert await read(turns, pages.report()) == b"012"


@pytest.mark.parametrize(
    ("task_runs", "page_s", "rests"),
    [
        (True, 0.01, [0.09] * 4),
        (True, 0.1, [0.9] * 4),
        (True, 2.0, [1.0] * 4),
        (True, 8.0, [1.0] * 4),
        (False, 2.0, []),
    ],
)
async def test_while_a_task_runs_a_page_is_followed_by_rest(
    task_runs: bool, page_s: float, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that passes the time of one page at each look. Time that is only waited is not paid for ninefold."""
    rested: list[float] = []

    async def rest(seconds: float) -> None:
        rested.append(seconds)

    async def report() -> AsyncIterator[bytes]:
        for piece in (b"0", b"1", b"2"):
            yield piece

    monkeypatch.setattr("web.api.report_turns.asyncio.sleep", rest)
    turns = ReportTurns(lambda: task_runs, clock=(page_s * look for look in range(100)).__next__)
    pieces = [piece async for piece in turns.in_turn(report())]

    assert pieces == [b"0", b"1", b"2"]
    assert rested == pytest.approx(rests)


async def test_a_report_that_fails_gives_its_turn_back() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"0"
        raise HistoryError("unusable")

    turns, pages = ReportTurns(lambda: True), Pages()
    with pytest.raises(HistoryError):
        await read(turns, broken())
    assert await read(turns, pages.report()) == b"012"


async def test_a_client_that_leaves_gives_its_turn_back() -> None:
    async def endless() -> AsyncIterator[bytes]:
        pages.made.set()
        await asyncio.Event().wait()
        yield b""

    turns, pages = ReportTurns(lambda: True), Pages()
    leaving = asyncio.create_task(read(turns, endless()))
    await pages.made.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    assert await read(turns, pages.report()) == b"012"
