"""One task's run: scan, import each file, retry some at the end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator, Sequence

from domain import outcome_codes as codes
from errors import BackendUnavailableError, OutOfDescriptorsError, SourceVanishedError
from importing.files.file_import import import_file, issue_ticket, record
from importing.files.folder_cache import FolderCache, PatientBatch
from importing.files.outcome_log import OutcomeLog
from importing.files.unchanged_files import KnownFile, can_skip, skip_unchanged
from importing.naming.stored_names import named_image
from importing.naming.ticket_lock import Ticket
from importing.runs.run_context import RunContext
from importing.runs.source_steps import pull, resolve_present, with_current_size
from importing.threads import for_walk
from importing.uploads.rejection_breaker import REFUSES_ALL, RejectionBreaker
from models import (
    FileOutcome,
    IgnoredFile,
    MisplacedFile,
    ScanEvent,
    SkippedFolder,
    SourceFile,
)
from source import ResolvedSource, TreeRules, check_present, count, walk
from tasks import TaskStopped

_log = logging.getLogger(__name__)

KNOWN_AT_ONCE = 512
PLAIN_AT_ONCE = 8
RETRIES_AT_THE_END = 10_000
SETTLE_SECONDS = 3.0
_RETRIED_AT_THE_END = frozenset(
    {
        codes.MOVED_OUTSIDE_ROOTS,
        codes.UNSTABLE_FILE,
        codes.UPLOAD_REJECTED,
        codes.UPLOAD_UNCONFIRMED,
        codes.PATIENT_UNAVAILABLE,
    }
)
_SOURCE_GONE = (SourceVanishedError, OutOfDescriptorsError)
"""The walk ends, and a new one skips what is recorded."""
_MAYBE_SOURCE_GONE = frozenset({codes.UNSTABLE_FILE, codes.MOVED_OUTSIDE_ROOTS, "unreadable_file"})


class TaskRun:
    """Runs one task from its current state to its end."""

    def __init__(self, context: RunContext, source: ResolvedSource, rules: TreeRules, files_at_once: int) -> None:
        self._context = context
        self._task = context.task
        self._history = context.tools.history
        self._source = source
        self._rules = rules
        self._slots = asyncio.Semaphore(files_at_once)
        self._in_progress: set[asyncio.Task[None]] = set()
        self._defect: BaseException | None = None
        self._folder = FolderCache()
        self._patient = PatientBatch()
        self._resumed = context.task.record.started_at is not None
        self._retries: list[SourceFile] = []
        self._last_round = False
        self._log = OutcomeLog(context.task.task_id)
        self._rejections = RejectionBreaker(lambda: context.tools.outage_breaker.last_success_at)

    @property
    def source(self) -> ResolvedSource:
        """The source as it was last resolved."""
        return self._source

    async def run(self, files: Iterator[ScanEvent] | None = None) -> None:
        """Imports each file.

        Args:
            files: what to import instead of walking the source (a retry).

        Raises:
            TaskStopped: cancelled, or the service is stopping. Files in progress have ended or will be reconciled.
            HistoryError: outcomes cannot be written.
        """
        counting = asyncio.create_task(self._count_ahead(files is None), name=f"count {self._task.task_id}")
        try:
            try:
                await self._import_all(files)
                await self._retry_at_the_end()
            except TaskStopped:
                await self._wait_for_all()
                if self._defect is not None:
                    raise self._defect from None
                raise
        except asyncio.CancelledError:
            for job in self._in_progress:  # their unfinished uploads leave intents
                job.cancel()
            raise
        finally:
            counting.cancel()
            await self._wait_for_all()

    # --- scanning --------------------------------------------------------------------------------------------------

    async def _import_all(self, files: Iterator[ScanEvent] | None) -> None:
        while True:
            events = files if files is not None else walk(self._source, self._rules)
            try:
                await self._import_events(events)
                await self._drain()
                if files is None:
                    await for_walk(check_present, self._source)
                return
            except _SOURCE_GONE as error:
                await self._wait_for_source(error)

    async def _import_events(self, events: Iterator[ScanEvent]) -> None:
        while chunk := await for_walk(pull, events):
            if left_out := [event for event in chunk if isinstance(event, IgnoredFile | SkippedFolder)]:
                await self._task.gate()
                await self._leave_out(left_out)
            for event in chunk:
                if isinstance(event, MisplacedFile):
                    await self._import_or_skip(event.source, misplaced=True)
                elif isinstance(event, SourceFile):
                    await self._import_or_skip(event, misplaced=False)
            await self._flush_known()
        await self._flush_plain()

    async def _import_or_skip(self, source: SourceFile, *, misplaced: bool) -> None:
        folder = await self._folder_of(source)
        if source.path in folder.recorded:
            self._task.meter.advance(worked=False)
            return
        seen = folder.seen.get(source.path)
        if seen and not misplaced and can_skip(self._context, source, seen):
            folder.known.append(KnownFile(source, seen))
            if len(folder.known) >= KNOWN_AT_ONCE:
                await self._flush_known()
        elif not misplaced and named_image(os.path.basename(source.path), self._context.tools.image_extensions):
            self._patient.plain.append(source)
        else:
            await self._begin(source, misplaced=misplaced)

    async def _folder_of(self, source: SourceFile) -> FolderCache:
        path = os.path.dirname(source.path)
        if (source.month, source.patient_dir) != self._patient.folder:
            await self._flush_plain()
            self._patient = PatientBatch((source.month, source.patient_dir))
        if path != self._folder.path:
            await self._flush_known()
            self._folder = await FolderCache.read(self._context, path, resumed=self._resumed)
        return self._folder

    async def _leave_out(self, items: Sequence[IgnoredFile | SkippedFolder]) -> None:
        """Records ignored files and skipped folders, in one transaction."""
        record = self._history.record_left_out
        added = await self._context.retry_after_pause(lambda: record(self._task.task_id, items))
        new = [item for item, is_new in zip(items, added, strict=True) if is_new]
        self._task.add_ignored(sum(isinstance(item, IgnoredFile) for item in new))
        self._task.add_skipped(*(item for item in new if isinstance(item, SkippedFolder)))

    async def _wait_for_source(self, error: SourceVanishedError | OutOfDescriptorsError) -> None:
        """Waits until the source is back, for a new walk that skips what is recorded."""
        self._context.pause_for(error)
        await self._task.gate()
        self._source = await self._context.retry_after_pause(self._resolve_again)
        self._resumed = True
        self._folder = FolderCache()
        self._patient = PatientBatch()
        self._task.meter.begin_again()

    async def _resolve_again(self) -> ResolvedSource:
        return await for_walk(resolve_present, self._source.path, self._rules)

    async def _count_ahead(self, walking: bool) -> None:
        """Counts the files while the first ones are imported."""
        if not walking:
            return
        total = 0
        totals = count(self._source, self._rules, lambda: False)
        try:
            while batch := await for_walk(pull, totals):
                total = batch[-1]
                self._task.expect(total, final=False)
        except _SOURCE_GONE:
            return
        self._task.expect(total, final=True)

    # --- files in progress -----------------------------------------------------------------------------------------

    async def _begin(self, source: SourceFile, *, misplaced: bool = False) -> None:
        await self._acquire_slot()
        self._task.begin_work(source.path, source.month, source.patient_dir)
        ticket = issue_ticket(self._context, source)
        job = self._launch(self._process(source, ticket, misplaced), os.path.basename(source.path))
        self._patient.note(job)

    async def _flush_known(self) -> None:
        files, self._folder.known = self._folder.known, []
        if files:
            await self._acquire_slot()
            self._task.begin_work(self._folder.path, files[0].source.month, files[0].source.patient_dir)
            self._launch(self._skip_known(files), "known files")

    async def _flush_plain(self) -> None:
        batch, self._patient = self._patient, PatientBatch()
        if batch.plain:
            await self._acquire_slot()
            self._launch(self._import_plain(batch), "plain pictures")

    async def _import_plain(self, batch: PatientBatch) -> None:
        """Imports the first one alone, since it may create the patient; then a few at a time."""
        if batch.under_way:
            await asyncio.wait(batch.under_way)
        await self._process_together(batch.plain[:1])
        for start in range(1, len(batch.plain), PLAIN_AT_ONCE):
            await self._process_together(batch.plain[start : start + PLAIN_AT_ONCE])

    async def _process_together(self, sources: Sequence[SourceFile]) -> None:
        imports = [self._process(source, issue_ticket(self._context, source)) for source in sources]
        for source in sources:
            self._task.begin_work(source.path, source.month, source.patient_dir)
        for end in await asyncio.gather(*imports, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    async def _acquire_slot(self) -> None:
        await self._task.gate()
        await self._slots.acquire()
        if self._defect is not None or self._task.status.ended:
            self._slots.release()
            raise TaskStopped

    def _launch(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        job = asyncio.create_task(work, name=name)
        self._in_progress.add(job)
        job.add_done_callback(self._ended)
        return job

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._in_progress.discard(job)
        self._slots.release()
        if not job.cancelled() and (error := job.exception()) and not isinstance(error, TaskStopped):
            self._defect = self._defect or error

    async def _drain(self) -> None:
        await self._wait_for_all()
        await self._task.gate()
        if self._defect is not None:
            raise TaskStopped

    async def _wait_for_all(self) -> None:
        while self._in_progress:
            await asyncio.wait(self._in_progress)

    async def _skip_known(self, files: Sequence[KnownFile]) -> None:
        outcomes, others = await skip_unchanged(self._context, files)
        record = self._history.record_outcomes
        added = await self._context.retry_after_pause(lambda: record(self._task.task_id, outcomes))
        self._publish([outcome for outcome, is_new in zip(outcomes, added, strict=True) if is_new], worked=False)
        for source in others:
            await self._process(source, issue_ticket(self._context, source))
        self._task.end_work(os.path.dirname(files[0].source.path))

    async def _process(self, source: SourceFile, ticket: Ticket, misplaced: bool = False) -> None:
        while True:
            result = await import_file(self._context, source, ticket, misplaced=misplaced)
            if isinstance(result, IgnoredFile):
                await self._leave_out([result])
                self._task.end_work(source.path)
                self._task.meter.advance(worked=False)
                return
            outcome = result.outcome
            if not await self._waited_for_source(outcome):
                break
            ticket = issue_ticket(self._context, source)
        if self._rejections.note(outcome) and not self._last_round:
            self._context.pause_for(BackendUnavailableError(REFUSES_ALL))
        if self._retried_at_the_end(outcome):
            self._retries.append(source)
        else:
            if (await record(self._context, result)).recorded:
                self._publish([outcome], worked=True)
            self._task.end_work(source.path)

    def _publish(self, outcomes: Sequence[FileOutcome], *, worked: bool) -> None:
        """Counts and logs outcomes that the history has recorded."""
        self._task.add_outcomes(outcomes)
        for outcome in outcomes:
            self._task.meter.advance(worked=worked)
            self._context.tools.telemetry.file_done(outcome, dry_run=self._context.options.dry_run)
            self._log.add(outcome)

    # --- the cause of a failure--------------------------------------------------------------------------------------

    async def _waited_for_source(self, outcome: FileOutcome) -> bool:
        """Whether the whole source was gone, so that the file could not be read. Waits until it is back."""
        if outcome.code not in _MAYBE_SOURCE_GONE:
            return False
        try:
            await for_walk(check_present, self._source)
        except _SOURCE_GONE as error:
            self._context.pause_for(error)
            await self._task.gate()
            self._source = await self._context.retry_after_pause(self._resolve_again)
            return True
        return False

    def _retried_at_the_end(self, outcome: FileOutcome) -> bool:
        return (
            outcome.code in _RETRIED_AT_THE_END
            and (not self._last_round or self._rejections.refuses_all(outcome))
            and len(self._retries) < RETRIES_AT_THE_END
        )

    async def _retry_at_the_end(self) -> None:
        """Imports files again that were still changing, or refused, after all others.

        While XieHe refuses all of them, the task pauses and repeats.
        """
        self._last_round = True
        while self._retries:
            sources, self._retries = self._retries, []
            self._context.patient_breaker.reset()
            await asyncio.sleep(SETTLE_SECONDS)
            for source in sources:
                await self._begin(await for_walk(with_current_size, source))
            await self._drain()
            if self._retries:
                self._context.pause_for(BackendUnavailableError(REFUSES_ALL))
