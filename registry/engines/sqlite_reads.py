"""The reading side of the SQLite engine: its own connection in its own thread, so that no read waits behind an fsync.

In WAL mode each query sees everything committed before it began, so a caller always reads its own acknowledged writes.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.codec import decode, kind_name
from registry.engines.sqlite_schema import connect
from registry.engines.sqlite_writes import PutAside
from registry.engines.worker import Answer
from registry.errors import ChangesLost, StoreUnavailable, UnreadableRecord
from registry.store import Change, Page, Stored, unique_indexes


@dataclass(frozen=True, slots=True)
class GetRecord:
    """`Store.get`. Answered with Found(Stored | None)."""

    kind: type[Any]
    key: str


@dataclass(frozen=True, slots=True)
class GetUnique:
    """`Store.get_unique`. Answered with Found(Stored | None)."""

    kind: type[Any]
    index: str
    value: str


@dataclass(frozen=True, slots=True)
class ListRecords:
    """`Store.list`. Answered with Found(Page)."""

    kind: type[Any]
    index: str
    value: str
    after: str | None
    limit: int
    newest_first: bool


@dataclass(frozen=True, slots=True)
class ReadChanges:
    """`Store.changes`. Answered with a tuple of Change."""

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class ReadSequence:
    """`Store.sequence`. Answered with a number."""


Read = GetRecord | GetUnique | ListRecords | ReadChanges | ReadSequence


@dataclass(frozen=True, slots=True)
class Found:
    """What was read, and the records that did not decode on the way, to be put aside."""

    value: Any
    unreadable: tuple[PutAside, ...] = ()


class ReadDesk:
    """Owns the reading connection. The file exists and is migrated: the writer opened it first."""

    def __init__(self, path: Path, change_log: int) -> None:
        self._path = path
        self._change_log = change_log
        self._connection: sqlite3.Connection | None = None

    def serve(self, requests: Sequence[Read]) -> Sequence[Answer]:
        return [self._answer(request) for request in requests]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _answer(self, request: Read) -> Answer:
        try:
            return Answer(self._read(self._connected(), request))
        except (ChangesLost, StoreUnavailable) as error:
            return Answer(error=error)
        except sqlite3.Error as error:
            self.close()  # The next request connects afresh.
            return Answer(error=StoreUnavailable(f"{self._path}: {error}"))

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path)
            self._connection.execute("PRAGMA query_only = ON")
        return self._connection

    def _read(self, connection: sqlite3.Connection, request: Read) -> Any:
        match request:
            case GetRecord():
                return _get(connection, request)
            case GetUnique():
                return _get_unique(connection, request)
            case ListRecords():
                return _list(connection, request)
            case ReadChanges():
                return self._changes(connection, request)
            case ReadSequence():
                return connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()[0]

    def _changes(self, connection: sqlite3.Connection, request: ReadChanges) -> tuple[Change, ...]:
        connection.execute("BEGIN")  # Bounds and rows from one snapshot.
        try:
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            # The rows are trimmed in steps; the bound itself is exact.
            forgotten = max(meta["forgotten"], meta["sequence"] - self._change_log)
            if not forgotten <= request.after <= meta["sequence"]:
                raise ChangesLost(
                    f"the change feed holds {forgotten + 1} to {meta['sequence']}; asked for what follows {request.after}"
                )
            rows = connection.execute(
                "SELECT sequence, kind, key, deleted FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (request.after, request.limit),
            ).fetchall()
        finally:
            connection.execute("COMMIT")
        return tuple([Change(sequence, kind, key, bool(deleted)) for sequence, kind, key, deleted in rows])


_SELECT_RECORD = "SELECT key, version, body FROM records WHERE kind = ? AND key = ?"
_SELECT_UNIQUE = (
    "SELECT r.key, r.version, r.body FROM unique_entries AS e JOIN records AS r ON r.kind = e.kind AND r.key = e.key"
    " WHERE e.kind = ? AND e.name = ? AND e.value = ?"
)


def _select_page(table: str, newest_first: bool, cursor: bool) -> str:
    compare, direction = ("<", "DESC") if newest_first else (">", "ASC")
    behind = f"AND e.key {compare} ?" if cursor else ""
    # CROSS JOIN fixes the order of the loops: entries in key order first, then the record of each.
    return (
        f"SELECT r.key, r.version, r.body FROM {table} AS e"  # noqa: S608 - fixed words
        " CROSS JOIN records AS r ON r.kind = e.kind AND r.key = e.key"
        f" WHERE e.kind = ? AND e.name = ? AND e.value = ? {behind} ORDER BY e.key {direction} LIMIT ?"
    )


_SELECT_PAGE = {
    (unique, newest_first, cursor): _select_page("unique_entries" if unique else "index_entries", newest_first, cursor)
    for unique in (False, True)
    for newest_first in (False, True)
    for cursor in (False, True)
}


def _get(connection: sqlite3.Connection, request: GetRecord) -> Found:
    row = connection.execute(_SELECT_RECORD, (kind_name(request.kind), request.key)).fetchone()
    return _one(request.kind, row)


def _get_unique(connection: sqlite3.Connection, request: GetUnique) -> Found:
    row = connection.execute(_SELECT_UNIQUE, (kind_name(request.kind), request.index, request.value)).fetchone()
    return _one(request.kind, row)


def _one(kind: type[Any], row: tuple[str, int, bytes] | None) -> Found:
    if row is None:
        return Found(None)
    read = _decode_row(kind, row)
    return Found(None, (read,)) if isinstance(read, PutAside) else Found(read)


def _list(connection: sqlite3.Connection, request: ListRecords) -> Found:
    statement = _SELECT_PAGE[request.index in unique_indexes(request.kind), request.newest_first, request.after is not None]
    behind = () if request.after is None else (request.after,)
    place = (kind_name(request.kind), request.index, request.value, *behind, request.limit + 1)
    rows = connection.execute(statement, place).fetchall()
    read = [_decode_row(request.kind, row) for row in rows[: request.limit]]
    items = tuple([item for item in read if isinstance(item, Stored)])
    unreadable = tuple([item for item in read if isinstance(item, PutAside)])
    return Found(Page(items, rows[request.limit - 1][0] if len(rows) > request.limit else None), unreadable)


def _decode_row(kind: type[Any], row: tuple[str, int, bytes]) -> Stored[Any] | PutAside:
    key, version, body = row
    try:
        return Stored(decode(kind, body), version)
    except UnreadableRecord as error:
        return PutAside(kind_name(kind), key, version, str(error))
