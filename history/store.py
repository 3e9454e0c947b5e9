"""The durable memory in DATA_DIR: tasks, one row per file outcome, the index of imported images, open upload intents.

SQLite in WAL mode. One thread writes, and commits in groups; two threads read, each on its own connection, and see what
was committed when they began. A write has returned means: it is on disk. One process owns DATA_DIR.

Paths: text where the name is UTF-8, the very bytes where it is not, so what was recorded comes back as it was; only
reports give display text.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from errors import TaskNotFoundError
from history import queries as history_reads
from history import verification_rows
from history.data_dir_lock import owned_data_dir
from history.database import connect, connect_for_reading, prepare, translated
from history.file_pages import FilePage, files_page, recorded_file
from history.integrity import DamageLatch, IntegrityCheck, examine
from history.queries import FailedSource
from history.records import (
    FileFilter,
    IgnoredRow,
    MonthMark,
    MonthSum,
    RecordedFile,
    ReportLine,
    ReportRow,
    SeenSource,
    TaskBreakdown,
    TaskScope,
)
from history.report_lines import report_lines
from history.writer import GroupCommitWriter
from models import (
    Counts,
    FileOutcome,
    IgnoredFile,
    ImportedImage,
    PatientChange,
    SkippedFolder,
    TaskRecord,
    UploadIntent,
    Verification,
    VerifiedImage,
    VerifiedRow,
    VerifyResult,
    display_path,
)

_DATABASE_NAME = "history.sqlite3"
_PAGE_READERS = 2

T = TypeVar("T")
P = ParamSpec("P")


class History:
    """The open history; made by :meth:`open`.

    Every method raises HistoryError where the database fails, the writing ones DiskFullError where no space is left,
    and those that take a task id TaskNotFoundError where there is no such task. Once the file is known to be damaged,
    all but :meth:`check` raise HistoryDamagedError: of a damaged index, an answer may silently leave rows out.
    """

    def __init__(
        self, writer: GroupCommitWriter, files: _Readers, readers: _Readers, check: IntegrityCheck, latch: DamageLatch
    ) -> None:
        self._writer = writer
        self._of_files = files
        self._readers = readers
        self._check = check
        self._latch = latch

    @classmethod
    @asynccontextmanager
    async def open(cls, data_dir: str) -> AsyncIterator[History]:
        """Own DATA_DIR and open its database, making both where they are missing.

        Raises:
            DataDirInUseError: another process owns DATA_DIR.
            HistoryError: locked, damaged or unusable; names the file.
        """
        path = _database_path(data_dir)
        with owned_data_dir(data_dir):
            await asyncio.to_thread(prepare, path)
            latch = DamageLatch(path)
            with translated(path):
                writer = GroupCommitWriter(connect(path), path, latch)
            files, readers = _Readers(path, latch, 1), _Readers(path, latch, _PAGE_READERS)
            check = IntegrityCheck(path, latch)
            try:
                yield cls(writer, files, readers, check, latch)
            finally:
                await check.close()
                await files.close()
                await readers.close()
                await writer.close()

    # --- the file

    @property
    def damaged(self) -> bool:
        """Whether the file is known to be damaged, and so not used any more."""
        return self._latch.is_set

    @property
    def checked_at(self) -> datetime | None:
        """When :meth:`check` last came to a verdict, UTC."""
        return self._check.ended_at

    async def check(self) -> None:
        """Read the whole file, which takes seconds; sets :attr:`damaged`. Raises HistoryError if it cannot be done."""
        await self._check.run()

    # --- tasks

    async def add_task(self, record: TaskRecord) -> None:
        """A new task, with the skipped folders it has already."""
        await self._writer.run(lambda tx: tx.add_task(record))

    async def save_task(self, record: TaskRecord) -> None:
        """Everything of the record but its skipped folders, which :meth:`record_left_out` adds."""
        await self._writer.run(lambda tx: tx.save_task(record))

    async def get_task(self, task_id: str) -> TaskRecord:
        return await self._readers.run(history_reads.get_task, task_id)

    async def list_tasks(self, offset: int, limit: int) -> tuple[int, list[TaskRecord]]:
        """How many there are, and one page, newest first."""
        return await self._readers.run(history_reads.list_tasks, offset, limit)

    async def unfinished_tasks(self) -> list[TaskRecord]:
        """Those that have not ended, oldest first."""
        return await self._readers.run(history_reads.unfinished_tasks)

    async def tasks_left_in_doubt(self) -> list[str]:
        """Those that came to rest with open intents, oldest first."""
        return await self._readers.run(history_reads.tasks_left_in_doubt)

    async def prune(self, before: datetime) -> None:
        """Forget tasks that ended before that moment, with their files; the index of imported images stays.

        A parent whose retry has not ended stays too. Goes in small transactions, so that nobody waits long.
        """
        while await self._writer.run(lambda tx: tx.prune_some(before)):
            pass

    # --- what happens to files

    async def record_outcome(
        self, task_id: str, outcome: FileOutcome, images: Sequence[ImportedImage] = (), seen: SeenSource | None = None
    ) -> bool:
        """One file's end in one transaction: its row, its pictures in the index, its intents closed.

        False where the task has a row for this path already, which stays; the pictures are in XieHe all the same.
        """
        return await self._writer.run(lambda tx: tx.record_outcome(task_id, outcome, images, seen))

    async def record_outcomes(self, task_id: str, outcomes: Sequence[FileOutcome]) -> list[bool]:
        """Many files' ends in one transaction, for those that brought nothing new; each as :meth:`record_outcome`."""
        return await self._writer.run(lambda tx: tx.record_outcomes(task_id, outcomes))

    async def record_image(self, image: ImportedImage, intent_id: str | None = None) -> None:
        """A picture that is in XieHe before its file has ended; closes its intent in the same transaction."""
        await self._writer.run(lambda tx: tx.record_image(image, intent_id))

    async def record_left_out(self, task_id: str, items: Sequence[IgnoredFile | SkippedFolder]) -> list[bool]:
        """Files and folders that are not imported, in one transaction; False where it was recorded before."""
        return await self._writer.run(lambda tx: tx.record_left_out(task_id, items))

    async def intend_patient(self, task_id: str, patient_key: str) -> None:
        """To be awaited before the patient is created: whoever finds it afterwards knows that this task made it."""
        await self._writer.run(lambda tx: tx.intend_patient(task_id, patient_key))

    async def drop_patient_intent(self, task_id: str, patient_key: str) -> None:
        """The patient is known not to have been created."""
        await self._writer.run(lambda tx: tx.drop_patient_intent(task_id, patient_key))

    async def record_patient(self, task_id: str, patient_key: str, created: bool | None) -> PatientChange:
        """A patient met by the task; ``created`` is None while it is not known whether XieHe has it.

        Counts once per task: what is told again changes nothing, what becomes known later is added.
        """
        return await self._writer.run(lambda tx: tx.record_patient(task_id, patient_key, created))

    # --- a task's figures and reports

    async def counts(self, task_id: str) -> Counts:
        """The sums that are kept with the rows, in the same transactions."""
        found = await self.counts_of([task_id])
        if task_id not in found:
            raise TaskNotFoundError(f"没有这个任务：{display_path(task_id)}。")
        return found[task_id]

    async def counts_of(self, task_ids: Sequence[str]) -> dict[str, Counts]:
        """Of many tasks at once; unknown ones are left out."""
        return await self._readers.run(history_reads.counts, task_ids)

    async def breakdown(self, task_id: str) -> TaskBreakdown:
        return await self._readers.run(history_reads.breakdown, task_id)

    async def recorded_paths(self, task_id: str, folder: str) -> set[str]:
        """Scanned and ignored files of the task lying directly in the folder, as they were recorded."""
        return await self._of_files.run(history_reads.recorded_paths, task_id, folder)

    async def report_lines(self, task_id: str, after: int, limit: int) -> list[ReportLine]:
        """Files with a number greater than ``after``, in order."""
        return await self._readers.run(report_lines, task_id, after, limit)

    async def files_page(self, task_id: str, wanted: FileFilter, after: int, limit: int) -> FilePage:
        """Rows that match and have a number greater than ``after``, in order, and how many match in all."""
        return await self._readers.run(files_page, task_id, wanted, after, limit)

    async def recorded_file(self, task_id: str, number: int) -> RecordedFile:
        """One scanned file by its number. Raises FileRowNotFoundError."""
        return await self._readers.run(recorded_file, task_id, number)

    async def ignored_rows(self, task_id: str, after: int, limit: int) -> list[IgnoredRow]:
        """Rows with a number greater than ``after``, in order."""
        return await self._readers.run(history_reads.ignored_rows, task_id, after, limit)

    async def skipped_folders(self, task_id: str, after: str, limit: int) -> list[SkippedFolder]:
        """A page of the folders that the task left out, in the order of their paths, beyond the path ``after``."""
        return await self._readers.run(history_reads.skipped_folders, task_id, after, limit)

    async def skipped_folders_total(self, task_id: str) -> int:
        """How many there are."""
        return await self._readers.run(history_reads.skipped_folders_total, task_id)

    async def newest_failures(self, task_id: str, limit: int = 100) -> list[ReportRow]:
        """Newest first."""
        return await self._readers.run(history_reads.newest_failures, task_id, limit)

    async def failed_sources(
        self, task_id: str, code: str | None = None, after: int = 0, limit: int = 1_000
    ) -> list[FailedSource]:
        """A page of the files to retry: those of the code, or without one all but ``no_pixel_data``."""
        return await self._readers.run(history_reads.failed_sources, task_id, code, after, limit)

    # --- the month board

    async def count_on_board(self, task_id: str, scope: TaskScope) -> None:
        """The task's outcomes count on the month board from now on; those of other tasks (dry runs) never do."""
        await self._writer.run(lambda tx: tx.count_on_board(task_id, scope))

    async def end_walk(self, task_id: str, months: Collection[str]) -> None:
        """The task went through the whole of these months (``""``: what lies beside them in the root).

        Failed files that it did not meet any more have been moved or deleted, and count no longer.
        """
        await self._writer.run(lambda tx: tx.end_walk(task_id, months))

    async def month_sums(self, backend_url: str) -> list[MonthSum]:
        """Each file's latest outcome, summed by root, month and code; outlives the tasks."""
        return await self._readers.run(history_reads.month_sums, backend_url)

    async def month_marks(self, backend_url: str) -> list[MonthMark]:
        """What tasks did to each root's months."""
        return await self._readers.run(history_reads.month_marks, backend_url)

    async def newest_months(self, task_ids: Sequence[str]) -> dict[str, str | None]:
        """The month of each task's newest outcome; tasks without one are left out."""
        return await self._readers.run(history_reads.newest_months, task_ids)

    # --- verification

    async def begin_verification(self, task_id: str, started_at: datetime) -> None:
        """A new one begins; to be followed by :meth:`drop_verified`."""
        total = await self._readers.run(verification_rows.images_to_verify, task_id)
        await self._writer.run(lambda tx: verification_rows.begin(tx.connection, tx.seq_of(task_id), total, started_at))

    async def drop_verified(self, task_id: str) -> None:
        """Forget the images of an earlier one, in small transactions."""
        while await self._writer.run(lambda tx: verification_rows.drop_some(tx.connection, tx.seq_of(task_id))):
            pass

    async def add_verified(self, task_id: str, images: Sequence[VerifiedImage]) -> None:
        await self._writer.run(lambda tx: verification_rows.add(tx.connection, tx.seq_of(task_id), images))

    async def end_verification(self, task_id: str, ended: Verification) -> None:
        """Its status, time and words; what was found stands."""
        await self._writer.run(lambda tx: verification_rows.end(tx.connection, tx.seq_of(task_id), ended))

    async def verification(self, task_id: str) -> Verification | None:
        """The last one of a task; one that a stop of the service cut off has failed as ``interrupted``."""
        return await self._readers.run(verification_rows.verification, task_id)

    async def verified_rows(
        self, task_id: str, result: VerifyResult | None, after: tuple[int, int], limit: int
    ) -> list[VerifiedRow]:
        """A page of images beyond a (number, frame), in that order."""
        return await self._readers.run(verification_rows.verified_rows, task_id, result, after, limit)

    async def files_to_verify(self, task_id: str, after: int, limit: int) -> list[ReportRow]:
        """A page of the files of which something is, or should be, in XieHe."""
        return await self._readers.run(verification_rows.files_to_verify, task_id, after, limit)

    async def imported_into(self, task_id: str) -> str | None:
        """BACKEND_URL of the XieHe that the task imported into; None where it is not known."""
        return await self._readers.run(verification_rows.imported_into, task_id)

    # --- the index of imported images

    async def images_of_patient(self, backend_url: str, patient_id: str) -> list[ImportedImage]:
        return await self._of_files.run(history_reads.images_of_patient, backend_url, patient_id)

    async def images_without_id(
        self, task_id: str, after: tuple[str, str] = ("", ""), limit: int = 500
    ) -> list[ImportedImage]:
        """Images of a task whose id XieHe has not told, beyond a (patient id, name key), in that order."""
        return await self._readers.run(history_reads.images_without_id, task_id, after, limit)

    async def identify_image(self, image: ImportedImage) -> None:
        """An image's id has become known: written to the index and to the report."""
        await self._writer.run(lambda tx: tx.identify_image(image))

    async def instances(self, backend_url: str, sop_instance_uid: str) -> list[ImportedImage]:
        """Every picture of that instance, of whichever patient."""
        return await self._of_files.run(history_reads.instances, backend_url, sop_instance_uid)

    async def planned_backends(self, prefix: str) -> list[str]:
        """The plans of dry runs whose name begins so."""
        return await self._readers.run(history_reads.backends_like, prefix)

    async def drop_plan(self, backend_url: str) -> None:
        """Forget a dry run's plan; in small transactions, so that nobody waits long."""
        while await self._writer.run(lambda tx: tx.drop_some_planned(backend_url)):
            pass

    async def seen_sources(self, backend_url: str, folder: str) -> dict[str, SeenSource]:
        """Known files lying directly in the folder, by path."""
        return await self._of_files.run(history_reads.seen_sources, backend_url, folder)

    async def record_seen(self, seen: SeenSource) -> None:
        """A file whose pictures are known to be in XieHe, outside of any outcome."""
        await self._writer.run(lambda tx: tx.record_seen(seen))

    # --- intents

    async def add_intent(self, intent: UploadIntent) -> None:
        """To be awaited before anything is sent that can become an image; one of the same id is replaced."""
        await self._writer.run(lambda tx: tx.add_intent(intent))

    async def drop_intent(self, intent_id: str) -> None:
        """The upload is known not to have landed."""
        await self._writer.run(lambda tx: tx.drop_intent(intent_id))

    async def intents_of_name(self, image: ImportedImage) -> list[UploadIntent]:
        """Any task's open ones for the name that this image would have."""
        return await self._readers.run(history_reads.intents_of_name, image)

    async def open_intents(self, task_id: str) -> list[UploadIntent]:
        """Oldest first."""
        return await self._readers.run(history_reads.open_intents, task_id)


def examine_history(data_dir: str, within_s: float) -> bool:
    """Check the history of a DATA_DIR that no process owns, and change nothing; False if ``within_s`` was too short.

    Raises:
        HistoryDamagedError: it is damaged.
        HistoryError: it cannot be opened or read.
    """
    return examine(_database_path(data_dir), within_s)


def _database_path(data_dir: str) -> str:
    return os.path.join(os.path.abspath(data_dir), _DATABASE_NAME)


class _Readers:
    """Threads for questions, each with a connection of its own that cannot write.

    What an import asks for each file goes to a single one: of several at rest, two would wake for each question.
    """

    def __init__(self, path: str, latch: DamageLatch, threads: int) -> None:
        self._path = path
        self._latch = latch
        self._own = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="history-reader")

    async def run(
        self, question: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self._ask(lambda c: question(c, *args, **kwargs)))

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._opened:
            connection.close()

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with self._latch.guarded():
            return question(self._connection())

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = connect_for_reading(self._path)
            self._own.connection = connection
            self._opened.append(connection)
        return connection
