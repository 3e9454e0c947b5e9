"""A queue of one client of the live push."""

from __future__ import annotations

import asyncio

import pytest

from web.live.publisher import LatestValueQueue, TaskUpdate


def news(task_id: str, seq: int, *, at_rest: bool = False) -> TaskUpdate:
    return TaskUpdate(task_id, seq, f'{{"seq":{seq}}}', at_rest)


async def nothing_waits(queue: LatestValueQueue) -> bool:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await queue.get()
    return True


async def test_of_each_task_only_the_newest_state_waits_and_tasks_keep_their_turn() -> None:
    queue = LatestValueQueue()
    for found in (news("a", 1), news("b", 1), news("a", 2), news("a", 3)):
        queue.put(found)
    assert [await queue.get(), await queue.get()] == [news("a", 3), news("b", 1)]
    assert await nothing_waits(queue)


async def test_nobody_is_told_what_he_knows_or_what_was_before() -> None:
    queue = LatestValueQueue()
    queue.mark_sent(news("a", 5))
    for seq in (4, 5):
        queue.put(news("a", seq))
        assert await nothing_waits(queue)
    queue.put(news("a", 6))
    assert await queue.get() == news("a", 6)


async def test_the_end_is_told_whatever_its_number() -> None:
    """A task that has gone to the history in the meantime has lost its count of changes."""
    queue = LatestValueQueue()
    queue.mark_sent(news("a", 5))
    queue.put(news("a", 0, at_rest=True))
    assert (await queue.get()).at_rest
