"""The writing side of the SQLite engine: batches in, versions out, many batches per transaction. Runs in the writer's thread.

Group commit: batches that wait together share one transaction and one fsync, each under its own savepoint, so that a
batch that is refused undoes itself only. Nothing is answered before the commit.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from registry.codec import encode, kind_name
from registry.engines.sqlite_schema import connect, create_private, migrate, sync_folder
from registry.engines.worker import Answer
from registry.errors import Conflict, NotFound, StaleVersion, StoreUnavailable
from registry.store import Change, Put, Record, Require, Write, unique_indexes

_TRIM_EVERY = 1000  # Changes beyond the log's bound are deleted in steps of this many.
_Entry = tuple[str, str, bool]  # index name, value, unique


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of `Store.batch`. Answered with Written."""

    writes: tuple[Write, ...]
    durable: bool


@dataclass(frozen=True, slots=True)
class PutAside:
    """Move a record whose bytes do not decode into quarantine. Answered with MovedAside, or None where it changed meanwhile."""

    kind: str
    key: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Written:
    """The version per write, and the sequence number the feed reaches with them."""

    versions: tuple[int, ...]
    newest: int


@dataclass(frozen=True, slots=True)
class MovedAside:
    """A record is in quarantine now, which the feed tells as a delete with this sequence number."""

    kind: str
    key: str
    newest: int


@dataclass(frozen=True, slots=True)
class _Row:
    version: int
    entries: frozenset[_Entry]


_ABSENT = _Row(0, frozenset())


