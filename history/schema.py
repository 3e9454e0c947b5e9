"""The history's tables, as numbered migrations by ``PRAGMA user_version``.

Columns named ``folder``, ``name`` and ``source_path`` hold TEXT, or a BLOB of the name's bytes if it is not UTF-8
(see :mod:`history.values`). Times are microseconds since the epoch, UTC. A new column is a further
line of _MIGRATIONS, and a field of the dataclass that the table holds (:mod:`history.row_mapping`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from errors import HistoryError
from history.month_backfill import fill_month_board

_FIRST = (
    """
    CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        task_id TEXT NOT NULL UNIQUE,
        source_path NOT NULL,
        options TEXT NOT NULL,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        completed_at INTEGER,
        result TEXT,
        result_detail TEXT,
        pause_reason TEXT,
        parent_id TEXT,
        retried_by TEXT,
        warnings TEXT NOT NULL,
        last_file INTEGER NOT NULL DEFAULT 0,
        total_files_scanned INTEGER NOT NULL DEFAULT 0,
        total_patients_found INTEGER NOT NULL DEFAULT 0,
        new_patients_created INTEGER NOT NULL DEFAULT 0,
        existing_patients_skipped INTEGER NOT NULL DEFAULT 0,
        new_images_uploaded INTEGER NOT NULL DEFAULT 0,
        duplicate_images_skipped INTEGER NOT NULL DEFAULT 0,
        failed_files INTEGER NOT NULL DEFAULT 0,
        held_files INTEGER NOT NULL DEFAULT 0,
        no_pixel_files INTEGER NOT NULL DEFAULT 0,
        ignored_files INTEGER NOT NULL DEFAULT 0,
        frames_uploaded INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE skipped_folders (
        task_seq INTEGER NOT NULL,
        path NOT NULL,
        reason TEXT NOT NULL,
        hint TEXT NOT NULL,
        PRIMARY KEY (task_seq, path)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE patients (
        task_seq INTEGER NOT NULL,
        patient_key TEXT NOT NULL,
        created INTEGER,
        PRIMARY KEY (task_seq, patient_key)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE patient_intents (
        task_seq INTEGER NOT NULL,
        patient_key TEXT NOT NULL,
        PRIMARY KEY (task_seq, patient_key)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE files (
        task_seq INTEGER NOT NULL,
        number INTEGER NOT NULL,
        folder NOT NULL,
        name NOT NULL,
        month TEXT,
        kind TEXT NOT NULL,
        code TEXT NOT NULL,
        detail TEXT NOT NULL,
        finished_at INTEGER NOT NULL,
        patient_id TEXT,
        sop_instance_uid TEXT,
        transfer_syntax TEXT,
        modality TEXT,
        charset_source TEXT,
        exam_type TEXT,
        exam_rule TEXT,
        upload_filename TEXT,
        jpg_path TEXT,
        image_file_id INTEGER,
        window_center REAL,
        window_width REAL,
        window_source TEXT,
        frames_total INTEGER NOT NULL,
        frames_uploaded INTEGER NOT NULL,
        held INTEGER NOT NULL,
        warnings TEXT,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        duration_seconds REAL NOT NULL,
        stage_seconds TEXT,
        PRIMARY KEY (task_seq, number),
        UNIQUE (task_seq, folder, name)
    )
    """,
    "CREATE INDEX failures ON files (task_seq, number) WHERE kind = 'failed'",
    """
    CREATE TABLE ignored_files (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        task_seq INTEGER NOT NULL,
        folder NOT NULL,
        name NOT NULL,
        reason TEXT NOT NULL,
        UNIQUE (task_seq, folder, name)
    )
    """,
    "CREATE INDEX ignored_in_order ON ignored_files (task_seq, number)",
    """
    CREATE TABLE tallies (
        task_seq INTEGER NOT NULL,
        month TEXT NOT NULL,
        kind TEXT NOT NULL,
        code TEXT NOT NULL,
        files INTEGER NOT NULL,
        PRIMARY KEY (task_seq, month, kind, code)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE stage_times (
        task_seq INTEGER NOT NULL,
        stage TEXT NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (task_seq, stage)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE images (
        backend_url TEXT NOT NULL,
        patient_id TEXT NOT NULL,
        name_key TEXT NOT NULL,
        row_id INTEGER NOT NULL,
        stored_name TEXT NOT NULL,
        instance TEXT NOT NULL,
        sop_instance_uid TEXT,
        frame_number INTEGER NOT NULL,
        source_path NOT NULL,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        uploaded_by_us INTEGER NOT NULL,
        task_id TEXT NOT NULL,
        image_file_id INTEGER,
        jpg_size INTEGER,
        uploaded_at INTEGER NOT NULL,
        PRIMARY KEY (backend_url, patient_id, name_key)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX images_by_instance ON images (backend_url, sop_instance_uid)
        WHERE sop_instance_uid IS NOT NULL
    """,
    """
    CREATE INDEX images_without_id ON images (task_id, patient_id, name_key) WHERE image_file_id IS NULL
    """,
    """
    CREATE TABLE seen_sources (
        backend_url TEXT NOT NULL,
        folder NOT NULL,
        name NOT NULL,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        patient_dir TEXT NOT NULL,
        patient_id TEXT NOT NULL,
        header_patient_id TEXT,
        instance TEXT NOT NULL,
        sop_instance_uid TEXT,
        name_keys TEXT NOT NULL,
        PRIMARY KEY (backend_url, folder, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE intents (
        intent_id TEXT PRIMARY KEY,
        task_seq INTEGER NOT NULL,
        shown_path TEXT NOT NULL,
        image TEXT NOT NULL,
        known_ids TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        session TEXT
    )
    """,
    "CREATE INDEX intents_by_file ON intents (task_seq, shown_path)",
)

_BYTES_AND_PAGES = (
    "ALTER TABLE tasks ADD COLUMN bytes_uploaded INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE files ADD COLUMN bytes_uploaded INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX files_in_groups ON files (task_seq, month, kind, code, number)",
)
"""A page of ``files`` by month, outcome or code is merged from the groups that ``tallies`` names."""

_MONTH_BOARD = (
    """
    CREATE TABLE roots (
        root_id INTEGER PRIMARY KEY,
        backend_url TEXT NOT NULL,
        path NOT NULL,
        UNIQUE (backend_url, path)
    )
    """,
    "ALTER TABLE tasks ADD COLUMN root_id INTEGER",
    """
    CREATE TABLE month_sums (
        sum_id INTEGER PRIMARY KEY,
        root_id INTEGER NOT NULL,
        month TEXT NOT NULL,
        kind TEXT NOT NULL,
        code TEXT NOT NULL,
        held INTEGER NOT NULL,
        files INTEGER NOT NULL,
        UNIQUE (root_id, month, kind, code, held)
    )
    """,
    """
    CREATE TABLE latest_outcomes (
        root_id INTEGER NOT NULL,
        folder NOT NULL,
        name NOT NULL,
        sum_id INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        PRIMARY KEY (root_id, folder, name)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX latest_failures ON latest_outcomes (sum_id) WHERE failed",
    """
    CREATE TABLE month_marks (
        root_id INTEGER NOT NULL,
        month TEXT NOT NULL,
        last_task INTEGER NOT NULL,
        last_imported_at INTEGER,
        walked_whole INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (root_id, month)
    ) WITHOUT ROWID
    """,
    fill_month_board,
)

_VERIFICATIONS = (
    """
    CREATE TABLE verifications (
        task_seq INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        completed_at INTEGER,
        images_total INTEGER NOT NULL,
        ok INTEGER NOT NULL,
        ok_present INTEGER NOT NULL,
        missing INTEGER NOT NULL,
        differs INTEGER NOT NULL,
        detail TEXT
    )
    """,
    """
    CREATE TABLE verified_images (
        task_seq INTEGER NOT NULL,
        number INTEGER NOT NULL,
        frame INTEGER NOT NULL,
        upload_filename TEXT,
        image_file_id INTEGER,
        result TEXT NOT NULL,
        detail TEXT NOT NULL,
        PRIMARY KEY (task_seq, number, frame)
    )
    """,
)

_Step = str | Callable[[sqlite3.Connection], None]
_MIGRATIONS: tuple[tuple[_Step, ...], ...] = (
    _FIRST,
    _BYTES_AND_PAGES,
    _MONTH_BOARD,
    _VERIFICATIONS,
    ("ALTER TABLE tasks ADD COLUMN whole_months INTEGER NOT NULL DEFAULT 0",),
    ("ALTER TABLE tasks ADD COLUMN active_seconds REAL",),
    ("ALTER TABLE images ADD COLUMN storage_etag TEXT",),
)
"""Released steps are never changed; new ones are appended."""


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the database to the newest version, one transaction per step.

    Raises:
        HistoryError: it was written by a newer version of this service, or its version is none.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < 0:
        raise HistoryError(f"历史数据库的版本号无效（{version}）：{path}。请从备份恢复，或把它移走后重新启动。")
    if version > len(_MIGRATIONS):
        raise HistoryError(f"历史数据库由更新版本的服务写入（版本 {version}）：{path}。请用新版服务。")
    for number in range(version, len(_MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        for step in _MIGRATIONS[number]:
            connection.execute(step) if isinstance(step, str) else step(connection)
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
