"""Whether an import could work now: one check per dependency, each with words for the operator."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from errors import ImportServiceError, SourceUnavailableError
from history import History
from importing.background.pause_monitor import has_room
from importing.background.supervisor import BackgroundJob, JobState
from importing.runs.run_context import ImportTools
from importing.threads import AT_A_GLANCE_S, SourceLooks
from render import RenderExecutor


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """One dependency; ``detail`` is for the operator."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """All checks; ``contract`` is XieHe's if it is known."""

    contract: str | None
    checks: tuple[ReadinessCheck, ...]
    jobs: tuple[BackgroundJob, ...]

    @property
    def ready(self) -> bool:
        """Whether every check passes."""
        return all(check.ok for check in self.checks)


async def check_readiness(tools: ImportTools, roots: tuple[str, ...], jobs: tuple[BackgroundJob, ...]) -> Readiness:
    """Checks every dependency now. ``roots`` are the allowed source folders."""
    health, history, output, sources = await asyncio.gather(
        tools.client.check(), _history(tools.history), _output(tools), _sources(tools.looks, roots)
    )
    held = tools.outage_breaker.detail  # log-in and lists may work while XieHe's object storage is down
    detail = health.detail or held or f"可用，接口版本 {health.contract}"
    xiehe = ReadinessCheck("xiehe", health.ready and held is None, detail)
    checks = (history, output, _renderer(tools.renderer), sources, _background(jobs), xiehe)
    return Readiness(health.contract, checks, jobs)


async def _history(history: History) -> ReadinessCheck:
    try:
        await history.list_tasks(0, 1)
    except ImportServiceError as error:
        return ReadinessCheck("history", ok=False, detail=error.detail)
    return ReadinessCheck("history", ok=True, detail=f"历史库可用；{_last_check(history.checked_at)}")


def _last_check(checked_at: datetime | None) -> str:
    return f"上次完整检查 {checked_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if checked_at else "启动后尚未检查完"


async def _output(tools: ImportTools) -> ReadinessCheck:
    try:
        ok = await tools.looks.look(has_room, tools.output_dir, within_s=AT_A_GLANCE_S)
    except SourceUnavailableError:
        ok = False
    return ReadinessCheck("output", ok, "OUTPUT_DIR 可写" if ok else "OUTPUT_DIR 不可写，或空间不足")


def _renderer(renderer: RenderExecutor) -> ReadinessCheck:
    health = renderer.check()
    return ReadinessCheck("decoders", health.ready, health.detail)


def _background(jobs: tuple[BackgroundJob, ...]) -> ReadinessCheck:
    """Not ok while a job waits for its restart, since its work (lifting pauses, say) is not done meanwhile."""
    waiting = [job.name for job in jobs if job.state is JobState.WAITING]
    detail = f"因缺陷中断、等待重启：{'、'.join(waiting)}；请把日志交给开发者" if waiting else "后台工作均在运行"
    return ReadinessCheck("background", not waiting, detail)


async def _sources(looks: SourceLooks, roots: tuple[str, ...]) -> ReadinessCheck:
    there = await asyncio.gather(*(_is_there(looks, root) for root in roots))
    if missing := [root for root, is_there in zip(roots, there, strict=True) if not is_there]:
        return ReadinessCheck("sources", ok=False, detail=f"源目录无法访问：{'、'.join(missing)}")
    detail = "源目录可访问" if roots else "未设置 DICOM_SOURCE_PATH：本机任何目录都可导入"
    return ReadinessCheck("sources", ok=True, detail=detail)


async def _is_there(looks: SourceLooks, root: str) -> bool:
    try:
        return await looks.look(os.path.isdir, root, within_s=AT_A_GLANCE_S)
    except SourceUnavailableError:
        return False
