"""Threads by purpose, so that neither people nor a share that hangs take those that an import needs.

The default executor is for what an import does in our own folders. Walks of sources, and what people wait for, have
pools of their own. A look into a source for an answer may never return, if its share hangs: it gets a thread of its
own, which does not keep the process from ending.
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
"""How long an answer that came too late waits for its next asker."""
LOOKS_AT_ONCE = 32
LOOKS_PER_SHARE = 4
_PEOPLE = ThreadPoolExecutor(max_workers=8, thread_name_prefix="people")
_WALKS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="walk")
"""Some for each task: one on a share that hangs keeps them."""


async def for_people(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs what a person waits for; raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_PEOPLE, partial(work, *args, **kwargs))


async def for_walk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a step of an import on its source; raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_WALKS, partial(work, *args, **kwargs))


class SourceLooks:
    """Looks into source folders, a few per share; equal ones at the same time share one thread and one answer."""

    def __init__(self, allowed_roots: tuple[str, ...]) -> None:
        self._roots = allowed_roots
        self._under_way: dict[tuple[Hashable, ...], asyncio.Future[Any]] = {}
        self._missed: set[tuple[Hashable, ...]] = set()
        self._late: dict[tuple[Hashable, ...], asyncio.Future[Any]] = {}

    async def look(self, work: Callable[..., T], path: str, *rest: Hashable, within_s: float = ANSWER_WITHIN_S) -> T:
        """The answer of ``work(path, *rest)``; what takes longer stays under way, or is kept, for who asks again.

        Raises:
            SourceUnavailableError: no answer in time.
        """
        share = self._share_of(path)
        call = (share, work, path, *rest)
        if (late := self._late.pop(call, None)) is not None:
            found: T = late.result()
            return found
        try:
            async with asyncio.timeout(within_s):
                while call not in self._under_way and (busy := self._in_the_way(share)):
                    await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
                if call not in self._under_way:
                    self._begin(call, partial(work, path, *rest))
                answer: T = await asyncio.shield(self._under_way[call])
                return answer
        except TimeoutError as error:
            if call in self._under_way:
                self._missed.add(call)
            shown = display_path(path)
            raise SourceUnavailableError(f"文件夹没有及时响应：{shown}。请检查共享或网络，稍后再试。") from error

    def _begin(self, call: tuple[Hashable, ...], work: Callable[[], object]) -> None:
        answer = self._under_way[call] = _in_own_thread(work)
        answer.add_done_callback(lambda _: self._end(call))

    def _end(self, call: tuple[Hashable, ...]) -> None:
        answer = self._under_way.pop(call)
        if call not in self._missed:
            return
        self._missed.discard(call)
        answer.exception()  # else asyncio logs an error that no asker came for
        self._late[call] = answer
        asyncio.get_running_loop().call_later(LATE_KEPT_S, self._forget, call, answer)

    def _forget(self, call: tuple[Hashable, ...], answer: asyncio.Future[Any]) -> None:
        if self._late.get(call) is answer:
            del self._late[call]

    def _in_the_way(self, share: str) -> list[asyncio.Future[Any]]:
        """Looks of which one has to end before another may begin."""
        same = [answer for call, answer in self._under_way.items() if call[0] == share]
        if len(same) >= LOOKS_PER_SHARE:
            return same
        return list(self._under_way.values()) if len(self._under_way) >= LOOKS_AT_ONCE else []

    def _share_of(self, path: str) -> str:
        """What probably hangs as a whole, told by the name: the allowed root, else the first two folders."""
        absolute = os.path.abspath(path)
        roots = [root for root in self._roots if overlaps(absolute, root)]
        return max(roots, key=len, default=os.sep.join(absolute.split(os.sep)[:3]))


def _in_own_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """The answer to come. An executor would wait for its threads at the end of the process."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(answer.set_result, work())
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker gets it
            settle = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(settle)

    Thread(target=run, name="source-look", daemon=True).start()
    return answer
