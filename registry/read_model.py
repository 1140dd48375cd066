"""`ReadModel`: what hot paths read instead of the store. Bounded, in memory, kept true by the store's change feed.

SIP asks for credentials, bindings and ring plans per packet, autop for devices per request: `peek` answers from memory
without awaiting. What is not there is loaded once with `get`, however many ask for it at the same time.

Kept true: whoever composes the node reads `Store.watch` and passes every change to `apply`, which forgets what it names;
on ChangesLost it calls `clear` and watches afresh. A change during a load makes that load's result uncacheable, for it
may be older than the change. So an entry is never older than the newest applied change of its key.

Bounds: records are evicted least recently used beyond `capacity`. "There is no such record" is remembered too, in a
place of its own of `negatives` entries, so that a sweep over unknown MACs or user names evicts only other unknown ones.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar, cast

from registry.store import Change, Record, Store, Stored, check_unique

DEFAULT_CAPACITY = 200_000
"""Records kept; also unique index values kept."""
DEFAULT_NEGATIVES = 50_000
"""Absences kept: of keys, and again of unique index values."""

R = TypeVar("R", bound=Record)

_Id = tuple[str, ...]  # kind, key; or kind, index, value


class Missing(Enum):
    """The answer of `peek` for what is not in memory; the store may or may not have it."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Who is told of changes: `changed` after each applied one, `cleared` when any record may have changed."""

    changed: Callable[[Change], None]
    cleared: Callable[[], None]


