"""Verifications: compares each image that a task uploaded, or found as a duplicate, with XieHe's lists.

It works patient by patient, with fresh lists, on a page of files at a time. If XieHe fails longer than the client
retries, the verification fails: an image that could not be checked is never reported as missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from api_client import storage_etag
from errors import (
    BackendContractError,
    BackendError,
    DryRunTaskError,
    HistoryError,
    HostError,
    OutOfDescriptorsError,
    TaskNotEndedError,
    TaskNotFoundError,
    UnreadableFileError,
    VerifyRunningError,
)
from history import ReportRow
from importing.runs.run_context import ImportTools
from importing.threads import for_people
from importing.verification.image_check import ImageCheck, PatientImages
from models import TaskRecord, Verification, VerifiedImage, VerifiedRow, VerifyResult, VerifyStatus

_log = logging.getLogger(__name__)

FILES_AT_ONCE = 1_000
PATIENTS_AT_ONCE = 4
ROWS_AT_ONCE = 500


class Verifications:
    """Runs verifications beside the imports, one per task."""

    def __init__(self, tools: ImportTools) -> None:
        self._tools = tools
        self._history = tools.history
        self._busy: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, task: TaskRecord) -> Verification:
        """Starts a verification, which replaces an earlier one.

        Raises:
            TaskNotEndedError: the task may still upload.
            DryRunTaskError: it was a dry run.
            VerifyRunningError: one is running.
            HistoryError, HostError: it cannot be recorded.
        """
        task_id = task.task_id
        if not task.status.ended or task.completed_at is None:
            raise TaskNotEndedError(f"任务 {task_id} 尚未结束，结束后才能核对。")
        if task.options.dry_run:
            raise DryRunTaskError(f"任务 {task_id} 是试运行，没有上传任何影像，无可核对。")
        if task_id in self._busy:
            raise VerifyRunningError(f"任务 {task_id} 正在核对中，请等它结束。")
        begun = Verification(VerifyStatus.RUNNING, datetime.now(UTC))
        self._busy.add(task_id)
        with ExitStack() as undo:
            undo.callback(self._busy.discard, task_id)
            await self._history.begin_verification(task_id, begun.started_at)
            undo.pop_all()
        work = asyncio.create_task(self._run(task_id, begun), name=f"verify {task_id}")
        self._running.add(work)
        work.add_done_callback(lambda _: self._busy.discard(task_id))
        work.add_done_callback(self._running.discard)
        return begun

    async def of(self, task_id: str) -> Verification | None:
        """The last verification of a task; None if there was none. Raises HistoryError."""
        busy = task_id in self._busy
        found = await self._history.verification(task_id)
        if found is not None and found.status is VerifyStatus.RUNNING and not busy and task_id not in self._busy:
            return replace(found, status=VerifyStatus.FAILED, detail="interrupted：核对中断（原因见日志），请重新核对")
        return found

    async def rows(self, task_id: str, result: VerifyResult | None) -> AsyncIterator[list[VerifiedRow]]:
        """The results so far, image by image, in pages."""
        after = (0, 0)
        while page := await self._history.verified_rows(task_id, result, after, ROWS_AT_ONCE):
            yield page
            after = (page[-1].image.number, page[-1].image.frame)

    async def stop(self) -> None:
        """Cancels all; the next start reports them as interrupted."""
        running = list(self._running)
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, task_id: str, begun: Verification) -> None:
        """Runs a verification and records how it ended."""
        try:
            ended = replace(begun, status=VerifyStatus.COMPLETED)
            try:
                await self._check_all(task_id)
            except (BackendError, OutOfDescriptorsError) as error:
                ended = replace(begun, status=VerifyStatus.FAILED, detail=error.detail)
            await self._history.end_verification(task_id, replace(ended, completed_at=datetime.now(UTC)))
        except (HistoryError, HostError, TaskNotFoundError) as error:
            _log.error("verification of %s not written: %s", task_id, error.code)

    async def _check_all(self, task_id: str) -> None:
        """Checks all images. Raises BackendError, HistoryError, HostError, TaskNotFoundError (pruned meanwhile)."""
        await self._history.drop_verified(task_id)
        into = await self._history.imported_into(task_id)
        if into not in (None, self._tools.backend_url):
            raise BackendContractError("该任务导入到了另一个 XieHe（BACKEND_URL 已改变），无法在当前的 XieHe 中核对。")
        check, after = ImageCheck(task_id, self._tools.output_dir, local_etag), 0
        while page := await self._history.files_to_verify(task_id, after, FILES_AT_ONCE):
            await self._check_page(check, page)
            after = page[-1].number

    async def _check_page(self, check: ImageCheck, page: Sequence[ReportRow]) -> None:
        """Checks several patients at a time; the first fault ends all."""
        patients: dict[str, list[ReportRow]] = {}
        for file in page:
            patients.setdefault(file.outcome.patient_id or "", []).append(file)
        waiting = iter(patients.items())

        async def work() -> None:
            for patient_id, files in waiting:
                await self._check_patient(check, patient_id, files)

        workers = [asyncio.create_task(work()) for _ in range(min(PATIENTS_AT_ONCE, len(patients)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _check_patient(self, check: ImageCheck, patient_id: str, files: Sequence[ReportRow]) -> None:
        images = await self._list_images(patient_id)
        found: list[VerifiedImage] = []
        for file in files:
            found += await for_people(check.results, file, images)
        await self._history.add_verified(check.task_id, found)

    async def _list_images(self, patient_id: str) -> PatientImages:
        """What XieHe lists of a patient now. Raises BackendError."""
        tools = self._tools
        lookup = await tools.client.find_patient(patient_id)
        if lookup is None:
            return PatientImages.of(None, await self._history.images_of_patient(tools.backend_url, patient_id))
        listed = await tools.client.list_images(lookup.patient)
        known = await self._history.images_of_patient(tools.backend_url, lookup.patient.patient_id)
        return PatientImages.of(listed, known)


def local_etag(path: str, size_bytes: int | None) -> str | None:
    """The file's content as an ETag; None if no file of that size can be read there."""
    try:
        return storage_etag(path) if os.path.getsize(path) == size_bytes else None
    except (OSError, UnreadableFileError):
        return None
