"""The writes of one transaction: synchronous, and on the writer's thread only."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from domain.counting import fold, fold_ignored, fold_patient
from history.month_sums import AT_ONCE, CountedTask, MonthTotals
from history.queries import unknown_task
from history.records import SeenSource, TaskScope
from history.row_mapping import COUNTS, ENDED, FILES, IMAGES, INTENTS, PRUNED_ID, SEEN_SOURCES, TASKS
from history.values import Row, microseconds, path_value, run, split, storable
from models import (
    Counts,
    FileOutcome,
    IgnoredFile,
    ImportedImage,
    OutcomeKind,
    PatientChange,
    SkippedFolder,
    TaskRecord,
    UploadIntent,
    display_path,
)

_PRUNE_ROWS = 5_000
"""Rows deleted in one transaction, so that running tasks never wait long for the writer."""

_ROWS_OF_TASKS = ("verified_images", "files", "ignored_files")
_SMALL_ROWS_OF_TASKS = ("patients", "patient_intents", "tallies", "stage_times", "intents", "verifications")

_ADD_TASK = f"INSERT INTO tasks ({TASKS.columns}) VALUES ({TASKS.marks})"
_SAVE_TASK = f"UPDATE tasks SET ({TASKS.columns}) = ({TASKS.marks}) WHERE task_id = ?"
_TALLY_OF_TASK = f"SELECT seq, last_file, root_id, whole_months, {COUNTS.columns} FROM tasks WHERE task_id = ?"
_SAVE_COUNTS = f"UPDATE tasks SET (last_file, {COUNTS.columns}) = (?, {COUNTS.marks}) WHERE seq = ?"
_ADD_FILES = {
    files: f"INSERT INTO files (task_seq, {FILES.columns}) VALUES {', '.join([f'(?, {FILES.marks})'] * files)}"
    " ON CONFLICT DO NOTHING"
    for files in (1, AT_ONCE)
}
_SAVE_IMAGE = f"INSERT OR REPLACE INTO images ({IMAGES.columns}) VALUES ({IMAGES.marks})"
_SAVE_SEEN = f"INSERT OR REPLACE INTO seen_sources ({SEEN_SOURCES.columns}) VALUES ({SEEN_SOURCES.marks})"
_ADD_INTENT = f"INSERT OR REPLACE INTO intents (task_seq, shown_path, {INTENTS.columns}) VALUES (?, ?, {INTENTS.marks})"
_PRUNABLE = f"""
    SELECT seq FROM tasks AS task
    WHERE status IN ({ENDED}) AND COALESCE(completed_at, created_at) < ?
      AND NOT EXISTS (SELECT 1 FROM tasks WHERE parent_id = task.task_id AND status NOT IN ({ENDED}))
    ORDER BY seq LIMIT 1
"""


@dataclass(slots=True)
class _Tally:
    """A task's running sums while a transaction is open; written back once, before its commit."""

    seq: int
    last_file: int
    counted: CountedTask | None
    counts: Counts
    new_outcomes: list[FileOutcome] = field(default_factory=list)
    groups: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    stage_seconds: Counter[str] = field(default_factory=Counter)
    changed: bool = False

    def add(self, outcome: FileOutcome) -> None:
        """One more file."""
        self.last_file += 1
        self.new_outcomes.append(outcome)
        self.groups[(outcome.month or "", outcome.kind.value, outcome.code)] += 1
        if outcome.stage_seconds:
            self.stage_seconds.update(outcome.stage_seconds)
        self.changed = True


