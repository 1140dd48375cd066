"""`Store`: the one narrow interface to what a gateway knows. Engines: memory (the specification), SQLite, later Redis.

Rules every engine keeps; `tests/contract/test_store.py` holds them to it:

- A record's **version** is the store's sequence number of the write that made it. Sequence numbers only rise, and every
  write, delete included, has its own. Version 0 means "no such record".
- `batch` is atomic: all its writes happen, in order, or none does and an error says why. Their sequence numbers are
  consecutive: nobody else's write comes in between.
- `batch` returns only once the writes would survive kill -9 of this process (and, where `durable`, a power cut).
- A unique index value is held by at most one record of a kind.
- The change feed holds every write in sequence order. It is bounded: a follower that fell behind gets `ChangesLost`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

MAX_PAGE = 500
"""The most records one `list` call returns."""
MAX_BATCH = 1000
"""The most writes one `batch` call takes."""
MAX_KEY = 512
"""The longest key or index value, in characters."""


class Record(Protocol):
    """What the store needs of a record: a frozen dataclass with a key and the index values that find it.

    Indexes named in a class variable `UNIQUE: frozenset[str]` are unique among records of that class.
    """

    @property
    def key(self) -> str: ...

    def indexes(self) -> Mapping[str, str]: ...


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A record as the store holds it, with the version to pass back as `expect`."""

    record: R
    version: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write `record`. With `expect` the record must be at that version (0: must not exist); None writes whatever is there."""

    record: Record
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record. Without `expect`, removing what is not there is no error."""

    kind: type[Any]
    key: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Require:
    """A condition of a batch, not a write: the record must be at version `expect` (None: it must exist)."""

    kind: type[Any]
    key: str
    expect: int | None = None


Write = Put | Delete | Require


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Part of a list. `next` is the cursor of the following page, None at the end."""

    items: tuple[Stored[R], ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One write as the feed tells it: the record's class name, its key, and whether it is gone now."""

    sequence: int
    kind: str
    key: str
    deleted: bool


class Watching(Protocol):
    """A follower of the change feed: iterate it, and close it to stop (another task may close it while one waits)."""

    def __aiter__(self) -> AsyncIterator[Change]: ...

    async def __anext__(self) -> Change: ...

    async def aclose(self) -> None: ...


class Store(Protocol):
    """Async because an engine may be remote. Every method may raise StoreUnavailable."""

    async def get(self, kind: type[R], key: str) -> Stored[R] | None:
        """The record of class `kind` with this key, or None."""
        ...

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None:
        """The one record whose unique `index` has `value`, or None. `index` must be in kind.UNIQUE (ValueError)."""
        ...

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
        """Records whose `index` has `value`, in key order (reversed with `newest_first`), beginning behind cursor `after`.

        A cursor stays good while records come and go: it names a key, not an offset. 1 <= limit <= MAX_PAGE (ValueError); `after`
        may come from outside: any text is in order, one that could be no key is a ValueError.
        """
        ...

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        """Do all writes in order, or none. Returns a version per write: the new one for Put, the delete's own sequence
        number for Delete (0 where there was nothing to remove), the present version for Require.

        Raises StaleVersion (an `expect` did not hold), NotFound (Require without expect on nothing), Conflict (unique index),
        ValueError (more than MAX_BATCH writes, or a record no store can hold: see codec.encode and check_text). The first
        write that fails names the error; a write sees those before it in the batch. `durable=False` marks soft state: it
        may skip the wait for the disk, not the order or the atomicity.
        """
        ...

    async def sequence(self) -> int:
        """The sequence number of the newest write, 0 in an empty store."""
        ...

    async def changes(self, after: int, *, limit: int = 1000) -> Sequence[Change]:
        """Changes with a sequence number above `after`, oldest first. Raises ChangesLost if some of them are forgotten.

        An `after` above the newest write also raises it: then the store is another one, or an older copy put back.
        """
        ...

    def watch(self, after: int) -> Watching:
        """Follow the feed for ever from above `after`; waits when there is nothing new. Raises ChangesLost as `changes` does.

        Close the iterator (`aclose`) to stop. Several watchers may run at once.
        """
        ...

    async def close(self) -> None:
        """Finish what was acknowledged and let go of files and connections. Later calls raise StoreUnavailable."""
        ...


def unique_indexes(kind: type[Any]) -> frozenset[str]:
    """The names of the unique indexes of a record class."""
    found: frozenset[str] = getattr(kind, "UNIQUE", frozenset())
    return found


def check_unique(kind: type[Any], index: str) -> None:
    """Raise ValueError unless `index` is one of `kind`'s unique indexes."""
    if index not in unique_indexes(kind):
        raise ValueError(f"{kind.__name__} has no unique index {index!r}")


def is_text(text: str) -> bool:
    """Whether `text` can be a key or an index value: at most MAX_KEY characters that UTF-8 can spell (no lone surrogate)."""
    if len(text) > MAX_KEY:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(text: str) -> None:
    """Raise ValueError unless `is_text`. The message does not repeat the text, which may be hostile and end in a log."""
    if not is_text(text):
        raise ValueError(f"a key or index value has at most {MAX_KEY} characters, all of which UTF-8 can spell")


def check_page(after: str | None, limit: int) -> None:
    """Raise ValueError unless a page of `limit` records may be asked for, and `after` can be a cursor."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"a page holds 1 to {MAX_PAGE} records, not {limit}")
    if after is not None:
        check_text(after)


def check_batch(writes: Sequence[Write]) -> None:
    """Raise ValueError for a batch no engine takes: too many writes, or a key or index value that cannot be one."""
    if len(writes) > MAX_BATCH:
        raise ValueError(f"a batch has at most {MAX_BATCH} writes, not {len(writes)}")
    for write in writes:
        if isinstance(write, Put):
            check_text(write.record.key)
            for value in write.record.indexes().values():
                check_text(value)
        else:
            check_text(write.key)
