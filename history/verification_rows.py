"""What a verification found, kept with its task: one row for the whole, one for each image."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from history.records import ReportRow
from history.row_mapping import FILES, report_row
from history.transactions import HistoryTransaction
from history.values import Row, converter, microseconds, moment, optional_microseconds, optional_moment, shown, storable
from models import Verification, VerifiedImage, VerifiedRow, VerifyResult, VerifyStatus

_DELETED_AT_ONCE = 5_000
_RESULTS = tuple(VerifyResult)
_SUBJECT = "(kind IN ('uploaded', 'duplicate') OR frames_uploaded > 0)"
"""Files of which something is, or should be, in XieHe."""
_TOTAL = f"""
    SELECT COALESCE(SUM(CASE WHEN kind = 'failed' THEN frames_uploaded ELSE MAX(frames_total, 1) END), 0)
    FROM files WHERE task_seq = (SELECT seq FROM tasks WHERE task_id = ?) AND {_SUBJECT}
"""
_BEGIN = """
    INSERT OR REPLACE INTO verifications (task_seq, status, started_at, images_total, ok, ok_present, missing, differs)
    VALUES (?, 'running', ?, ?, 0, 0, 0, 0)
"""
_FOLD = """
    UPDATE verifications SET ok = ok + ?, ok_present = ok_present + ?, missing = missing + ?, differs = differs + ?
    WHERE task_seq = ?
"""
_ROWS = """
    SELECT image.number, folder, name, patient_id, frame, image.upload_filename, image.image_file_id, result,
        image.detail
    FROM verified_images AS image JOIN files USING (task_seq, number)
    WHERE task_seq = (SELECT seq FROM tasks WHERE task_id = ?1) AND (image.number, frame) > (?2, ?3)
      AND (?4 IS NULL OR result = ?4)
    ORDER BY image.number, frame LIMIT ?5
"""


def begin(transaction: HistoryTransaction, task_id: str, total: int, started_at: datetime) -> None:
    """A new one, in place of what there was; its rows go by :func:`drop_some`."""
    transaction.connection.execute(_BEGIN, (transaction.seq_of(task_id), microseconds(started_at), total))


def drop_some(transaction: HistoryTransaction, task_id: str) -> bool:
    """Delete some rows of an earlier one; False if none is left."""
    which = f"SELECT rowid FROM verified_images WHERE task_seq = ? LIMIT {_DELETED_AT_ONCE}"
    delete = f"DELETE FROM verified_images WHERE rowid IN ({which})"
    return transaction.connection.execute(delete, (transaction.seq_of(task_id),)).rowcount > 0


def add(transaction: HistoryTransaction, task_id: str, images: Sequence[VerifiedImage]) -> None:
    """Some more images, and their sums."""
    seq = transaction.seq_of(task_id)
    transaction.connection.executemany(
        "INSERT INTO verified_images VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            storable(
                (seq, image.number, image.frame, image.upload_filename, image.image_file_id, image.result, image.detail)
            )
            for image in images
        ],
    )
    found = Counter(image.result for image in images)
    transaction.connection.execute(_FOLD, (*(found[result] for result in _RESULTS), seq))


def end(transaction: HistoryTransaction, task_id: str, ended: Verification) -> None:
    """Its status, time and detail. What was found stays."""
    transaction.connection.execute(
        "UPDATE verifications SET status = ?, completed_at = ?, detail = ? WHERE task_seq = ?",
        storable((ended.status, optional_microseconds(ended.completed_at), ended.detail, transaction.seq_of(task_id))),
    )


def verification(connection: sqlite3.Connection, task_id: str) -> Verification | None:
    """The last one of a task, or None. One that a stop of the service cut off has failed as ``interrupted``."""
    row = connection.execute(
        "SELECT status, started_at, completed_at, images_total, ok, ok_present, missing, differs, detail"
        " FROM verifications WHERE task_seq = (SELECT seq FROM tasks WHERE task_id = ?)",
        (task_id,),
    ).fetchone()
    return None if row is None else _verification_of(row)


@converter("tiIiiiiiT")
def _verification_of(row: Row) -> Verification:
    found = dict(zip(_RESULTS, row[4:8], strict=True))
    return Verification(VerifyStatus(row[0]), moment(row[1]), optional_moment(row[2]), row[3], found, row[8])


def verified_rows(
    connection: sqlite3.Connection, task_id: str, result: VerifyResult | None, after: tuple[int, int], limit: int
) -> list[VerifiedRow]:
    """A page of images beyond a (number, frame), in that order."""
    rows = connection.execute(_ROWS, (task_id, *after, result, limit))
    return [_verified_of(row) for row in rows]


@converter("ippTiTItt")
def _verified_of(row: Row) -> VerifiedRow:
    return VerifiedRow(
        source_path=shown(row[1], row[2]),
        patient_id=row[3],
        image=VerifiedImage(row[0], row[4], row[5], row[6], VerifyResult(row[7]), row[8]),
    )


def images_to_verify(connection: sqlite3.Connection, task_id: str) -> int:
    """How many images a task uploaded or called duplicate."""
    return int(connection.execute(_TOTAL, (task_id,)).fetchone()[0])


def files_to_verify(connection: sqlite3.Connection, task_id: str, after: int, limit: int) -> list[ReportRow]:
    """A page of the files that :func:`images_to_verify` counts, numbered above ``after``."""
    rows = connection.execute(
        f"SELECT {FILES.columns} FROM files WHERE task_seq = (SELECT seq FROM tasks WHERE task_id = ?) AND number > ?"
        f" AND {_SUBJECT} ORDER BY number LIMIT ?",
        (task_id, after, limit),
    )
    return [report_row(row) for row in rows]


def imported_into(connection: sqlite3.Connection, task_id: str) -> str | None:
    """BACKEND_URL of the XieHe that the task imported into; None if it is not known."""
    row = connection.execute(
        "SELECT backend_url FROM roots WHERE root_id = (SELECT root_id FROM tasks WHERE task_id = ?)", (task_id,)
    ).fetchone()
    return None if row is None else str(row[0])
