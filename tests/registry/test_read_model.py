"""The read model: never older than the applied feed, one load for many callers, bounded against sweeps."""

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from registry.errors import StoreUnavailable
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import MISSING, Missing, ReadModel
from registry.records import Device, DeviceKind, Site
from registry.store import Change, Delete, Put, Record, Store, Stored
from tests.registry.awaiting import wait


class SlowStore(MemoryStore):
    """Counts reads and answers them only when let: with what was true when the read began, as a slow disk does."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, ...]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def _answer(self, id_: tuple[str, ...], stored: Any) -> Any:
        self.reads.append(id_)
        await self.open.wait()
        if self.broken:
            raise StoreUnavailable("the disk is gone")
        return stored

    async def get(self, kind: type[Any], key: str) -> Any:
        return await self._answer((kind.__name__, key), await super().get(kind, key))

    async def get_unique(self, kind: type[Any], index: str, value: str) -> Any:
        return await self._answer((kind.__name__, index, value), await super().get_unique(kind, index, value))


def device(serial: int, account: str = "") -> Device:
    mac = MacAddress(f"{serial:012X}")
    return Device(mac, f"id-{serial}", "s", DeviceKind.GUARD_PHONE, "R48", "Desk", account or f"a-{serial}", b"", b"", b"")


async def put(store: Store, record: Record) -> int:
    (version,) = await store.batch([Put(record)])
    return version


async def feed(store: Store, model: ReadModel) -> None:
    for change in await store.changes(model.applied):
        model.apply(change)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_peek_knows_nothing_then_what_get_loaded() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await put(store, Site("a", "A"))
    assert model.peek(Site, "a") is MISSING
    assert model.peek(Site, "gone") is MISSING
    assert await model.get(Site, "a") == Stored(Site("a", "A"), 1)
    assert await model.get(Site, "gone") is None
    assert model.peek(Site, "a") == Stored(Site("a", "A"), 1)
    assert model.peek(Site, "gone") is None
    await model.get(Site, "a")
    await model.get(Site, "gone")
    assert store.reads == [("Site", "a"), ("Site", "gone")]


async def test_a_change_ends_what_it_names_and_nothing_else() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await store.batch([Put(Site("a", "A")), Put(Site("b", "B"))])
    await feed(store, model)
    for key in ("a", "b", "gone", "other"):
        await model.get(Site, key)
    await store.batch([Put(Site("a", "second")), Put(Site("gone", "Gone"))])
    assert model.peek(Site, "a") == Stored(Site("a", "A"), 1)
    await feed(store, model)
    assert model.peek(Site, "a") is MISSING
    assert model.peek(Site, "gone") is MISSING
    assert model.peek(Site, "b") == Stored(Site("b", "B"), 2)
    assert model.peek(Site, "other") is None
    assert await model.get(Site, "a") == Stored(Site("a", "second"), 3)
    await store.batch([Delete(Site, "a")])
    await feed(store, model)
    assert await model.get(Site, "a") is None


async def test_a_change_that_the_loaded_record_includes_already_does_not_end_it() -> None:
    store = SlowStore()
    model = ReadModel(store)
    for name in ("first", "second"):
        await put(store, Site("a", name))
    await store.batch([Delete(Site, "a")])
    await put(store, Site("a", "third"))
    assert await model.get(Site, "a") == Stored(Site("a", "third"), 4)
    await feed(store, model)
    assert model.peek(Site, "a") == Stored(Site("a", "third"), 4)
    assert model.applied == 4


async def test_misses_at_once_share_one_load() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await put(store, device(1))
    store.open.clear()
    asked = [asyncio.ensure_future(model.get(Device, device(1).key)) for _ in range(50)]
    asked += [asyncio.ensure_future(model.get_unique(Device, "account", "a-1")) for _ in range(50)]
    await turns()
    store.open.set()
    assert await asyncio.gather(*asked) == [Stored(device(1), 1)] * 100
    assert store.reads == [("Device", device(1).key), ("Device", "account", "a-1")]


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_change_during_a_load_leaves_no_older_entry(deleted: bool) -> None:
    store = SlowStore()
    model = ReadModel(store)
    await put(store, device(1))
    await feed(store, model)
    store.open.clear()
    early = [
        asyncio.ensure_future(model.get(Device, device(1).key)),
        asyncio.ensure_future(model.get_unique(Device, "account", "a-1")),
    ]
    await turns()
    await store.batch([Delete(Device, device(1).key) if deleted else Put(device(1, "changed"))])
    await feed(store, model)
    # Whoever asks after the change must not be given the load that began before it.
    late = asyncio.ensure_future(model.get(Device, device(1).key))
    late_unique = asyncio.ensure_future(model.get_unique(Device, "account", "a-1"))
    await turns()
    store.open.set()
    assert [await each for each in early] == [Stored(device(1), 1)] * 2
    now = None if deleted else Stored(device(1, "changed"), 2)
    assert await late == now
    assert await late_unique is None
    assert model.peek(Device, device(1).key) == now
    assert model.peek_unique(Device, "account", "a-1") is None


async def test_an_absence_loaded_before_a_creation_is_not_kept() -> None:
    store = SlowStore()
    model = ReadModel(store)
    store.open.clear()
    early = [
        asyncio.ensure_future(model.get(Device, device(1).key)),
        asyncio.ensure_future(model.get_unique(Device, "account", "a-1")),
    ]
    await turns()
    await put(store, device(1))
    await feed(store, model)
    store.open.set()
    assert [await each for each in early] == [None, None]
    assert model.peek(Device, device(1).key) is MISSING
    assert model.peek_unique(Device, "account", "a-1") is MISSING
    assert await model.get_unique(Device, "account", "a-1") == Stored(device(1), 1)


async def test_a_clear_during_a_load_leaves_nothing() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await put(store, Site("a", "A"))
    await model.get(Site, "gone")
    store.open.clear()
    early = asyncio.ensure_future(model.get(Site, "a"))
    await turns()
    model.clear(applied=7)
    store.open.set()
    assert await early == Stored(Site("a", "A"), 1)
    assert model.peek(Site, "a") is MISSING
    assert model.peek(Site, "gone") is MISSING
    assert (len(model), model.applied) == (0, 7)


async def test_unique_values_follow_their_record() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await store.batch([Put(device(1)), Put(device(2))])
    assert await model.get_unique(Device, "account", "a-1") == Stored(device(1), 1)
    assert model.peek_unique(Device, "account", "a-1") == Stored(device(1), 1)
    assert model.peek(Device, device(1).key) == Stored(device(1), 1)
    # The value moves to another record; the old holder is loaded again under another one.
    await store.batch([Put(device(1, "other")), Put(device(2, "a-1"))])
    await feed(store, model)
    assert model.peek_unique(Device, "account", "a-1") is MISSING
    assert await model.get(Device, device(1).key) == Stored(device(1, "other"), 3)
    assert model.peek_unique(Device, "account", "a-1") is MISSING
    assert await model.get_unique(Device, "account", "a-1") == Stored(device(2, "a-1"), 4)


async def test_a_unique_value_whose_record_was_deleted_is_known_to_be_free() -> None:
    store = MemoryStore()
    model = ReadModel(store)
    await put(store, device(1))
    await feed(store, model)
    assert await model.get_unique(Device, "account", "a-1") == Stored(device(1), 1)
    await store.batch([Delete(Device, device(1).key)])
    await feed(store, model)
    assert await model.get_unique(Device, "account", "a-1") is None
    assert model.peek_unique(Device, "account", "a-1") is None


async def test_an_absent_unique_value_ends_with_any_write_of_its_kind_only() -> None:
    store = SlowStore()
    model = ReadModel(store)
    assert await model.get_unique(Device, "account", "a-1") is None
    assert model.peek_unique(Device, "account", "a-1") is None
    await put(store, Site("a", "A"))
    await feed(store, model)
    assert model.peek_unique(Device, "account", "a-1") is None
    await put(store, device(2, "a-1"))
    await feed(store, model)
    assert model.peek_unique(Device, "account", "a-1") is MISSING
    with pytest.raises(ValueError):
        model.peek_unique(Device, "site", "s")
    with pytest.raises(ValueError):
        await model.get_unique(Device, "site", "s")


async def test_a_sweep_over_unknown_keys_evicts_nothing_known_and_is_bounded() -> None:
    store = SlowStore()
    model = ReadModel(store, capacity=10, negatives=20)
    for serial in range(10):
        await put(store, device(serial))
        await model.get_unique(Device, "account", f"a-{serial}")
    for serial in range(1000):
        assert await model.get(Device, f"unknown-{serial}") is None
        assert await model.get_unique(Device, "account", f"unknown-{serial}") is None
    assert [model.peek(Device, device(serial).key) for serial in range(10)] == [Stored(device(n), n + 1) for n in range(10)]
    assert [model.peek_unique(Device, "account", f"a-{n}") for n in range(10)] == [Stored(device(n), n + 1) for n in range(10)]
    assert len(model) == 10 + 10 + 20 + 20


async def test_the_least_recently_used_goes_first() -> None:
    store = SlowStore()
    model = ReadModel(store, capacity=3)
    for serial in range(4):
        await put(store, Site(str(serial), "S"))
    for key in ("0", "1", "2"):
        await model.get(Site, key)
    assert model.peek(Site, "0") is not MISSING
    await model.get(Site, "3")
    assert [model.peek(Site, key) is MISSING for key in ("0", "1", "2", "3")] == [False, True, False, False]


async def test_a_failed_load_is_told_to_all_who_wait_and_remembered_by_nobody() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await put(store, device(1))
    store.broken = True
    asked = [model.get(Device, device(1).key), model.get(Device, device(1).key), model.get_unique(Device, "account", "a-1")]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert model.peek(Device, device(1).key) is MISSING
    store.broken = False
    assert await model.get(Device, device(1).key) == Stored(device(1), 1)
    assert await model.get_unique(Device, "account", "a-1") == Stored(device(1), 1)


async def test_a_cancelled_caller_takes_no_load_from_the_others() -> None:
    store = SlowStore()
    model = ReadModel(store)
    await put(store, Site("a", "A"))
    store.open.clear()
    first, second = (asyncio.ensure_future(model.get(Site, "a")) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    store.open.set()
    assert await second == Stored(Site("a", "A"), 1)
    assert first.cancelled()
    assert len(store.reads) == 1


async def test_a_load_that_fails_after_all_its_callers_went_is_no_unhandled_error(unhandled_errors: list[Any]) -> None:
    store = SlowStore()
    model = ReadModel(store)
    store.open.clear()
    only = asyncio.ensure_future(model.get(Site, "a"))
    await turns()
    only.cancel()
    store.broken = True
    store.open.set()
    await turns()
    assert unhandled_errors == []
    assert len(store.reads) == 1


async def test_subscribers_hear_of_each_change_after_it_was_applied() -> None:
    store = SlowStore()
    model = ReadModel(store)
    seen: list[Any] = []
    await put(store, Site("a", "A"))
    await model.get(Site, "a")

    def changed(change: Change) -> None:
        seen.append((change.sequence, change.key, model.peek(Site, "a")))

    unsubscribe = model.subscribe(changed, lambda: seen.append("cleared"))
    await put(store, Site("a", "second"))
    model.apply(Change(2, "Site", "a", False))
    model.clear()
    unsubscribe()
    unsubscribe()
    model.apply(Change(3, "Site", "a", False))
    model.clear()
    assert seen == [(2, "a", MISSING), "cleared"]


async def test_a_subscriber_that_fails_keeps_no_other_from_hearing() -> None:
    model = ReadModel(MemoryStore())
    seen: list[int] = []

    def fail(_change: Change) -> None:
        raise LookupError("mine")

    model.subscribe(fail)
    model.subscribe(lambda change: seen.append(change.sequence))
    with pytest.raises(ExceptionGroup) as caught:
        model.apply(Change(1, "Site", "a", False))
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert seen == [1]
    assert model.applied == 1


async def test_caught_up_waits_for_ones_own_write() -> None:
    store = SlowStore()
    model = ReadModel(store)
    assert await model.get(Site, "a") is None
    version = await put(store, Site("a", "A"))
    waiting = [asyncio.ensure_future(model.caught_up(each)) for each in (version, version, version + 1)]
    await turns()
    assert not any(each.done() for each in waiting)
    await feed(store, model)
    await asyncio.gather(*waiting[:2])
    assert await model.get(Site, "a") == Stored(Site("a", "A"), 1)
    assert not waiting[2].done()
    waiting[2].cancel()
    await turns()
    model.clear(applied=version + 1)
    await model.caught_up(version + 1)
    await model.caught_up(0)


KEYS = st.sampled_from([device(serial).key for serial in range(3)])
ACCOUNTS = st.sampled_from(["x", "y", "z"])


class NeverOlderThanTheFeed(RuleBasedStateMachine):
    """Random writes, loads at any speed and a feed that lags: once the feed is applied, memory says what the store says."""

    def __init__(self) -> None:
        super().__init__()
        self.store = SlowStore()
        self.model = ReadModel(self.store, capacity=2, negatives=2)
        self.loads: list[asyncio.Task[Any]] = []

    @rule(serial=st.integers(0, 2), account=ACCOUNTS)
    def write(self, serial: int, account: str) -> None:
        wait(self.attempt(Put(device(serial, account))))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        wait(self.attempt(Delete(Device, key)))

    async def attempt(self, write: Put | Delete) -> None:
        await asyncio.gather(self.store.batch([write]), return_exceptions=True)

    @rule(key=KEYS)
    def begin_load(self, key: str) -> None:
        wait(self.begin(self.model.get(Device, key)))

    @rule(account=ACCOUNTS)
    def begin_unique_load(self, account: str) -> None:
        wait(self.begin(self.model.get_unique(Device, "account", account)))

    async def begin(self, load: Any) -> None:
        self.loads.append(asyncio.ensure_future(load))
        await turns(2)

    @rule()
    def stop_answers(self) -> None:
        self.store.open.clear()

    @rule()
    def let_answers_through(self) -> None:
        self.store.open.set()
        wait(self.settle())

    async def settle(self) -> None:
        await asyncio.gather(*self.loads)
        self.loads.clear()

    @rule()
    def apply_one(self) -> None:
        for change in wait(self.store.changes(self.model.applied, limit=1)):
            self.model.apply(change)

    @rule()
    def apply_all(self) -> None:
        wait(feed(self.store, self.model))

    @invariant()
    def memory_is_true_once_the_feed_is_applied(self) -> None:
        wait(self.check())

    async def check(self) -> None:
        if self.model.applied != await self.store.sequence():
            return
        for serial in range(3):
            seen = self.model.peek(Device, device(serial).key)
            assert isinstance(seen, Missing) or seen == await MemoryStore.get(self.store, Device, device(serial).key)
        for account in ("x", "y", "z"):
            found = self.model.peek_unique(Device, "account", account)
            assert isinstance(found, Missing) or found == await MemoryStore.get_unique(self.store, Device, "account", account)

    def teardown(self) -> None:
        self.let_answers_through()


TestNeverOlderThanTheFeed = NeverOlderThanTheFeed.TestCase
TestNeverOlderThanTheFeed.settings = settings(stateful_step_count=25)