class HistoryTransaction:
    """Each method checks before it writes, so an error of ours leaves nothing half done.

    All raise TaskNotFoundError for a task that the history does not have.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._tallies: dict[str, _Tally] = {}
        self._months = MonthTotals(connection)

    def add_task(self, record: TaskRecord) -> None:
        """A new task, with the skipped folders it has already."""
        run(self.connection, _ADD_TASK, TASKS.row(record))
        self.record_left_out(record.task_id, record.skipped_folders)

    def save_task(self, record: TaskRecord) -> None:
        """Everything of the record but its skipped folders, which :meth:`record_left_out` adds."""
        if run(self.connection, _SAVE_TASK, [*TASKS.row(record), record.task_id]).rowcount == 0:
            raise unknown_task(record.task_id)

    def record_outcome(
        self, task_id: str, outcome: FileOutcome, images: Sequence[ImportedImage] = (), seen: SeenSource | None = None
    ) -> bool:
        """One file's end: its row, its images in the index, its intents closed.

        Returns False if the task has a row for this path already, which stays. The images are recorded all the same.
        """
        tally = self._tally(task_id)
        for image in images:
            run(self.connection, _SAVE_IMAGE, IMAGES.row(image))
        self._settle(tally.seq, outcome)
        place = split(outcome.source_path)
        row = (tally.seq, tally.last_file + 1, *place, *FILES.row(outcome))
        if run(self.connection, _ADD_FILES[1], row).rowcount == 0:
            return False
        tally.add(outcome)
        if seen is not None:
            run(self.connection, _SAVE_SEEN, [*split(seen.source_path), *SEEN_SOURCES.row(seen)])
        if tally.counted is not None:
            self._months.note(tally.counted, place, outcome)
        return True

    def record_outcomes(self, task_id: str, outcomes: Sequence[FileOutcome]) -> list[bool]:
        """As :meth:`record_outcome` for each, without images; quick if none of them was recorded before."""
        tally = self._tally(task_id)
        places = [split(outcome.source_path) for outcome in outcomes]
        rows = [
            (tally.seq, number, *place, *FILES.row(outcome))
            for number, (place, outcome) in enumerate(zip(places, outcomes, strict=True), tally.last_file + 1)
        ]
        if not self._add_all(rows):
            return [self.record_outcome(task_id, outcome) for outcome in outcomes]
        for outcome in outcomes:
            tally.add(outcome)
        if self.connection.execute("SELECT 1 FROM intents WHERE task_seq = ? LIMIT 1", (tally.seq,)).fetchone():
            for outcome in outcomes:
                self._settle(tally.seq, outcome)
        if tally.counted is not None:
            self._months.note_all(tally.counted, places, outcomes)
        return [True] * len(rows)

    def count_on_board(self, task_id: str, scope: TaskScope) -> None:
        """The task's outcomes count on the month board from now on. Those of other tasks (dry runs) never do."""
        tally = self._tally(task_id)
        tally.counted = self._months.count(tally.seq, scope)
        self.connection.execute(
            "UPDATE tasks SET whole_months = ? WHERE seq = ?", (scope.whole_months, tally.counted.seq)
        )

    def end_walk(self, task_id: str, months: Collection[str]) -> None:
        """The task went through the whole of these months (``""``: what is beside them in the root).

        Failed files that it did not meet have been moved or deleted, and count no longer.
        """
        counted = self._tally(task_id).counted
        if counted is not None:
            self._months.end_walk(counted, months)

    def record_image(self, image: ImportedImage, intent_id: str | None = None) -> None:
        """An image that is in XieHe before its file has ended; closes its intent."""
        run(self.connection, _SAVE_IMAGE, IMAGES.row(image))
        if intent_id is not None:
            self.drop_intent(intent_id)

    def identify_image(self, image: ImportedImage) -> None:
        """The image's id has become known: written to the index, and to the file's row if that names this image."""
        run(self.connection, _SAVE_IMAGE, IMAGES.row(image))
        folder, name = split(image.source_path)
        self.connection.execute(
            "UPDATE files SET image_file_id = ? WHERE task_seq = ? AND folder = ? AND name = ? AND upload_filename = ?",
            storable((image.image_file_id, self.seq_of(image.task_id), folder, name, image.stored_name)),
        )

    def record_seen(self, seen: SeenSource) -> None:
        """A file whose images are known to be in XieHe, without an outcome."""
        run(self.connection, _SAVE_SEEN, [*split(seen.source_path), *SEEN_SOURCES.row(seen)])

    def record_left_out(self, task_id: str, items: Sequence[IgnoredFile | SkippedFolder]) -> list[bool]:
        """Files and folders that are not imported; False for each that was recorded before."""
        tally = self._tally(task_id)
        return [
            self._record_ignored(tally, item) if isinstance(item, IgnoredFile) else self._record_skipped(tally, item)
            for item in items
        ]

    def _record_ignored(self, tally: _Tally, file: IgnoredFile) -> bool:
        done = self.connection.execute(
            "INSERT INTO ignored_files (task_seq, folder, name, reason) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            storable((tally.seq, *split(file.path), file.reason)),
        )
        if done.rowcount == 0:
            return False
        tally.counts = fold_ignored(tally.counts)
        tally.changed = True
        return True

    def _record_skipped(self, tally: _Tally, folder: SkippedFolder) -> bool:
        done = self.connection.execute(
            "INSERT INTO skipped_folders VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            storable((tally.seq, path_value(folder.path), folder.reason, folder.hint)),
        )
        return done.rowcount > 0

    def intend_patient(self, task_id: str, patient_key: str) -> None:
        """To be awaited before the patient is created. If it exists afterwards, this task created it."""
        key = storable((self.seq_of(task_id), patient_key))
        self.connection.execute("INSERT OR IGNORE INTO patient_intents VALUES (?, ?)", key)

    def drop_patient_intent(self, task_id: str, patient_key: str) -> None:
        """The patient is known not to have been created."""
        self._had_patient_intent(task_id, patient_key)

    def _had_patient_intent(self, task_id: str, patient_key: str) -> bool:
        key = storable((self.seq_of(task_id), patient_key))
        done = self.connection.execute("DELETE FROM patient_intents WHERE task_seq = ? AND patient_key = ?", key)
        return done.rowcount > 0

    def record_patient(self, task_id: str, patient_key: str, created: bool | None) -> PatientChange:
        """A patient met by the task; ``created`` is None while it is not known whether XieHe has it.

        Counts once per task: what is recorded again changes nothing, what becomes known later is added.
        """
        tally = self._tally(task_id)
        key = storable((tally.seq, patient_key))
        created = self._had_patient_intent(task_id, patient_key) or created
        before = self.connection.execute(
            "SELECT created FROM patients WHERE task_seq = ? AND patient_key = ?", key
        ).fetchone()
        resolved = created if before is None or before[0] is None else None
        change = PatientChange(found=before is None, resolved=resolved)
        if change.found or resolved is not None:
            self.connection.execute("INSERT OR REPLACE INTO patients VALUES (?, ?, ?)", (*key, resolved))
            tally.counts = fold_patient(tally.counts, change)
            tally.changed = True
        return change

    def add_intent(self, intent: UploadIntent) -> None:
        """To be awaited before anything is sent that can become an image; one of the same id is replaced."""
        row = (self.seq_of(intent.image.task_id), display_path(intent.image.source_path), *INTENTS.row(intent))
        run(self.connection, _ADD_INTENT, row)

    def drop_intent(self, intent_id: str) -> None:
        """The upload is known not to have been committed."""
        self.connection.execute("DELETE FROM intents WHERE intent_id = ?", (intent_id,))

    def drop_some_planned(self, backend_url: str) -> bool:
        """Delete a part of a dry run's plan; False if nothing is left of it."""
        some = "SELECT patient_id, name_key FROM images WHERE backend_url = ?1 LIMIT ?2"
        delete = f"DELETE FROM images WHERE backend_url = ?1 AND (patient_id, name_key) IN ({some})"
        return self.connection.execute(delete, (backend_url, _PRUNE_ROWS)).rowcount > 0

    def prune_some(self, before: datetime) -> bool:
        """Delete a part of the oldest task that ended before that moment; False if none is left.

        The index of imported images stays, and so does a parent whose retry has not ended.
        """
        due = self.connection.execute(_PRUNABLE, (microseconds(before),)).fetchone()
        if due is None:
            return False
        self.connection.execute(f"UPDATE tasks SET task_id = {PRUNED_ID} WHERE seq = ?", due)
        if not (any(self._delete_some(table, due) for table in _ROWS_OF_TASKS) or self._delete_some_skipped(due)):
            for table in _SMALL_ROWS_OF_TASKS:
                self.connection.execute(f"DELETE FROM {table} WHERE task_seq = ?", due)
            self.connection.execute("DELETE FROM tasks WHERE seq = ?", due)
        return True

    def flush(self) -> None:
        """Write the running sums back; the last thing before the commit."""
        for tally in self._tallies.values():
            if tally.changed:
                self._flush(tally)
        self._months.flush()

    def _flush(self, tally: _Tally) -> None:
        tally.counts = fold(tally.counts, tally.new_outcomes)
        self.connection.execute(_SAVE_COUNTS, (tally.last_file, *COUNTS.row(tally.counts), tally.seq))
        self.connection.executemany(
            "INSERT INTO tallies VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET files = files + excluded.files",
            [storable((tally.seq, *key, files)) for key, files in tally.groups.items()],
        )
        self.connection.executemany(
            "INSERT INTO stage_times VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds",
            [(tally.seq, stage, seconds) for stage, seconds in tally.stage_seconds.items()],
        )

    def _add_all(self, rows: Sequence[Row]) -> bool:
        """Add rows of ``files``. If one of them is not new, adds none and returns False."""
        parts = [rows[begin : begin + AT_ONCE] for begin in range(0, len(rows), AT_ONCE)]
        if parts and len(parts[-1]) < AT_ONCE:
            parts[-1:] = [[row] for row in parts[-1]]
        self.connection.execute("SAVEPOINT all_or_none")
        added = sum(run(self.connection, _ADD_FILES[len(part)], [*chain(*part)]).rowcount for part in parts)
        if added < len(rows):
            self.connection.execute("ROLLBACK TO all_or_none")
        self.connection.execute("RELEASE all_or_none")
        return added == len(rows)

    def _settle(self, task_seq: int, outcome: FileOutcome) -> None:
        """The file's end is known, so none of its intents is open any more; of one that failed XieHe may be at work."""
        if outcome.kind is OutcomeKind.FAILED:
            return
        self.connection.execute(
            "DELETE FROM intents WHERE task_seq = ? AND shown_path = ?", (task_seq, display_path(outcome.source_path))
        )

    def _delete_some(self, table: str, due: Row) -> int:
        which = f"SELECT rowid FROM {table} WHERE task_seq = ? LIMIT {_PRUNE_ROWS}"
        return self.connection.execute(f"DELETE FROM {table} WHERE rowid IN ({which})", due).rowcount

    def _delete_some_skipped(self, due: Row) -> int:
        which = f"SELECT path FROM skipped_folders WHERE task_seq = ?1 LIMIT {_PRUNE_ROWS}"
        delete = f"DELETE FROM skipped_folders WHERE task_seq = ?1 AND path IN ({which})"
        return self.connection.execute(delete, due).rowcount

    def seq_of(self, task_id: str) -> int:
        """The number that a task has in other tables."""
        return self._tally(task_id).seq

    def _tally(self, task_id: str) -> _Tally:
        tally = self._tallies.get(task_id)
        if tally is None:
            row = self.connection.execute(_TALLY_OF_TASK, (task_id,)).fetchone()
            if row is None:
                raise unknown_task(task_id)
            counted = None if row[2] is None else CountedTask(row[0], row[2], bool(row[3]))
            tally = self._tallies[task_id] = _Tally(row[0], row[1], counted, COUNTS.value(row[4:]))
        return tally
