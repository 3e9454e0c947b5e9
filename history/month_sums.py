"""The month board's part of a transaction: each file's latest outcome over all tasks, and their sums by month.

A file counts in one sum (its root, month, outcome and code). A later outcome moves it to another sum. If the outcome is
the same, as in a re-import of known files, nothing is written. The sums outlive the tasks.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from history.records import TaskScope
from history.values import SqlValue, optional_microseconds, path_value, storable
from models import FileOutcome, OutcomeKind

AT_ONCE = 16
"""Files that one statement writes if many come together."""

_IMPORTED = (OutcomeKind.UPLOADED, OutcomeKind.DUPLICATE)

_SUM = "SELECT sum_id FROM month_sums WHERE root_id = ? AND month = ? AND kind = ? AND code = ? AND held = ?"
_ADD_SUM = "INSERT INTO month_sums (root_id, month, kind, code, held, files) VALUES (?, ?, ?, ?, ?, 0)"
_LATEST = "SELECT sum_id FROM latest_outcomes WHERE root_id = ? AND folder = ? AND name = ?"
_ADD = "INSERT INTO latest_outcomes (sum_id, failed, root_id, folder, name) VALUES (?, ?, ?, ?, ?)"
_MOVE = "UPDATE latest_outcomes SET sum_id = ?, failed = ? WHERE root_id = ? AND folder = ? AND name = ?"
_FORGET = "DELETE FROM latest_outcomes WHERE root_id = ? AND folder = ? AND name = ?"
_SOME = f"root_id = ? AND folder = ? AND name IN ({', '.join('?' * AT_ONCE)})"
_LATEST_OF_SOME = f"SELECT sum_id, COUNT(*) FROM latest_outcomes WHERE {_SOME} GROUP BY sum_id"
_MOVE_SOME = f"UPDATE latest_outcomes SET sum_id = ?, failed = ? WHERE {_SOME} AND sum_id <> ?"
_MARK = """
    INSERT INTO month_marks (root_id, month, last_task, last_imported_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        last_task = excluded.last_task, last_imported_at = COALESCE(excluded.last_imported_at, last_imported_at)
"""
_WALKED = "UPDATE month_marks SET walked_whole = 1 WHERE root_id = ? AND month = ?"
_WALKED_NO_MORE = "UPDATE month_marks SET walked_whole = 0 WHERE root_id = ? AND month = ? AND walked_whole"
_UNMET_FAILURES = """
    SELECT latest.sum_id, latest.folder, latest.name
    FROM month_sums JOIN latest_outcomes AS latest INDEXED BY latest_failures ON latest.sum_id = month_sums.sum_id
    WHERE month_sums.root_id = ? AND month_sums.month = ? AND month_sums.kind = 'failed' AND latest.failed
      AND NOT EXISTS (SELECT 1 FROM files WHERE task_seq = ? AND folder = latest.folder AND name = latest.name)
"""

Place = tuple[SqlValue, SqlValue]
"""A file's folder and name, as they are stored."""
_Placed = tuple[Place, FileOutcome]


@dataclass(frozen=True, slots=True)
class CountedTask:
    """A task whose outcomes count on the month board, the root that they count for, and whether it walks months."""

    seq: int
    root_id: int
    whole_months: bool


@dataclass
class MonthTotals:
    """Moves files between sums while a transaction is open; :meth:`flush` writes the sums back before its commit."""

    connection: sqlite3.Connection
    _sum_ids: dict[tuple[SqlValue, ...], int] = field(default_factory=dict)
    _moved: Counter[int] = field(default_factory=Counter)
    _met: dict[tuple[CountedTask, str], datetime | None] = field(default_factory=dict)
    """When the last file of a month was imported by a task, in this transaction."""
    _grown: set[tuple[int, str]] = field(default_factory=set)
    """Months (with their roots) in which a walk met new files: the end of the walk shows what else is new."""

    def count(self, task_seq: int, scope: TaskScope) -> CountedTask:
        """A task's outcomes count from now on."""
        key = storable((scope.backend_url, path_value(scope.root_path)))
        self.connection.execute("INSERT INTO roots (backend_url, path) VALUES (?, ?) ON CONFLICT DO NOTHING", key)
        found = self.connection.execute("SELECT root_id FROM roots WHERE backend_url = ? AND path = ?", key)
        task = CountedTask(task_seq, found.fetchone()[0], scope.whole_months)
        self.connection.execute("UPDATE tasks SET root_id = ? WHERE seq = ?", (task.root_id, task_seq))
        return task

    def note(self, task: CountedTask, place: Place, outcome: FileOutcome) -> None:
        """A file (its folder and name) has this outcome now."""
        sum_id = self._sum_id_of(task, outcome)
        is_new = self._put(sum_id, (task.root_id, *place), failed=outcome.kind is OutcomeKind.FAILED)
        if is_new and task.whole_months:
            self._grown.add((task.root_id, outcome.month or ""))
        self._meet(task, outcome)

    def note_all(self, task: CountedTask, places: Sequence[Place], outcomes: Sequence[FileOutcome]) -> None:
        """As :meth:`note` for each; quick if neighbours have the same outcome and had been met before."""
        for some in _alike(places, outcomes):
            if len(some) < AT_ONCE or not self._note_some(task, some):
                for place, outcome in some:
                    self.note(task, place, outcome)

    def _note_some(self, task: CountedTask, some: Sequence[_Placed]) -> bool:
        """AT_ONCE files of one folder and one outcome. If one of them is new, does nothing and returns False."""
        (folder, _), outcome = some[-1]
        sum_id = self._sum_id_of(task, outcome)
        key = (task.root_id, folder, *(name for (_, name), _ in some))
        before = dict(self.connection.execute(_LATEST_OF_SOME, key).fetchall())
        if sum(before.values()) < len(some):
            return False
        if before.keys() != {sum_id}:
            self.connection.execute(_MOVE_SOME, (sum_id, outcome.kind is OutcomeKind.FAILED, *key, sum_id))
            self._moved.subtract(before)
            self._moved[sum_id] += len(some)
        self._meet(task, outcome)
        return True

    def _meet(self, task: CountedTask, outcome: FileOutcome) -> None:
        month = outcome.month or ""
        before = self._met.get((task, month))
        self._met[task, month] = outcome.finished_at if outcome.kind in _IMPORTED else before

    def end_walk(self, task: CountedTask, months: Collection[str]) -> None:
        """The task went through the whole of these months; see :meth:`HistoryTransaction.end_walk`."""
        self.flush()
        for month in months:
            self.connection.execute(_WALKED, (task.root_id, month))
            unmet = self.connection.execute(_UNMET_FAILURES, (task.root_id, month, task.seq)).fetchall()
            for sum_id, *place in unmet:
                self.connection.execute(_FORGET, (task.root_id, *place))
                self._moved[sum_id] -= 1

    def flush(self) -> None:
        """Write sums and marks back; the last thing before the commit."""
        if not (self._moved or self._met):
            return
        self.connection.executemany(
            "UPDATE month_sums SET files = files + ? WHERE sum_id = ?",
            [(files, sum_id) for sum_id, files in self._moved.items() if files],
        )
        self.connection.executemany(
            _MARK,
            [
                (task.root_id, month, task.seq, optional_microseconds(imported_at))
                for (task, month), imported_at in self._met.items()
            ],
        )
        self.connection.executemany(_WALKED_NO_MORE, self._grown)
        self._moved.clear()
        self._met.clear()
        self._grown.clear()

    def _put(self, sum_id: int, key: tuple[SqlValue, ...], *, failed: bool) -> bool:
        """True if the file had not been met before."""
        before = self.connection.execute(_LATEST, key).fetchone()
        if before is None:
            self.connection.execute(_ADD, (sum_id, failed, *key))
        elif before[0] != sum_id:
            self.connection.execute(_MOVE, (sum_id, failed, *key))
            self._moved[before[0]] -= 1
        else:
            return False
        self._moved[sum_id] += 1
        return before is None

    def _sum_id_of(self, task: CountedTask, outcome: FileOutcome) -> int:
        group = (task.root_id, outcome.month or "", outcome.kind.value, outcome.code, outcome.held)
        known = self._sum_ids.get(group)
        if known is not None:
            return known
        found = self.connection.execute(_SUM, group).fetchone()
        sum_id = found[0] if found else self.connection.execute(_ADD_SUM, group).lastrowid
        assert sum_id is not None
        self._sum_ids[group] = int(sum_id)
        return int(sum_id)


def _alike(places: Sequence[Place], outcomes: Sequence[FileOutcome]) -> Iterator[list[_Placed]]:
    """Neighbours of one folder and one sum, at most AT_ONCE together."""
    for _, group in groupby(zip(places, outcomes, strict=True), key=_sum_key):
        alike = list(group)
        for begin in range(0, len(alike), AT_ONCE):
            yield alike[begin : begin + AT_ONCE]


def _sum_key(placed: _Placed) -> tuple[SqlValue, ...]:
    (folder, _), outcome = placed
    return folder, outcome.month, outcome.kind.value, outcome.code, outcome.held