class WriteDesk:
    """Owns the writing connection and the lock that keeps a second process from writing the same file."""

    def __init__(self, path: Path, change_log: int) -> None:
        self._path = path
        self._change_log = change_log
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._sequence = 0
        self._forgotten = 0
        self._synchronous = ""
        self._changes: list[Change] = []

    def serve(self, requests: Sequence[Batch | PutAside]) -> Sequence[Answer]:
        """Do the requests in order in one transaction. Where the disk refuses it, each gets another try by itself."""
        try:
            return self._transact(requests)
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            if len(requests) > 1:
                return [answer for request in requests for answer in self.serve((request,))]
            return [Answer(error=_unavailable(self._path, error))]
        except StoreUnavailable as error:
            self._disconnect()
            return [Answer(error=StoreUnavailable(*error.args)) for _ in requests]  # One each: a traceback belongs to one task.

    def close(self) -> None:
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._take_lock()
            create_private(self._path)
            connection = connect(self._path)
            self._connection = connection
            migrate(connection, self._path)
            sync_folder(self._path)
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            self._sequence, self._forgotten = meta["sequence"], meta["forgotten"]
            self._synchronous = ""
        return self._connection

    def _disconnect(self) -> None:
        """Drop a connection that failed; the next request opens it afresh and so finds out whether the disk has healed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        # Held until `close`, over every reconnect. A file of its own, for closing any descriptor of the database itself
        # would drop SQLite's own locks on it.
        lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreUnavailable(f"{self._path} is in use by another process") from None
        self._lock = lock

    def _transact(self, requests: Sequence[Batch | PutAside]) -> Sequence[Answer]:
        connection = self._connected()
        self._set_synchronous(connection, any(isinstance(request, PutAside) or request.durable for request in requests))
        began_at = self._sequence
        self._changes = []
        connection.execute("BEGIN IMMEDIATE")
        answers = [self._in_savepoint(connection, request) for request in requests]
        if self._sequence != began_at:
            self._write_feed(connection)
        connection.execute("COMMIT")
        return answers

    def _set_synchronous(self, connection: sqlite3.Connection, durable: bool) -> None:
        """FULL syncs the WAL at the commit (power cut); NORMAL only hands it to the kernel, which outlives kill -9."""
        wanted = "FULL" if durable else "NORMAL"
        if wanted != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {wanted}")
            self._synchronous = wanted

    def _in_savepoint(self, connection: sqlite3.Connection, request: Batch | PutAside) -> Answer:
        began_at, known = self._sequence, len(self._changes)
        connection.execute("SAVEPOINT request")
        try:
            value = self._put_aside(connection, request) if isinstance(request, PutAside) else self._batch(connection, request)
        except sqlite3.Error:
            raise  # The disk's, not the batch's: the whole transaction is gone.
        except Exception as error:
            connection.execute("ROLLBACK TO request")
            connection.execute("RELEASE request")
            self._sequence = began_at
            del self._changes[known:]
            return Answer(error=error)
        connection.execute("RELEASE request")
        return Answer(value)

    def _write_feed(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            "INSERT INTO changes VALUES (?, ?, ?, ?)",
            [(change.sequence, change.kind, change.key, change.deleted) for change in self._changes],
        )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'sequence'", (self._sequence,))
        forgotten = self._sequence - self._change_log
        if forgotten - self._forgotten >= _TRIM_EVERY:
            connection.execute("DELETE FROM changes WHERE sequence <= ?", (forgotten,))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'forgotten'", (forgotten,))
            self._forgotten = forgotten

    def _batch(self, connection: sqlite3.Connection, batch: Batch) -> Written:
        versions = tuple([self._write(connection, write) for write in batch.writes])
        return Written(versions, self._sequence)

    def _write(self, connection: sqlite3.Connection, write: Write) -> int:
        kind = kind_name(type(write.record) if isinstance(write, Put) else write.kind)
        key = write.record.key if isinstance(write, Put) else write.key
        row = _row(connection, kind, key)
        if write.expect is not None and write.expect != row.version:
            raise StaleVersion(kind, key, write.expect, row.version)
        if isinstance(write, Require):
            if write.expect is None and row is _ABSENT:
                raise NotFound(f"there is no {kind} {key!r}")
            return row.version
        if isinstance(write, Put):
            return self._put(connection, kind, write.record, row)
        return 0 if row is _ABSENT else self._delete(connection, kind, key, row)

    def _put(self, connection: sqlite3.Connection, kind: str, record: Record, row: _Row) -> int:
        key = record.key
        body = encode(record)
        unique = unique_indexes(type(record))
        entries = frozenset((name, value, name in unique) for name, value in record.indexes().items())
        added = sorted(entries - row.entries)
        for name, value, is_unique in added:
            if is_unique:
                _check_free(connection, kind, name, value, key)
        _remove_entries(connection, kind, key, row.entries - entries)
        _add_entries(connection, kind, key, added)
        version = self._next(kind, key, deleted=False)
        connection.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE"
            " SET version = excluded.version, entries = excluded.entries, body = excluded.body",
            (kind, key, version, msgpack.packb(sorted(entries)), body),
        )
        return version

    def _delete(self, connection: sqlite3.Connection, kind: str, key: str, row: _Row) -> int:
        _remove_entries(connection, kind, key, row.entries)
        connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
        return self._next(kind, key, deleted=True)

    def _put_aside(self, connection: sqlite3.Connection, request: PutAside) -> MovedAside | None:
        row = _row(connection, request.kind, request.key)
        if row.version != request.version or row is _ABSENT:
            return None
        connection.execute(
            "INSERT INTO quarantine SELECT kind, key, version, entries, body, ? FROM records WHERE kind = ? AND key = ?",
            (request.reason, request.kind, request.key),
        )
        return MovedAside(request.kind, request.key, self._delete(connection, request.kind, request.key, row))

    def _next(self, kind: str, key: str, *, deleted: bool) -> int:
        self._sequence += 1
        self._changes.append(Change(self._sequence, kind, key, deleted))
        return self._sequence


def _row(connection: sqlite3.Connection, kind: str, key: str) -> _Row:
    found = connection.execute("SELECT version, entries FROM records WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    if found is None:
        return _ABSENT
    return _Row(found[0], frozenset((name, value, unique) for name, value, unique in msgpack.unpackb(found[1])))


def _check_free(connection: sqlite3.Connection, kind: str, name: str, value: str, key: str) -> None:
    holder = connection.execute(
        "SELECT key FROM unique_entries WHERE kind = ? AND name = ? AND value = ?", (kind, name, value)
    ).fetchone()
    if holder is not None and holder[0] != key:
        raise Conflict(kind, name, value, holder[0])


def _remove_entries(connection: sqlite3.Connection, kind: str, key: str, entries: frozenset[_Entry]) -> None:
    for name, value, unique in entries:
        table = "unique_entries" if unique else "index_entries"
        connection.execute(
            f"DELETE FROM {table} WHERE kind = ? AND name = ? AND value = ? AND key = ?",  # noqa: S608 - two fixed names
            (kind, name, value, key),
        )


def _add_entries(connection: sqlite3.Connection, kind: str, key: str, entries: Sequence[_Entry]) -> None:
    for name, value, unique in entries:
        table = "unique_entries" if unique else "index_entries"
        connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", (kind, name, value, key))  # noqa: S608 - two fixed names


def _unavailable(path: Path, error: Exception) -> StoreUnavailable:
    cause: Any = error.strerror if isinstance(error, OSError) else error
    return StoreUnavailable(f"{path}: {cause}")
