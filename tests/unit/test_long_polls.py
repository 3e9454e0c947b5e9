"""Long polls: so many at a time, all given the text that was made once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from errors import TooManyClientsError
from importing.runs.task_views import view_of
from tasks import LiveTask, TaskRegistry
from tests.unit.test_task_registry import a_registry, a_task
from tests.waiting import PATIENCE_S
from web.api import serializers
from web.api.schemas import TaskStatusResponse
from web.live.publisher import UPDATES_PER_S, Broadcaster, TaskUpdate
from web.live.push import LivePush, PushLimits

FOR_EVER_S = 10 * PATIENCE_S
GAP_S = 0.01


@dataclass
class Scene:
    registry: TaskRegistry
    made: list[int] = field(default_factory=list)
    push: LivePush = field(init=False)

    async def status_of(self, task_id: str) -> TaskStatusResponse:
        status = serializers.status(view_of(self.registry.get(task_id)), None)
        self.made.append(status.seq)
        return status

    async def poll(self, task: LiveTask, since: int | None, wait_s: float = FOR_EVER_S) -> TaskUpdate:
        async with asyncio.timeout(PATIENCE_S):
            return await self.push.wait_for_change(task.task_id, since, wait_s)

    async def waiting(self, task: LiveTask, since: int | None, count: int) -> list[asyncio.Task[TaskUpdate]]:
        """So many polls that have begun to wait."""
        polls = [asyncio.create_task(self.poll(task, since)) for _ in range(count)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(poll.done() for poll in polls)
        return polls


@asynccontextmanager
async def a_scene(updates_per_s: float = UPDATES_PER_S, **pace: float) -> AsyncIterator[Scene]:
    scene = Scene(a_registry())
    wanted = PushLimits(gap_s=GAP_S, **pace)  # type: ignore[arg-type]
    broadcaster = Broadcaster(scene.registry, scene.status_of, wanted.gap_s, updates_per_s)
    scene.push = LivePush(scene.registry, broadcaster, None, wanted)
    spreading = asyncio.create_task(broadcaster.run())
    await asyncio.sleep(0)
    try:
        yield scene
    finally:
        await scene.push.stop()
        spreading.cancel()
        await asyncio.gather(spreading, return_exceptions=True)


async def test_a_change_is_serialised_once_for_all_who_wait() -> None:
    async with a_scene() as scene:
        task = a_task(scene.registry)
        task.start()
        polls = await scene.waiting(task, task.seq, 50)
        scene.made.clear()
        task.add_ignored()

        found = await asyncio.gather(*polls)

        assert {news.seq for news in found} == {task.seq}
        assert len({id(news.text) for news in found}) == 1
        assert scene.made == [task.seq]


@pytest.mark.parametrize("since", [None, 0])
async def test_more_than_allowed_are_refused_until_one_has_gone(since: int | None) -> None:
    async with a_scene(polls=3) as scene:
        task = a_task(scene.registry)
        task.start()
        polls = await scene.waiting(task, task.seq, 3)
        with pytest.raises(TooManyClientsError):
            await scene.poll(task, since)

        polls[0].cancel()
        await asyncio.wait(polls[:1])

        assert (await scene.poll(task, 0)).seq == task.seq
        task.add_ignored()
        assert {news.seq for news in await asyncio.gather(*polls[1:])} == {task.seq}


async def test_a_state_that_is_older_than_the_one_known_is_not_told() -> None:
    async with a_scene() as scene:
        task = a_task(scene.registry)
        task.start()
        first = await scene.poll(task, 0)
        task.add_ignored()
        waiting = await scene.waiting(task, task.seq, 1)
        task.add_ignored()
        assert (await waiting[0]).seq > first.seq + 1


async def test_after_a_restart_and_at_rest_the_answer_comes_at_once() -> None:
    async with a_scene() as scene:
        task = a_task(scene.registry)
        task.start()
        assert (await scene.poll(task, 10_000)).seq == task.seq
        task.fail("原因")
        assert (await scene.poll(task, task.seq)).seq == task.seq
        assert (await scene.poll(task, None)).at_rest


async def test_time_that_is_up_is_answered_with_the_state_of_now() -> None:
    async with a_scene() as scene:
        task = a_task(scene.registry)
        task.start()
        assert (await scene.poll(task, task.seq, wait_s=0)).seq == task.seq
        assert (await scene.poll(task, None, wait_s=0)).seq == task.seq


@pytest.mark.parametrize("clients", [1, 7, 100])
async def test_many_clients_are_told_less_often(clients: int) -> None:
    async with a_scene(updates_per_s=0.001, polls=clients + 1) as scene:
        task = a_task(scene.registry)
        task.start()
        polls = await scene.waiting(task, task.seq, clients)
        task.add_ignored()
        told = {news.seq for news in await asyncio.gather(*polls)}

        late = await scene.waiting(task, task.seq, clients)
        task.add_ignored()
        await asyncio.wait(late, timeout=10 * GAP_S)

        assert told == {task.seq - 1}
        assert not any(poll.done() for poll in late)
        assert (await scene.poll(task, task.seq - 1, wait_s=0)).seq == task.seq
