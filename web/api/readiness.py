"""Whether an import could work now: one check per dependency, each with words for the operator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime

from errors import ImportServiceError, SourceUnavailableError
from import_service import ImportService
from importing.background.pause_monitor import has_room
from importing.background.supervisor import JobState, Supervisor
from importing.settings_mapping import tree_rules
from importing.threads import AT_A_GLANCE_S
from web.api.schemas import Check


async def ready_checks(service: ImportService) -> tuple[str | None, list[Check]]:
    """XieHe's contract where it is known, and all checks."""
    health, *others = await asyncio.gather(
        service.tools.client.check(), _history(service), _output(service), _renderer(service), _sources(service)
    )
    held = service.tools.outage_breaker.detail  # log-in and lists may work while XieHe's object storage is down
    detail = health.detail or held or f"可用，接口版本 {health.contract}"
    xiehe = Check(name="xiehe", ok=health.ready and held is None, detail=detail)
    return health.contract, [*others, _background(service.supervisor), xiehe]


def is_ready(checks: list[Check]) -> bool:
    """True where nothing stands in the way."""
    return all(check.ok for check in checks)


async def _history(service: ImportService) -> Check:
    try:
        await service.tools.history.list_tasks(0, 1)
    except ImportServiceError as error:
        return Check(name="history", ok=False, detail=error.detail)
    return Check(name="history", ok=True, detail=f"历史库可用；{_last_check(service.tools.history.checked_at)}")


def _last_check(checked_at: datetime | None) -> str:
    return f"上次完整检查 {checked_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if checked_at else "启动后尚未检查完"


async def _output(service: ImportService) -> Check:
    folder = service.tools.output_dir
    fine = await _at_a_glance(service, _has_room, folder)
    return Check(name="output", ok=fine, detail="OUTPUT_DIR 可写" if fine else "OUTPUT_DIR 不可写，或空间不足")


def _has_room(folder: str) -> bool:
    return has_room((folder,))


async def _at_a_glance(service: ImportService, look: Callable[[str], bool], folder: str) -> bool:
    """False, too, for a folder that does not answer in time."""
    try:
        return await service.tools.looks.look(look, folder, within_s=AT_A_GLANCE_S)
    except SourceUnavailableError:
        return False


async def _renderer(service: ImportService) -> Check:
    health = service.tools.renderer.check()
    return Check(name="decoders", ok=health.ready, detail=health.detail)


def _background(supervisor: Supervisor) -> Check:
    """Not ok while a job waits for its restart: what it does (lifting pauses, say) does not happen meanwhile."""
    waiting = [job.name for job in supervisor.jobs() if job.state is JobState.WAITING]
    detail = f"因缺陷中断、等待重启：{'、'.join(waiting)}；请把日志交给开发者" if waiting else "后台工作均在运行"
    return Check(name="background", ok=not waiting, detail=detail)


async def _sources(service: ImportService) -> Check:
    roots = tree_rules(service.settings).allowed_roots
    there = await asyncio.gather(*(_at_a_glance(service, os.path.isdir, root) for root in roots))
    if missing := [root for root, is_there in zip(roots, there, strict=True) if not is_there]:
        return Check(name="sources", ok=False, detail=f"源目录无法访问：{'、'.join(missing)}")
    detail = "源目录可访问" if roots else "未设置 DICOM_SOURCE_PATH：本机任何目录都可导入"
    return Check(name="sources", ok=True, detail=detail)
