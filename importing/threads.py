"""Threads by purpose: neither requests nor a share that hangs take the threads that an import needs.

The default executor works in our own folders. Walks of sources have a pool, and so do requests. A call into a source
may never return if its share hangs, so it gets a daemon thread of its own, which does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from errors import SourceUnavailableError
from models import display_path
from source import overlaps

P = ParamSpec("P")
T = TypeVar("T")

ANSWER_WITHIN_S = 10.0
AT_A_GLANCE_S = 5.0
"""For answers that can do without the folder."""
LATE_KEPT_S = 30.0
"""How long an answer that came too late is kept for the next caller."""
LOOKS_AT_ONCE = 32
LOOKS_PER_SHARE = 4
_PEOPLE = ThreadPoolExecutor(max_workers=8, thread_name_prefix="people")
_WALKS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="walk")
"""Some for each task; a task on a share that hangs keeps its threads."""


async def for_people(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs work of a request; raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_PEOPLE, partial(work, *args, **kwargs))


async def for_walk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a step of an import in its source; raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_WALKS, partial(work, *args, **kwargs))


class SourceLooks:
    """Calls into source folders, a few per share; equal ones at the same time share one thread and one answer."""

    def __init__(self, allowed_roots: tuple[str, ...]) -> None:
        self._roots = allowed_roots
        self._answers: dict[tuple[Hashable, ...], asyncio.Future[Any]] = {}
        """Under way, or too late and kept for the next caller."""
        self._missed: set[tuple[Hashable, ...]] = set()

    async def look(self, work: Callable[..., T], path: str, *rest: Hashable, within_s: float = ANSWER_WITHIN_S) -> T:
        """The answer of ``work(path, *rest)``. A call beyond the limit stays under way for the next caller.

        Raises:
            SourceUnavailableError: no answer in time.
        """
        share = self._share_of(path)
        call = (share, work, path, *rest)
        if call in self._answers and self._answers[call].done():
            late: T = self._answers.pop(call).result()
            return late
        try:
            async with asyncio.timeout(within_s):
                while call not in self._answers and (busy := self._in_the_way(share)):
                    await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
                if call not in self._answers:
                    self._answers[call] = _in_own_thread(partial(work, path, *rest))
                    self._answers[call].add_done_callback(partial(self._end, call))
                answer: T = await asyncio.shield(self._answers[call])
                return answer
        except TimeoutError as error:
            if call in self._answers:
                self._missed.add(call)
            shown = display_path(path)
            raise SourceUnavailableError(f"文件夹没有及时响应：{shown}。请检查共享或网络，稍后再试。") from error

    def _end(self, call: tuple[Hashable, ...], answer: asyncio.Future[Any]) -> None:
        if call not in self._missed:
            self._forget(call, answer)
            return
        self._missed.discard(call)
        answer.exception()  # else asyncio logs an error that no caller retrieved
        asyncio.get_running_loop().call_later(LATE_KEPT_S, self._forget, call, answer)

    def _forget(self, call: tuple[Hashable, ...], answer: asyncio.Future[Any]) -> None:
        if self._answers.get(call) is answer:
            del self._answers[call]

    def _in_the_way(self, share: str) -> list[asyncio.Future[Any]]:
        """The calls of which one has to end before another may begin."""
        running = {call: answer for call, answer in self._answers.items() if not answer.done()}
        same = [answer for call, answer in running.items() if call[0] == share]
        if len(same) >= LOOKS_PER_SHARE:
            return same
        return list(running.values()) if len(running) >= LOOKS_AT_ONCE else []

    def _share_of(self, path: str) -> str:
        """What probably hangs as a whole, by its name: the allowed root, else the first two folders."""
        absolute = os.path.abspath(path)
        roots = [root for root in self._roots if overlaps(absolute, root)]
        return max(roots, key=len, default=os.sep.join(absolute.split(os.sep)[:3]))


def _in_own_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """The future answer. An executor would wait for its threads at the end of the process."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(answer.set_result, work())
        except Exception as error:  # noqa: BLE001 - the caller gets any exception
            settle = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(settle)

    Thread(target=run, name="source-look", daemon=True).start()
    return answer
