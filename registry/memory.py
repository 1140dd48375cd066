"""`MemoryStore`: the store as dicts. It is the executable specification: where an engine differs, the engine is wrong.

It keeps nothing over a restart. Used by tests, and wherever a gateway is wanted that forgets.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, cast

from registry.codec import encode, kind_name
from registry.errors import ChangesLost, Conflict, NotFound, StaleVersion, StoreUnavailable
from registry.feed import Bell, Watch
from registry.store import (
    Change,
    Delete,
    Page,
    Put,
    Record,
    Require,
    Stored,
    Write,
    check_batch,
    check_page,
    check_unique,
    unique_indexes,
)

R = TypeVar("R", bound=Record)

_Id = tuple[str, str]  # kind, key
_IndexId = tuple[str, str, str]  # kind, index name, value


@dataclass(frozen=True, slots=True)
class _Undo:
    """What stood at an id before a batch touched it."""

    id: _Id
    before: Stored[Any] | None


# Named here because inside the class `list` is the store's own method.
_Undos = list[_Undo]
_Changes = list[Change]


class MemoryStore:
    """Store engine in memory. Satisfies `registry.store.Store`; every method answers without yielding, `watch` aside."""

    def __init__(self, *, change_log: int = 100_000) -> None:
        """Keep the last `change_log` changes for followers."""
        self._records: dict[_Id, Stored[Any]] = {}
        self._indexes: dict[_IndexId, list[str]] = {}
        self._sequence = 0
        self._changes: deque[Change] = deque(maxlen=change_log)
        self._bell = Bell()
        self._closed = False

    async def get(self, kind: type[R], key: str) -> Stored[R] | None:
        self._check_open()
        return self._records.get((kind_name(kind), key))

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None:
        self._check_open()
        check_unique(kind, index)
        keys = self._indexes.get((kind_name(kind), index, value), ())
        return self._records[(kind_name(kind), keys[0])] if keys else None

    async def list(
        self,
        kind: type[R],
        index: str,
        value: str,
        *,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> Page[R]:
        self._check_open()
        check_page(after, limit)
        keys = self._indexes.get((kind_name(kind), index, value), [])
        found = _slice(keys, after, limit + 1, newest_first)
        items = tuple(cast(Stored[R], self._records[(kind_name(kind), key)]) for key in found[:limit])
        return Page(items, found[limit - 1] if len(found) > limit else None)

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        self._check_open()
        check_batch(writes)
        for write in writes:
            if isinstance(write, Put):
                encode(write.record)  # Nothing is kept here that the other engines could not write.
        undo: _Undos = []
        changes: _Changes = []
        began_at = self._sequence
        try:
            versions = tuple(self._write(write, undo, changes) for write in writes)
        except BaseException:
            for step in reversed(undo):
                self._replace(step.id, step.before)
            self._sequence = began_at
            raise
        self._changes.extend(changes)
        if changes:
            self._bell.ring(self._sequence)
        return versions

    async def sequence(self) -> int:
        self._check_open()
        return self._sequence

    async def changes(self, after: int, *, limit: int = 1000) -> Sequence[Change]:
        self._check_open()
        forgotten = self._sequence - len(self._changes)
        if not forgotten <= after <= self._sequence:
            raise ChangesLost(f"the change feed holds {forgotten + 1} to {self._sequence}; asked for what follows {after}")
        return tuple(islice(self._changes, after - forgotten, after - forgotten + limit))

    def watch(self, after: int) -> Watch:
        self._check_open()
        return Watch(after, self.changes, self._bell)

    async def close(self) -> None:
        self._closed = True
        self._bell.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _write(self, write: Write, undo: _Undos, changes: _Changes) -> int:
        kind = type(write.record) if isinstance(write, Put) else write.kind
        key = write.record.key if isinstance(write, Put) else write.key
        id_ = (kind_name(kind), key)
        before = self._records.get(id_)
        version = before.version if before else 0
        if write.expect is not None and write.expect != version:
            raise StaleVersion(kind.__name__, key, write.expect, version)
        if isinstance(write, Require):
            if write.expect is None and before is None:
                raise NotFound(f"there is no {kind.__name__} {key!r}")
            return version
        if isinstance(write, Delete) and before is None:
            return 0
        if isinstance(write, Put):
            self._check_conflicts(write.record)
        self._sequence += 1
        undo.append(_Undo(id_, before))
        self._replace(id_, Stored(write.record, self._sequence) if isinstance(write, Put) else None)
        changes.append(Change(self._sequence, kind.__name__, key, isinstance(write, Delete)))
        return self._sequence

    def _check_conflicts(self, record: Record) -> None:
        kind = type(record)
        values = record.indexes()
        for index in sorted(unique_indexes(kind) & values.keys()):
            for holder in self._indexes.get((kind.__name__, index, values[index]), ()):
                if holder != record.key:
                    raise Conflict(kind.__name__, index, values[index], holder)

    def _replace(self, id_: _Id, after: Stored[Any] | None) -> None:
        """Put `after` (None: nothing) in the place of whatever stands at `id_`, index entries included."""
        kind, key = id_
        before = self._records.pop(id_, None)
        if before is not None:
            for name, value in before.record.indexes().items():
                keys = self._indexes[(kind, name, value)]
                del keys[bisect_left(keys, key)]
                if not keys:
                    del self._indexes[(kind, name, value)]
        if after is not None:
            self._records[id_] = after
            for name, value in after.record.indexes().items():
                keys = self._indexes.setdefault((kind, name, value), [])
                keys.insert(bisect_left(keys, key), key)


def _slice(keys: list[str], after: str | None, count: int, newest_first: bool) -> list[str]:
    """At most `count` of the sorted `keys`, beginning behind `after`, in the asked direction."""
    if newest_first:
        end = len(keys) if after is None else bisect_left(keys, after)
        return keys[max(0, end - count) : end][::-1]
    begin = 0 if after is None else bisect_right(keys, after)
    return keys[begin : begin + count]
