"""The SQLite file: its tables, its migrations, and how a connection to it is opened.

Tables are generic: a new record class is no migration. `records.entries` repeats a record's index entries as a msgpack
list of [name, value, unique], so that an update removes exactly what an earlier release wrote, whatever today's class says.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from registry.errors import StoreUnavailable

APPLICATION_ID = 0x506F7274
"""`PRAGMA application_id` of a Portico store ("Port"): another program's database is refused, not migrated."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('sequence', 0), ('forgotten', 0)",
        "CREATE TABLE records (kind TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, entries BLOB NOT NULL,"
        " body BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID",
        "CREATE TABLE index_entries (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, key TEXT NOT NULL,"
        " PRIMARY KEY (kind, name, value, key)) WITHOUT ROWID",
        "CREATE TABLE unique_entries (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, key TEXT NOT NULL,"
        " PRIMARY KEY (kind, name, value)) WITHOUT ROWID",
        "CREATE TABLE changes (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, deleted INTEGER NOT NULL)",
        "CREATE TABLE quarantine (kind TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, entries BLOB NOT NULL,"
        " body BLOB NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, key, version))",
    ),
)
"""Statements that lead from version n to n + 1 of the file. Never edited once released, only appended to."""

_JOURNAL_BYTES = 67_108_864  # A WAL that grew in a burst is cut back to this.
_BUSY_SECONDS = 5.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode without implicit transactions. Made in, and for, one thread.

    Raises sqlite3.Error, and StoreUnavailable where the file system cannot do WAL.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(f"{path}: this file system does not support SQLite's WAL")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def create_private(path: Path) -> None:
    """Make the file with mode 0600 where there is none: it holds token hashes and sealed secrets. Raises OSError.

    SQLite gives its journal files the mode of the database. An empty file is an empty database.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def sync_folder(path: Path) -> None:
    """Make the names in the folder of `path` survive a power cut. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version, one transaction per step, so that kill -9 leaves the one or the other.

    Raises StoreUnavailable for a file of another program or of a newer Portico, and sqlite3.Error.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (owner or version or tables):
        raise StoreUnavailable(f"{path} is a database of another program")
    if version > len(MIGRATIONS):
        raise StoreUnavailable(f"{path} was written by a newer Portico (file version {version}, known: {len(MIGRATIONS)})")
    for number in range(version, len(MIGRATIONS)):
        _migrate_once(connection, MIGRATIONS[number], number + 1)


def _migrate_once(connection: sqlite3.Connection, statements: tuple[str, ...], number: int) -> None:
    # Both pragmas are fields of the database's first page, so they are part of the transaction.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
