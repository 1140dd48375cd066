"""`SqliteStore`: the embedded default engine, one file in the state folder. Satisfies `registry.store.Store`.

A writer's thread and a reader's thread, each with its own connection (sqlite_writes.py, sqlite_reads.py); this class is
their asynchronous face. Belongs to the event loop it was opened in.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from registry.codec import kind_name
from registry.engines.sqlite_backup import backup_file
from registry.engines.sqlite_reads import Found, GetRecord, GetUnique, ListRecords, Read, ReadChanges, ReadDesk, ReadSequence
from registry.engines.sqlite_writes import Batch, MovedAside, PutAside, WriteDesk, Written
from registry.engines.worker import Answer, Worker
from registry.errors import StoreUnavailable
from registry.feed import Bell, Watch
from registry.store import Change, Page, Record, Stored, Write, check_batch, check_page, check_unique, is_text

R = TypeVar("R", bound=Record)

OnQuarantine = Callable[[str, str], None]
"""Told kind and key of each record that was put aside because its bytes do not decode."""

_LAST_SEQUENCE = 2**63 - 1


def _ignore(_kind: str, _key: str) -> None:
    pass


class SqliteStore:
    """Store engine in one SQLite file. Make it with `open`."""

    def __init__(self, path: Path, change_log: int, on_quarantine: OnQuarantine) -> None:
        self._path = path
        self._on_quarantine = on_quarantine
        self._bell = Bell()
        self._closed = False
        self._writer: Worker[Batch | PutAside] = Worker("portico-store-writer", WriteDesk(path, change_log), self._note)
        self._reader: Worker[Read] = Worker("portico-store-reader", ReadDesk(path, change_log))

    @classmethod
    async def open(cls, path: str | Path, *, change_log: int = 100_000, on_quarantine: OnQuarantine = _ignore) -> "SqliteStore":
        """Open the file, made with mode 0600 if there is none; its folder must exist. Keeps `change_log` changes for followers.

        A second process that opens the same file is refused. Raises StoreUnavailable, which says why.
        """
        store = cls(Path(path), change_log, on_quarantine)
        try:
            await store._writer.ask(Batch((), True))
            await store.sequence()
        except BaseException:
            await store.close()
            raise
        return store

    async def get(self, kind: type[R], key: str) -> Stored[R] | None:
        kind_name(kind)
        if not is_text(key):
            self._check_open()
            return None
        return cast(Stored[R] | None, await self._find(GetRecord(kind, key)))

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None:
        kind_name(kind)
        check_unique(kind, index)
        if not is_text(value):
            self._check_open()
            return None
        return cast(Stored[R] | None, await self._find(GetUnique(kind, index, value)))

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
        kind_name(kind)
        check_page(after, limit)
        if not is_text(value):
            self._check_open()
            return Page((), None)
        return cast(Page[R], await self._find(ListRecords(kind, index, value, after, limit, newest_first)))

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        check_batch(writes)
        self._check_open()
        written: Written = await self._writer.ask(Batch(tuple(writes), durable))
        return written.versions

    async def sequence(self) -> int:
        self._check_open()
        return cast(int, await self._reader.ask(ReadSequence()))

    async def changes(self, after: int, *, limit: int = 1000) -> Sequence[Change]:
        self._check_open()
        asked = max(-1, min(after, _LAST_SEQUENCE))
        return cast(Sequence[Change], await self._reader.ask(ReadChanges(asked, limit)))

    def watch(self, after: int) -> Watch:
        self._check_open()
        return Watch(after, self.changes, self._bell)

    async def close(self) -> None:
        self._closed = True
        self._bell.close()
        # The reader first: the last connection to close folds the WAL into the file, and that must be the writer's.
        await self._reader.stop()
        await self._writer.stop()

    async def backup(self, path: str | Path) -> None:
        """A consistent copy of the store as it is now, as one file of mode 0600, while work goes on. Replaces `path`.

        The copy appears under its name only when it is whole and on the disk. Raises StoreUnavailable.
        """
        self._check_open()
        await backup_file(self._path, path)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def _find(self, request: Read) -> Any:
        self._check_open()
        found: Found = await self._reader.ask(request)
        for unreadable in found.unreadable:
            await self._put_aside(unreadable)
        return found.value

    async def _put_aside(self, unreadable: PutAside) -> None:
        # A disk that is full now does not make the record readable: the answer stands, the next read tries again.
        with contextlib.suppress(StoreUnavailable):
            await self._writer.ask(unreadable)

    def _note(self, answer: Answer) -> None:
        """What the writer did, whoever still waits for it: followers must hear of a write whose caller was cancelled."""
        if isinstance(answer.value, Written | MovedAside):
            self._bell.ring(answer.value.newest)
        if isinstance(answer.value, MovedAside):
            self._on_quarantine(answer.value.kind, answer.value.key)