class _Recent:
    """A dict of bounded size that forgets what was used longest ago."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[_Id, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def use(self, id_: _Id) -> Any:
        """The entry, now the most recently used one, or None."""
        entry = self._entries.get(id_)
        if entry is not None:
            self._entries.move_to_end(id_)
        return entry

    def look(self, id_: _Id) -> Any:
        """The entry or None, its age unchanged."""
        return self._entries.get(id_)

    def put(self, id_: _Id, entry: Any) -> None:
        self._entries[id_] = entry
        self._entries.move_to_end(id_)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def drop(self, id_: _Id) -> None:
        self._entries.pop(id_, None)

    def drop_kind(self, kind: str) -> None:
        for id_ in [id_ for id_ in self._entries if id_[0] == kind]:
            del self._entries[id_]

    def clear(self) -> None:
        self._entries.clear()


class ReadModel:
    """Cache of `Store.get` and `Store.get_unique`. Belongs to one event loop; touches nothing but the store."""

    def __init__(self, store: Store, *, capacity: int = DEFAULT_CAPACITY, negatives: int = DEFAULT_NEGATIVES) -> None:
        self._store = store
        self._known = _Recent(capacity)
        self._absent = _Recent(negatives)
        # A unique index value leads to a key, not to a record: that it still fits is seen from the record itself.
        self._holders = _Recent(capacity)
        # Absent index values are kept per kind: a Change does not say which values it brought, so any write of a kind
        # ends all of that kind's.
        self._unheld: dict[str, _Recent] = {}
        self._negatives = negatives
        self._loads: dict[_Id, asyncio.Task[Any]] = {}
        self._subscribers: list[Subscriber] = []
        self._applied = 0
        self._reached: dict[asyncio.Future[None], int] = {}

    @property
    def applied(self) -> int:
        """Sequence number of the newest change that was applied."""
        return self._applied

    def __len__(self) -> int:
        """Entries of all kinds held now."""
        return len(self._known) + len(self._absent) + len(self._holders) + sum(map(len, self._unheld.values()))

    def peek(self, kind: type[R], key: str) -> Stored[R] | Missing | None:
        """The record, None for "there is none", or MISSING if memory does not know. Never waits."""
        id_ = (kind.__name__, key)
        stored = self._known.use(id_)
        if stored is not None:
            return cast(Stored[R], stored)
        return None if self._absent.use(id_) else MISSING

    def peek_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | Missing | None:
        """As `peek`, by a unique index. Raises ValueError where `index` is none."""
        check_unique(kind, index)
        id_ = (kind.__name__, index, value)
        key = self._holders.use(id_)
        if key is None:
            unheld = self._unheld.get(kind.__name__)
            return None if unheld is not None and unheld.use(id_) else MISSING
        stored = self._known.use((kind.__name__, key))
        if stored is None:
            return MISSING
        if stored.record.indexes().get(index) != value:
            self._holders.drop(id_)
            return MISSING
        return cast(Stored[R], stored)

    async def get(self, kind: type[R], key: str) -> Stored[R] | None:
        """The record or None, from memory or else from the store. Raises StoreUnavailable."""
        seen = self.peek(kind, key)
        if not isinstance(seen, Missing):
            return seen
        id_ = (kind.__name__, key)
        return cast(Stored[R] | None, await self._share(id_, lambda: self._load(id_, kind, key)))

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None:
        """As `get`, by a unique index. Raises ValueError where `index` is none, and StoreUnavailable."""
        seen = self.peek_unique(kind, index, value)
        if not isinstance(seen, Missing):
            return seen
        id_ = (kind.__name__, index, value)
        return cast(Stored[R] | None, await self._share(id_, lambda: self._load_unique(id_, kind, index, value)))

    def fetch_ahead(self, *wanted: tuple[type[Record], str]) -> None:
        """Begin to load what is not in memory of these kinds and keys, all at once: who then asks for one after the other waits
        for the store once. A failure comes out at whoever asks."""
        for kind, key in wanted:
            id_ = (kind.__name__, key)
            if isinstance(self.peek(kind, key), Missing):
                self._begin(id_, partial(self._load, id_, kind, key))

    def fetch_ahead_unique(self, kind: type[Record], index: str, value: str) -> None:
        """As `fetch_ahead`, by a unique index. Raises ValueError where `index` is none."""
        if isinstance(self.peek_unique(kind, index, value), Missing):
            id_ = (kind.__name__, index, value)
            self._begin(id_, partial(self._load_unique, id_, kind, index, value))

    def apply(self, change: Change) -> None:
        """Forget what `change` made untrue, then tell the subscribers.

        A record that was loaded at this change's version or later stays. Every subscriber is told, also where one
        raises; their errors come out as an ExceptionGroup.
        """
        id_ = (change.kind, change.key)
        stored = self._known.look(id_)
        if stored is not None and stored.version < change.sequence:
            self._known.drop(id_)
        self._absent.drop(id_)
        if not change.deleted:
            self._unheld.pop(change.kind, None)
        self._disown_loads(change)
        self._applied = max(self._applied, change.sequence)
        self._wake()
        self._tell(lambda subscriber: subscriber.changed(change))

    def clear(self, applied: int = 0) -> None:
        """Forget everything: the feed was lost. `applied` is the sequence number from which it is followed now."""
        self._known.clear()
        self._absent.clear()
        self._holders.clear()
        self._unheld.clear()
        self._loads.clear()
        self._applied = max(self._applied, applied)
        self._wake()
        self._tell(lambda subscriber: subscriber.cleared())

    def subscribe(self, changed: Callable[[Change], None], cleared: Callable[[], None] = lambda: None) -> Callable[[], None]:
        """Be told of every change after it was applied, and of `clear`. Returns what ends the subscription."""
        subscriber = Subscriber(changed, cleared)
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            self._subscribers[:] = [other for other in self._subscribers if other is not subscriber]

        return unsubscribe

    async def caught_up(self, sequence: int) -> None:
        """Wait until the change with this sequence number was applied: then reads see one's own write.

        Bounded by the caller (asyncio.timeout): where nobody feeds this model, it waits for ever.
        """
        while self._applied < sequence:
            reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._reached[reached] = sequence
            try:
                await reached
            finally:
                self._reached.pop(reached, None)

    def _wake(self) -> None:
        for reached, sequence in self._reached.items():
            if sequence <= self._applied and not reached.done():
                reached.set_result(None)

    def _tell(self, tell: Callable[[Subscriber], None]) -> None:
        errors: list[Exception] = []
        for subscriber in tuple(self._subscribers):
            try:
                tell(subscriber)
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("subscribers of the read model failed", errors)

    def _disown_loads(self, change: Change) -> None:
        """Loads under way may answer with what was before `change`: who asks from now on does not get their result."""
        self._loads.pop((change.kind, change.key), None)
        for id_ in [id_ for id_ in self._loads if len(id_) == 3 and id_[0] == change.kind]:
            del self._loads[id_]

    async def _share(self, id_: _Id, load: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        # Shielded: one caller's cancellation must not end the load for the others.
        return await asyncio.shield(self._begin(id_, load))

    def _begin(self, id_: _Id, load: Callable[[], Coroutine[Any, Any, Any]]) -> "asyncio.Task[Any]":
        task = self._loads.get(id_)
        if task is None:
            task = asyncio.ensure_future(load())
            task.add_done_callback(_note_error)
            self._loads[id_] = task
        return task

    async def _load(self, id_: _Id, kind: type[R], key: str) -> Stored[R] | None:
        try:
            stored = await self._store.get(kind, key)
        except BaseException:
            self._ends_as_owner(id_)
            raise
        if self._ends_as_owner(id_):
            self._remember(id_, stored)
        return stored

    async def _load_unique(self, id_: _Id, kind: type[R], index: str, value: str) -> Stored[R] | None:
        try:
            stored = await self._store.get_unique(kind, index, value)
        except BaseException:
            self._ends_as_owner(id_)
            raise
        if self._ends_as_owner(id_):
            if stored is None:
                self._holders.drop(id_)  # else peek_unique would go on asking for the record that held the value once
                self._unheld.setdefault(kind.__name__, _Recent(self._negatives)).put(id_, True)
            else:
                self._holders.put(id_, stored.record.key)
                self._remember((kind.__name__, stored.record.key), stored)
        return stored

    def _ends_as_owner(self, id_: _Id) -> bool:
        """End the running load of `id_`. False if a change disowned it meanwhile."""
        if self._loads.get(id_) is not asyncio.current_task():
            return False
        del self._loads[id_]
        return True

    def _remember(self, id_: _Id, stored: Stored[Any] | None) -> None:
        if stored is None:
            self._absent.put(id_, True)
            return
        known = self._known.look(id_)
        if known is None or known.version < stored.version:
            self._known.put(id_, stored)
        self._absent.drop(id_)


def _note_error(task: "asyncio.Task[Any]") -> None:
    """Count a failed load as seen where every caller was cancelled: whoever asks next gets the store's answer afresh."""
    if not task.cancelled():
        task.exception()
