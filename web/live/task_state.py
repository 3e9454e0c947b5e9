"""A task's state as the API tells it: by request, by long poll and by push alike."""

from __future__ import annotations

from import_service import ImportService
from web.api import serializers
from web.api.schemas import TaskStatusResponse


async def status_of(service: ImportService, task_id: str) -> TaskStatusResponse:
    """Raises TaskNotFoundError, HistoryError."""
    view = await service.view(task_id)
    return serializers.status(view, await service.plan(view))
