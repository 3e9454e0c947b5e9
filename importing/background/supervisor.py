"""Supervised background jobs: one that ends by a defect is logged, restarted with back-off, and shown in readiness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from importing.background.scheduler import Clock

__all__ = ["BackOff", "BackgroundJob", "Job", "JobState", "Supervisor"]

_log = logging.getLogger(__name__)

Job = Callable[[], Coroutine[Any, Any, None]]
"""Makes one run of an endless job; called again for each restart."""


class JobState(StrEnum):
    """The state of a background job."""

    RUNNING = "running"
    """It runs."""
    WAITING = "waiting"
    """It failed and waits for its restart."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds before a restart: ``first_s``, doubled up to ``max_s``. A run of ``max_s`` or more resets it."""

    first_s: float = 1.0
    max_s: float = 300.0

    def after(self, failures: int) -> float:
        """The pause after ``failures`` defects in a row, at least 1."""
        return min(self.first_s * 2.0 ** min(failures - 1, 32), self.max_s)


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """One job as it is now; ``since`` is UTC and belongs to ``state``, ``restarts`` counts from the service's start."""

    name: str
    state: JobState
    since: datetime
    restarts: int


class Supervisor:
    """Runs the background jobs of one service. Used on the event loop only."""

    def __init__(self, back_off: BackOff = BackOff(), clock: Clock = Clock()) -> None:  # noqa: B008 - frozen
        self._back_off = back_off
        self._clock = clock
        self._jobs: dict[str, BackgroundJob] = {}

    def jobs(self) -> list[BackgroundJob]:
        """All jobs that are supervised now, in the order of their start."""
        return list(self._jobs.values())

    @asynccontextmanager
    async def background_task(self, name: str, job: Job) -> AsyncIterator[None]:
        """Runs the job until the context ends, then cancels it and waits for its end."""
        self._note(name, JobState.RUNNING, restarts=0)
        runner = asyncio.create_task(self._run_forever(name, job), name=f"supervisor of {name}")
        try:
            yield
        finally:
            await _cancelled(runner)
            del self._jobs[name]

    async def _run_forever(self, name: str, job: Job) -> None:
        failures = restarts = 0
        while True:
            begun = self._clock.now()
            error = await _end_of(asyncio.create_task(_run(job), name=name))
            lasted_s = (self._clock.now() - begun).total_seconds()
            failures = 1 if lasted_s >= self._back_off.max_s else failures + 1
            pause_s = self._back_off.after(failures)
            kind = type(error).__name__ if error else "an end"
            trace = _without_message(error) if error else None
            _log.critical("background job=%s ended by %s, restart in %.1f s", name, kind, pause_s, exc_info=trace)
            self._note(name, JobState.WAITING, restarts)
            await self._clock.sleep(pause_s)
            restarts += 1
            self._note(name, JobState.RUNNING, restarts)

    def _note(self, name: str, state: JobState, restarts: int) -> None:
        self._jobs[name] = BackgroundJob(name, state, self._clock.now(), restarts)


async def _run(job: Job) -> None:
    await job()  # within the task, so that a defect in making the run is one of the run


async def _end_of(run: asyncio.Task[None]) -> BaseException | None:
    """Waits for a run's end. Returns its defect; None if it returned or cancelled itself, which no job should."""
    try:
        await asyncio.wait({run})
    finally:
        await _cancelled(run)
    return None if run.cancelled() else run.exception()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _without_message(error: BaseException) -> BaseException:
    """Kind and traceback of a defect, with those of its causes; its message may quote a patient's data."""
    name = type(error).__name__
    inner = [_without_message(each) for each in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    shown = BaseExceptionGroup(name, inner) if inner else RuntimeError(name)
    shown.__cause__ = _without_message(error.__cause__) if error.__cause__ else None
    return shown.with_traceback(error.__traceback__)
