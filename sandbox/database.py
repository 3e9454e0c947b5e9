"""SQLite: the sandbox's one database, opened by its one process."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS patients (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    patient_id TEXT NOT NULL,
    patient_id_folded TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    gender TEXT NOT NULL,
    birth_date TEXT,
    phone TEXT,
    phone_folded TEXT,
    extra TEXT NOT NULL DEFAULT '{}',
    deleted INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file_uuid TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    file_size INTEGER NOT NULL,
    status TEXT NOT NULL,
    patient_row INTEGER REFERENCES patients (id),
    description TEXT,
    uploaded_by INTEGER NOT NULL,
    stored_path TEXT NOT NULL,
    storage_etag TEXT,
    deleted INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    uploaded_at INTEGER
);
CREATE INDEX IF NOT EXISTS images_of_patient ON images (patient_row, created_at);
CREATE TABLE IF NOT EXISTS upload_sessions (
    upload_id TEXT PRIMARY KEY,
    session_id TEXT UNIQUE,
    image_id INTEGER,
    file_uuid TEXT NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    expected_size INTEGER NOT NULL,
    file_hash TEXT,
    patient_row INTEGER,
    description TEXT,
    uploaded_by INTEGER NOT NULL,
    object_key TEXT NOT NULL,
    status TEXT NOT NULL,
    object_etag TEXT,
    lease_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS session_of_image ON upload_sessions (image_id);
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT NOT NULL,
    part_number INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (upload_id, part_number)
) WITHOUT ROWID;
"""

_DATA_TABLES = ("parts", "upload_sessions", "images", "patients")


class Database:
    """A thin wrapper; each module writes its own SQL."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A sandbox must be fast, and its data need not survive a power cut.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)

    def run(self, sql: str, *values: Any) -> int:
        """Execute a write; the new row's id."""
        return self._connection.execute(sql, values).lastrowid or 0

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self._connection.execute(sql, values).fetchall()

    def count(self, sql: str, *values: Any) -> int:
        return int(self._connection.execute(sql, values).fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Never awaited inside: the one connection is shared by all requests."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def remembered(self, key: str, default: str) -> str:
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return default if row is None else str(row["value"])

    def remember(self, key: str, value: str) -> None:
        self.run("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)

    def secret(self) -> bytes:
        """The signing key; kept, so that tokens and links survive a restart."""
        key = self.remembered("secret", "")
        if not key:
            key = secrets.token_hex(32)
            self.remember("secret", key)
        return key.encode()

    def wipe(self) -> None:
        """Empty, with row ids starting at 1 again."""
        with self.transaction():
            for table in _DATA_TABLES:
                self.run(f"DELETE FROM {table}")
            self.run("DELETE FROM sqlite_sequence")

    def close(self) -> None:
        self._connection.close()
