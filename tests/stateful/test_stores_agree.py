"""Random histories run on the memory store (the specification) and on SQLite side by side: every answer must be equal.

The SQLite file is closed and opened again in the middle of histories, and read through a page of every list at the end
of each step that writes.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry.engines.sqlite import SqliteStore
from registry.errors import RegistryError
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import Department, Device, DeviceKind, User
from registry.store import Delete, Put, Record, Require, Store, Watching, Write
from tests.registry.awaiting import wait

CHANGE_LOG = 12
FEW = ("a", "b", "ä", "")
MACS = tuple(MacAddress(f"0C11050000{number:02X}") for number in range(4))

names = st.sampled_from(FEW)
expects = st.one_of(st.none(), st.just(0), st.integers(0, 30))
departments = st.builds(Department, id=names, site=names, name=names, floors=st.lists(names, max_size=2).map(tuple))
users = st.builds(User, id=names, site=st.just("s"), first_name=names, last_name=names, number=names, person_id=names)
devices = st.builds(
    Device,
    mac=st.sampled_from(MACS),
    id=names,
    site=names,
    kind=st.sampled_from(DeviceKind),
    model=st.just("X933"),
    name=names,
    account=names,
    sealed_token=st.binary(max_size=4),
    sealed_channel_key=st.just(b""),
    sealed_web_password=st.just(b""),
    owner=names,
    relays=st.just(()),
)
records: st.SearchStrategy[Record] = st.one_of(departments, users, devices)
ids: st.SearchStrategy[tuple[type[Any], str]] = st.one_of(
    st.tuples(st.sampled_from((Department, User)), names),
    st.tuples(st.just(Device), st.sampled_from([mac.text for mac in MACS])),
)
writes: st.SearchStrategy[Write] = st.one_of(
    st.builds(Put, records, expects),
    st.builds(Put, records),
    st.builds(lambda id_, expect: Delete(id_[0], id_[1], expect), ids, expects),
    st.builds(lambda id_, expect: Require(id_[0], id_[1], expect), ids, expects),
)
LISTS: tuple[tuple[type[Any], str, Sequence[str]], ...] = (
    (Department, "site", FEW),
    (User, "site", ("s",)),
    (User, "site-number", [f"s/{name}" for name in FEW]),
    (Device, "all", ("",)),
    (Device, "site", FEW),
    (Device, "account", FEW),
    (Device, "owner", FEW),
)
UNIQUES: tuple[tuple[type[Any], str, Sequence[str]], ...] = (
    (User, "site-number", [f"s/{name}" for name in FEW]),
    (User, "site-person-id", [f"s/{name}" for name in FEW]),
    (Device, "account", FEW),
    (Device, "id", FEW),
)


def answer(work: Any) -> Any:
    """What a call returned, or the error with its words: engines agree on both."""
    try:
        return wait(work)
    except (RegistryError, ValueError) as error:
        return type(error), str(error)


class StoresAgree(RuleBasedStateMachine):
    """One memory store and one SQLite file under the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "portico.db"
        self.memory: Store = MemoryStore(change_log=CHANGE_LOG)
        self.sqlite: Store = self.opened()
        self.watches: tuple[Watching, Watching] | None = None

    def opened(self) -> Store:
        return wait(SqliteStore.open(self.path, change_log=CHANGE_LOG))

    def teardown(self) -> None:
        wait(self.sqlite.close())
        wait(self.memory.close())
        self.folder.cleanup()

    def both(self, call: Any) -> Any:
        """Ask both engines; assert that they agree, and return the answer."""
        expected = answer(call(self.memory))
        assert answer(call(self.sqlite)) == expected
        return expected

    @initialize(first=st.lists(records, max_size=4))
    def begin(self, first: list[Record]) -> None:
        self.both(lambda store: store.batch([Put(record) for record in first]))

    @rule(batch=st.lists(writes, max_size=6), durable=st.booleans())
    def write(self, batch: list[Write], durable: bool) -> None:
        self.both(lambda store: store.batch(batch, durable=durable))

    @rule(record=records)
    def update_at_the_present_version(self, record: Record) -> None:
        stored = self.both(lambda store: store.get(type(record), record.key))
        self.both(lambda store: store.batch([Put(record, expect=stored.version if stored else 0)]))

    @rule(id_=ids)
    def get(self, id_: tuple[type[Any], str]) -> None:
        self.both(lambda store: store.get(*id_))

    @rule(
        which=st.sampled_from(LISTS),
        place=st.integers(0, 3),
        after=st.none() | names | st.sampled_from([mac.text for mac in MACS]),
        limit=st.integers(1, 5),
        newest_first=st.booleans(),
    )
    def list_a_page(
        self, which: tuple[type[Any], str, Sequence[str]], place: int, after: str | None, limit: int, newest_first: bool
    ) -> None:
        kind, index, values = which
        value = values[place % len(values)]
        self.both(lambda store: store.list(kind, index, value, after=after, limit=limit, newest_first=newest_first))

    @rule(after=st.integers(-1, 60), limit=st.integers(1, 20))
    def read_changes(self, after: int, limit: int) -> None:
        self.both(lambda store: as_tuple(store, after, limit))

    @rule()
    def reopen(self) -> None:
        wait(self.sqlite.close())
        self.sqlite = self.opened()
        self.watches = None

    @precondition(lambda self: self.watches is None)
    @rule()
    def begin_to_watch(self) -> None:
        sequence = self.both(lambda store: store.sequence())
        self.watches = self.memory.watch(sequence), self.sqlite.watch(sequence)

    @precondition(lambda self: self.watches is not None)
    @rule(record=departments)
    def watch_one(self, record: Department) -> None:
        assert self.watches is not None
        self.both(lambda store: store.batch([Put(record)]))
        expected, got = answer(anext(self.watches[0])), answer(anext(self.watches[1]))
        assert got == expected
        if isinstance(expected, tuple):
            self.watches = None  # It fell behind the bounded log; begin afresh.

    @invariant()
    def every_record_and_index_is_equal(self) -> None:
        self.both(lambda store: whole(store))


async def as_tuple(store: Store, after: int, limit: int) -> tuple[Any, ...]:
    return tuple(await store.changes(after, limit=limit))


async def whole(store: Store) -> list[Any]:
    found: list[Any] = [await store.sequence()]
    for kind, index, values in LISTS:
        found += [await store.list(kind, index, value) for value in values]
    for kind, index, values in UNIQUES:
        found += [await store.get_unique(kind, index, value) for value in values]
    return found


TestStoresAgree = StoresAgree.TestCase
# Half the profile's examples: each is a history of up to 25 steps.
TestStoresAgree.settings = settings(max_examples=max(1, settings().max_examples // 2), stateful_step_count=25)
