"""One task's run: scan → trips → second chances → result."""

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
from importing.runs.source_retry import looked_at_again, pull, resolve_present
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
SECOND_CHANCES = 10_000
SETTLE_SECONDS = 3.0
_WORTH_A_SECOND_CHANCE = frozenset(
    {
        codes.MOVED_OUTSIDE_ROOTS,
        codes.UNSTABLE_FILE,
        codes.UPLOAD_REJECTED,
        codes.UPLOAD_UNCONFIRMED,
        codes.PATIENT_UNAVAILABLE,
    }
)
_SOURCE_NOT_NOW = (SourceVanishedError, OutOfDescriptorsError)
"""The walk ends, and begins anew past what is recorded."""
_PERHAPS_THE_SOURCE = frozenset({codes.UNSTABLE_FILE, codes.MOVED_OUTSIDE_ROOTS, "unreadable_file"})


class TaskRun:
    """Runs one task from where it stands to its end."""

    def __init__(self, context: RunContext, source: ResolvedSource, rules: TreeRules, files_at_once: int) -> None:
        self._context = context
        self._task = context.task
        self._history = context.tools.history
        self._source = source
        self._rules = rules
        self._room = asyncio.Semaphore(files_at_once)
        self._under_way: set[asyncio.Task[None]] = set()
        self._defect: BaseException | None = None
        self._folder = FolderCache()
        self._patient = PatientBatch()
        self._resumed = context.task.record.started_at is not None
        self._second_chances: list[SourceFile] = []
        self._last_round = False
        self._log = OutcomeLog(context.task.task_id)
        self._rejections = RejectionBreaker(lambda: context.tools.outage_breaker.last_success_at)

    @property
    def source(self) -> ResolvedSource:
        """The source as it was last found."""
        return self._source

    async def run(self, files: Iterator[ScanEvent] | None = None) -> None:
        """Gives each file its outcome.

        Args:
            files: what to import instead of walking the source (a retry).

        Raises:
            TaskStopped: cancelled, or the service is stopping; what had begun is done or will be settled.
            HistoryError: outcomes cannot be written.
        """
        counting = asyncio.create_task(self._count_ahead(files is None), name=f"count {self._task.task_id}")
        try:
            await self._go_through(files)
            await self._give_second_chances()
        except asyncio.CancelledError:
            self.abort()
            raise
        except TaskStopped:
            await self._land_or_abort()
            if self._defect is not None:
                raise self._defect from None
            raise
        finally:
            counting.cancel()
            await self._let_all_land()

    async def _land_or_abort(self) -> None:
        try:
            await self._let_all_land()
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """Ends what is under way without waiting for its answers; uploads without an end leave their intents."""
        for job in self._under_way:
            job.cancel()

    # --- scanning --------------------------------------------------------------------------------------------------

    async def _go_through(self, files: Iterator[ScanEvent] | None) -> None:
        while True:
            events = files if files is not None else walk(self._source, self._rules)
            try:
                await self._take_all(events)
                await self._drain()
                if files is None:
                    await for_walk(check_present, self._source)
                return
            except _SOURCE_NOT_NOW as error:
                await self._wait_for_source(error)

    async def _take_all(self, events: Iterator[ScanEvent]) -> None:
        while chunk := await for_walk(pull, events):
            if left_out := [event for event in chunk if isinstance(event, IgnoredFile | SkippedFolder)]:
                await self._task.gate()
                await self._leave_out(left_out)
            for event in chunk:
                if isinstance(event, MisplacedFile):
                    await self._take_file(event.source, misplaced=True)
                elif isinstance(event, SourceFile):
                    await self._take_file(event, misplaced=False)
            await self._flush_known()
        await self._flush_plain()

    async def _take_file(self, source: SourceFile, *, misplaced: bool) -> None:
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
        """Records what is not imported, in one transaction."""
        record = self._history.record_left_out
        news = await self._context.retry_after_pause(lambda: record(self._task.task_id, items))
        new = [item for item, is_new in zip(items, news, strict=True) if is_new]
        self._task.add_ignored(sum(isinstance(item, IgnoredFile) for item in new))
        self._task.add_skipped(*(item for item in new if isinstance(item, SkippedFolder)))

    async def _wait_for_source(self, error: SourceVanishedError | OutOfDescriptorsError) -> None:
        """Waits until the source is back, then goes through it again past what is recorded."""
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
        """Tells the task how many files there are, while the first ones are already on their way."""
        if not walking:
            return
        total = 0
        totals = count(self._source, self._rules, lambda: False)
        try:
            while batch := await for_walk(pull, totals):
                total = batch[-1]
                self._task.expect(total, final=False)
        except _SOURCE_NOT_NOW:
            return
        self._task.expect(total, final=True)

    # --- files under way -------------------------------------------------------------------------------------------

    async def _begin(self, source: SourceFile, *, misplaced: bool = False) -> None:
        await self._await_room()
        self._task.begin_work(source.path, source.month, source.patient_dir)
        ticket = issue_ticket(self._context, source)
        job = self._launch(self._import(source, ticket, misplaced), os.path.basename(source.path))
        self._patient.note(job)

    async def _flush_known(self) -> None:
        files, self._folder.known = self._folder.known, []
        if files:
            await self._await_room()
            self._task.begin_work(self._folder.path, files[0].source.month, files[0].source.patient_dir)
            self._launch(self._pass_known(files), "known files")

    async def _flush_plain(self) -> None:
        batch, self._patient = self._patient, PatientBatch()
        if batch.plain:
            await self._await_room()
            self._launch(self._take_plain(batch), "plain pictures")

    async def _take_plain(self, batch: PatientBatch) -> None:
        """The first one alone, since it may make the patient; then a few at a time."""
        if batch.under_way:
            await asyncio.wait(batch.under_way)
        await self._import_together(batch.plain[:1])
        for start in range(1, len(batch.plain), PLAIN_AT_ONCE):
            await self._import_together(batch.plain[start : start + PLAIN_AT_ONCE])

    async def _import_together(self, sources: Sequence[SourceFile]) -> None:
        imports = [self._import(source, issue_ticket(self._context, source)) for source in sources]
        for source in sources:
            self._task.begin_work(source.path, source.month, source.patient_dir)
        for end in await asyncio.gather(*imports, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    async def _await_room(self) -> None:
        await self._task.gate()
        await self._room.acquire()
        if self._defect is not None or self._task.status.ended:
            self._room.release()
            raise TaskStopped

    def _launch(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        job = asyncio.create_task(work, name=name)
        self._under_way.add(job)
        job.add_done_callback(self._landed)
        return job

    def _landed(self, job: asyncio.Task[None]) -> None:
        self._under_way.discard(job)
        self._room.release()
        if not job.cancelled() and (error := job.exception()) and not isinstance(error, TaskStopped):
            self._defect = self._defect or error

    async def _drain(self) -> None:
        await self._let_all_land()
        await self._task.gate()
        if self._defect is not None:
            raise TaskStopped

    async def _let_all_land(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _pass_known(self, files: Sequence[KnownFile]) -> None:
        outcomes, others = await skip_unchanged(self._context, files)
        record = self._history.record_outcomes
        news = await self._context.retry_after_pause(lambda: record(self._task.task_id, outcomes))
        self._note([outcome for outcome, is_new in zip(outcomes, news, strict=True) if is_new], worked=False)
        for source in others:
            await self._import(source, issue_ticket(self._context, source))
        self._task.end_work(os.path.dirname(files[0].source.path))

    async def _import(self, source: SourceFile, ticket: Ticket, misplaced: bool = False) -> None:
        while True:
            result = await import_file(self._context, source, ticket, misplaced=misplaced)
            if isinstance(result, IgnoredFile):
                await self._leave_out([result])
                self._task.end_work(source.path)
                self._task.meter.advance(worked=False)
                return
            outcome = result.outcome
            if not await self._source_is_to_blame(outcome):
                break
            ticket = issue_ticket(self._context, source)
        if self._rejections.note(outcome) and not self._last_round:
            self._context.pause_for(BackendUnavailableError(REFUSES_ALL))
        if self._gets_second_chance(outcome):
            self._second_chances.append(source)
        else:
            if (await record(self._context, result)).recorded:
                self._note([outcome], worked=True)
            self._task.end_work(source.path)

    def _note(self, outcomes: Sequence[FileOutcome], *, worked: bool) -> None:
        """They are in the history by now; so everybody may know."""
        self._task.add_outcomes(outcomes)
        for outcome in outcomes:
            self._task.meter.advance(worked=worked)
            self._context.tools.telemetry.file_done(outcome, dry_run=self._context.options.dry_run)
            self._log.add(outcome)

    # --- whose fault is it -----------------------------------------------------------------------------------------

    async def _source_is_to_blame(self, outcome: FileOutcome) -> bool:
        """A file that cannot be read because its whole source is gone waits until that is back."""
        if outcome.code not in _PERHAPS_THE_SOURCE:
            return False
        try:
            await for_walk(check_present, self._source)
        except _SOURCE_NOT_NOW as error:
            self._context.pause_for(error)
            await self._task.gate()
            self._source = await self._context.retry_after_pause(self._resolve_again)
            return True
        return False

    def _gets_second_chance(self, outcome: FileOutcome) -> bool:
        return (
            outcome.code in _WORTH_A_SECOND_CHANCE
            and (not self._last_round or self._rejections.refuses_all(outcome))
            and len(self._second_chances) < SECOND_CHANCES
        )

    async def _give_second_chances(self) -> None:
        """Files that were still changing, or refused, are taken once more when all others are done.

        As long as XieHe refuses all of them the task pauses, and they are taken again.
        """
        self._last_round = True
        while self._second_chances:
            sources, self._second_chances = self._second_chances, []
            self._context.patient_breaker.reset()
            await asyncio.sleep(SETTLE_SECONDS)
            for source in sources:
                await self._begin(await for_walk(looked_at_again, source))
            await self._drain()
            if self._second_chances:
                self._context.pause_for(BackendUnavailableError(REFUSES_ALL))
