"""Uploads of unknown end that cancelled and failed tasks left behind: settled beside the tasks, and before new ones.

What landed becomes a row of the index, so that a later import knows it for its own. The counters of the task that
left it stay as they are: it has been reported as ended, and the file has no outcome in it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from errors import BackendError, DiskFullError, FileError, HistoryError, TaskNotFoundError
from importing.runs.run_context import ImportTools
from importing.uploads.intent_recovery import settle_intent
from importing.uploads.upload_confirmation import identify_images, images_by_patient

_log = logging.getLogger(__name__)

EVERY_S = 60.0


class OrphanedUploadRecovery:
    """Settles what nobody else will."""

    def __init__(self, tools: ImportTools) -> None:
        self._tools = tools
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Looks again and again, until cancelled; what cannot be settled now is left to the next look."""
        while True:
            try:
                await self.settle()
            except (BackendError, DiskFullError, HistoryError) as error:
                _log.warning("uploads of ended tasks not settled yet: %s", error.code)
            await asyncio.sleep(EVERY_S)

    async def settle(self) -> None:
        """One look at all of them; waits for those that may still land. Safe to repeat.

        Raises:
            BackendError, DiskFullError, HistoryError: not now.
        """
        async with self._lock:
            for task_id in await self._tools.history.tasks_left_in_doubt():
                with suppress(TaskNotFoundError):  # too old to be remembered: pruned while we looked
                    await self._settle(task_id)

    async def _settle(self, task_id: str) -> None:
        tools = self._tools
        mine = [i for i in await tools.history.open_intents(task_id) if i.image.backend_url == tools.backend_url]
        if not mine:
            return
        await self._identify(task_id)
        results = await asyncio.gather(*(settle_intent(tools, intent) for intent in mine), return_exceptions=True)
        for error in results:
            if error is not None:
                raise error
        _log.info("task=%s uploads of unknown end settled: %d", task_id, len(mine))

    async def _identify(self, task_id: str) -> None:
        """The ids of what it brought (C1, C2): its own run has not come to asking for them."""
        async for images in images_by_patient(self._tools, task_id):
            try:
                await identify_images(self._tools, images)
            except FileError as error:
                _log.warning("task=%s ids of a patient's images not learnt: %s", task_id, error.code)
