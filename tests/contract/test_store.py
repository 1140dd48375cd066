"""What every store engine keeps (registry/store.py), held against each of them."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from registry.engines.sqlite import SqliteStore
from registry.errors import ChangesLost, Conflict, NotFound, RegistryError, StaleVersion, StoreUnavailable
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import Account, AccountOwner, Department, Device, DeviceKind, LibraryMac, Site
from registry.store import MAX_BATCH, MAX_KEY, MAX_PAGE, Change, Delete, Put, Require, Store, Stored, Write
from tests.registry.awaiting import wait

ENGINES = ("memory", "sqlite")
SURROGATE = "\ud800"
SMALL_LOG = 5


async def make(engine: str, folder: Path, change_log: int) -> Store:
    if engine == "memory":
        return MemoryStore(change_log=change_log)
    return await SqliteStore.open(folder / "portico.db", change_log=change_log)


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = wait(make(request.param, tmp_path, 100_000))
    yield made
    wait(made.close())


@pytest.fixture(params=ENGINES)
def forgetful(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that keeps SMALL_LOG changes."""
    made = wait(make(request.param, tmp_path, SMALL_LOG))
    yield made
    wait(made.close())


def site(id_: str, name: str = "") -> Site:
    return Site(id_, name or id_)


def device(serial: int, *, account: str = "", id_: str = "", site: str = "s") -> Device:
    mac = MacAddress(f"0C1105{serial:06X}")
    return Device(
        mac,
        id_ or f"id-{serial}",
        site,
        DeviceKind.INDOOR_MONITOR,
        "X933",
        "Monitor",
        account or f"account-{serial}",
        b"\x00token",
        b"key",
        b"password",
    )


async def everything(store: Store) -> tuple[Any, ...]:
    """All that can be seen of the sites, devices and the feed: to show that a refused batch left no trace."""
    sites = await store.list(Site, "all", "", limit=MAX_PAGE)
    devices = await store.list(Device, "all", "", limit=MAX_PAGE)
    return sites, devices, await store.sequence(), tuple(await store.changes(0))


# Reading and writing one record


async def test_a_new_store_is_empty(store: Store) -> None:
    assert await store.get(Site, "a") is None
    assert await store.get_unique(Device, "account", "a") is None
    page = await store.list(Site, "all", "")
    assert (page.items, page.next) == ((), None)
    assert await store.sequence() == 0
    assert tuple(await store.changes(0)) == ()


async def test_put_then_get_gives_the_record_and_its_version(store: Store) -> None:
    assert await store.batch([Put(site("a", "Häuser"))]) == (1,)
    assert await store.get(Site, "a") == Stored(site("a", "Häuser"), 1)
    assert await store.batch([Put(site("a", "Houses"))]) == (2,)
    assert await store.get(Site, "a") == Stored(site("a", "Houses"), 2)


async def test_every_field_type_comes_back_equal_and_of_the_same_type(store: Store) -> None:
    await store.batch([Put(device(1))])
    stored = await store.get(Device, device(1).key)
    assert stored is not None
    assert stored.record == device(1)
    assert type(stored.record.kind) is DeviceKind
    assert type(stored.record.sealed_token) is bytes
    assert type(stored.record.mac) is MacAddress


async def test_kinds_do_not_share_keys(store: Store) -> None:
    await store.batch([Put(site("a"))])
    assert await store.get(Department, "a") is None
    await store.batch([Delete(Department, "a")])
    assert await store.get(Site, "a") is not None


async def test_a_deleted_record_is_gone_from_every_way_in(store: Store) -> None:
    await store.batch([Put(device(1))])
    assert await store.batch([Delete(Device, device(1).key)]) == (2,)
    assert await store.get(Device, device(1).key) is None
    assert await store.get_unique(Device, "account", "account-1") is None
    assert (await store.list(Device, "all", "")).items == ()
    assert (await store.list(Device, "account", "account-1")).items == ()


async def test_soft_writes_are_read_as_any_other(store: Store) -> None:
    assert await store.batch([Put(site("a"))], durable=False) == (1,)
    assert await store.get(Site, "a") == Stored(site("a"), 1)
    assert await store.batch([Put(site("b"))]) == (2,)


# Versions and conditions


@pytest.mark.parametrize("expect", [1, 3, -1, 2**70])
async def test_put_at_another_version_is_stale_and_writes_nothing(store: Store, expect: int) -> None:
    await store.batch([Put(site("a")), Put(site("a", "second"))])
    before = await everything(store)
    with pytest.raises(StaleVersion) as caught:
        await store.batch([Put(site("a", "third"), expect=expect)])
    assert (caught.value.kind, caught.value.key, caught.value.expected, caught.value.actual) == ("Site", "a", expect, 2)
    assert await everything(store) == before


async def test_put_at_the_read_version_writes(store: Store) -> None:
    (version,) = await store.batch([Put(site("a"), expect=0)])
    assert await store.batch([Put(site("a", "second"), expect=version)]) == (2,)


async def test_put_with_expect_zero_is_creation_only(store: Store) -> None:
    await store.batch([Put(site("a"), expect=0)])
    with pytest.raises(StaleVersion):
        await store.batch([Put(site("a"), expect=0)])
    await store.batch([Delete(Site, "a")])
    assert await store.batch([Put(site("a"), expect=0)]) == (3,)


async def test_put_of_what_is_not_there_at_a_version_is_stale(store: Store) -> None:
    with pytest.raises(StaleVersion) as caught:
        await store.batch([Put(site("a"), expect=7)])
    assert caught.value.actual == 0


async def test_delete_of_nothing_is_no_write(store: Store) -> None:
    assert await store.batch([Delete(Site, "a")]) == (0,)
    assert await store.batch([Delete(Site, "a", expect=0)]) == (0,)
    assert await store.sequence() == 0
    assert tuple(await store.changes(0)) == ()


async def test_delete_at_a_version(store: Store) -> None:
    await store.batch([Put(site("a"))])
    for expect in (0, 2):
        with pytest.raises(StaleVersion):
            await store.batch([Delete(Site, "a", expect=expect)])
    assert await store.batch([Delete(Site, "a", expect=1)]) == (2,)
    with pytest.raises(StaleVersion):
        await store.batch([Delete(Site, "a", expect=1)])


async def test_require_answers_the_present_version_and_writes_nothing(store: Store) -> None:
    await store.batch([Put(site("a")), Put(site("b"))])
    assert await store.batch([Require(Site, "b"), Require(Site, "a", expect=1), Require(Site, "c", expect=0)]) == (2, 1, 0)
    assert await store.sequence() == 2


async def test_require_refuses_the_whole_batch(store: Store) -> None:
    await store.batch([Put(site("a"))])
    before = await everything(store)
    with pytest.raises(NotFound):
        await store.batch([Put(site("b")), Require(Site, "gone")])
    with pytest.raises(StaleVersion):
        await store.batch([Put(site("b")), Require(Site, "a", expect=0)])
    with pytest.raises(StaleVersion):
        await store.batch([Put(site("b")), Require(Site, "gone", expect=1)])
    assert await everything(store) == before


# Batches


async def test_a_batch_is_done_in_order_and_sees_itself(store: Store) -> None:
    versions = await store.batch(
        [
            Put(site("a"), expect=0),
            Put(site("a", "second"), expect=1),
            Require(Site, "a", expect=2),
            Delete(Site, "a", expect=2),
            Require(Site, "a", expect=0),
            Put(site("a", "third"), expect=0),
        ]
    )
    assert versions == (1, 2, 2, 3, 0, 4)
    assert await store.get(Site, "a") == Stored(site("a", "third"), 4)
    assert [change.sequence for change in await store.changes(0)] == [1, 2, 3, 4]


REFUSED: list[tuple[type[Exception], Write]] = [
    (StaleVersion, Put(site("a"), expect=9)),
    (StaleVersion, Delete(Device, device(1).key, expect=9)),
    (NotFound, Require(Site, "gone")),
    (Conflict, Put(device(9, account="account-1"))),
    (ValueError, Put(site("c" * (MAX_KEY + 1)))),
    (ValueError, Put(site(SURROGATE))),
    (ValueError, Put(site("c", SURROGATE))),
    (ValueError, Put(site("c", "n" * 300_000))),
    (ValueError, Put(device(9, account=SURROGATE))),
    (ValueError, Delete(Site, "c" * (MAX_KEY + 1))),
    (ValueError, Put(Site("c", None))),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("error", "refused"), REFUSED)
@pytest.mark.parametrize("place", [0, 1, 4])
async def test_a_refused_write_anywhere_undoes_the_batch(
    store: Store, error: type[Exception], refused: Write, place: int
) -> None:
    await store.batch([Put(site("a")), Put(device(1)), Put(device(2))])
    before = await everything(store)
    others: list[Write] = [
        Put(site("b")),
        Put(site("a", "changed")),
        Delete(Device, device(2).key),
        Put(device(3, account="account-2")),
    ]
    with pytest.raises(error):
        await store.batch([*others[:place], refused, *others[place:]])
    assert await everything(store) == before
    assert await store.get(Site, "b") is None
    assert await store.get_unique(Device, "account", "account-2") == Stored(device(2), 3)
    assert await store.batch([Put(site("b"))]) == (4,)


async def test_the_first_refused_write_names_the_error(store: Store) -> None:
    await store.batch([Put(device(1))])
    with pytest.raises(Conflict):
        await store.batch([Put(device(2, account="account-1")), Require(Site, "gone")])
    with pytest.raises(NotFound):
        await store.batch([Require(Site, "gone"), Put(device(2, account="account-1"))])


async def test_a_stale_put_is_stale_before_it_is_a_conflict(store: Store) -> None:
    await store.batch([Put(device(1))])
    with pytest.raises(StaleVersion):
        await store.batch([Put(device(2, account="account-1"), expect=5)])


async def test_an_empty_batch_is_no_write(store: Store) -> None:
    assert await store.batch([]) == ()
    assert await store.sequence() == 0


async def test_a_batch_takes_max_batch_writes_and_no_more(store: Store) -> None:
    writes = [Put(LibraryMac(MacAddress(f"{serial:012X}"))) for serial in range(MAX_BATCH + 1)]
    with pytest.raises(ValueError):
        await store.batch(writes)
    assert await store.sequence() == 0
    assert await store.batch(writes[:MAX_BATCH]) == tuple(range(1, MAX_BATCH + 1))


async def test_a_class_that_is_no_record_of_the_registry_is_refused(store: Store) -> None:
    class Stranger(Site):
        pass

    with pytest.raises(TypeError):
        await store.batch([Put(Stranger("a", "A"))])
    with pytest.raises(TypeError):
        await store.batch([Delete(Stranger, "a")])
    with pytest.raises(TypeError):
        await store.get(Stranger, "a")
    with pytest.raises(TypeError):
        await store.list(Stranger, "all", "")
    assert await store.sequence() == 0


# Unique indexes


async def test_get_unique_finds_the_holder(store: Store) -> None:
    await store.batch([Put(device(1)), Put(device(2))])
    assert await store.get_unique(Device, "account", "account-2") == Stored(device(2), 2)
    assert await store.get_unique(Device, "id", "id-1") == Stored(device(1), 1)
    assert await store.get_unique(Device, "id", "account-1") is None


@pytest.mark.parametrize("index", ["site", "all", "", "nonsense"])
async def test_get_unique_takes_unique_indexes_only(store: Store, index: str) -> None:
    with pytest.raises(ValueError):
        await store.get_unique(Device, index, "s")
    with pytest.raises(ValueError):
        await store.get_unique(Site, index, "s")


async def test_a_taken_unique_value_is_a_conflict_that_names_its_holder(store: Store) -> None:
    await store.batch([Put(device(1))])
    with pytest.raises(Conflict) as caught:
        await store.batch([Put(device(2, account="account-1"))])
    conflict = caught.value
    assert (conflict.kind, conflict.index, conflict.value, conflict.holder) == ("Device", "account", "account-1", device(1).key)


async def test_a_record_does_not_conflict_with_itself(store: Store) -> None:
    await store.batch([Put(device(1)), Put(device(1, site="t"))])
    assert await store.get_unique(Device, "account", "account-1") == Stored(device(1, site="t"), 2)


async def test_a_unique_value_is_free_after_its_holder_changed_or_went(store: Store) -> None:
    await store.batch([Put(device(1)), Put(device(2))])
    await store.batch([Put(device(1, account="other")), Put(device(3, account="account-1"))])
    assert await store.get_unique(Device, "account", "account-1") == Stored(device(3, account="account-1"), 4)
    await store.batch([Delete(Device, device(2).key), Put(device(4, account="account-2"))])
    assert await store.get_unique(Device, "account", "account-2") == Stored(device(4, account="account-2"), 6)


async def test_unique_values_are_not_swapped_within_a_batch_unless_one_is_freed_first(store: Store) -> None:
    await store.batch([Put(device(1)), Put(device(2))])
    with pytest.raises(Conflict):
        await store.batch([Put(device(1, account="account-2")), Put(device(2, account="account-1"))])
    await store.batch([Delete(Device, device(2).key), Put(device(1, account="account-2")), Put(device(2, account="account-1"))])
    assert await store.get_unique(Device, "account", "account-1") == Stored(device(2, account="account-1"), 5)


async def test_two_in_one_batch_conflict(store: Store) -> None:
    with pytest.raises(Conflict):
        await store.batch([Put(device(1, account="same")), Put(device(2, account="same"))])


async def test_unique_values_are_per_kind_and_index(store: Store) -> None:
    account = Account("account-1", "s", AccountOwner.DEVICE, "x", "Monitor", b"")
    await store.batch([Put(device(1)), Put(account), Put(device(2, id_="account-1"))])
    assert await store.sequence() == 3


async def test_a_unique_index_lists_too(store: Store) -> None:
    await store.batch([Put(device(1)), Put(device(2))])
    assert (await store.list(Device, "account", "account-2")).items == (Stored(device(2), 2),)


# Lists


async def keys(store: Store, **options: Any) -> tuple[list[str], str | None]:
    page = await store.list(Site, "all", "", **options)
    return [item.record.key for item in page.items], page.next


async def test_a_list_is_in_key_order_by_code_points(store: Store) -> None:
    ids = ["b", "a", "B", "", "a-1", "ä", "\U0001f6aa", "\uffff", "a\x00", "10", "9", "a "]
    await store.batch([Put(site(id_)) for id_ in ids])
    found, cursor = await keys(store)
    assert found == sorted(ids)
    assert cursor is None
    assert (await keys(store, newest_first=True))[0] == sorted(ids, reverse=True)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_join_to_the_whole_list(store: Store, newest_first: bool, limit: int) -> None:
    ids = [f"{number:02}" for number in range(10)]
    await store.batch([Put(site(id_)) for id_ in ids])
    found: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page, cursor = await keys(store, after=cursor, limit=limit, newest_first=newest_first)
        assert 1 <= len(page) <= limit
        found += page
        pages += 1
    assert found == sorted(ids, reverse=newest_first)
    assert pages == -(-10 // limit)


async def test_a_full_last_page_has_no_cursor(store: Store) -> None:
    await store.batch([Put(site("a")), Put(site("b"))])
    assert await keys(store, limit=2) == (["a", "b"], None)
    assert await keys(store, limit=2, newest_first=True) == (["b", "a"], None)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_cursor_stays_good_while_records_come_and_go(store: Store, newest_first: bool) -> None:
    await store.batch([Put(site(id_)) for id_ in "bdfh"])
    first, cursor = await keys(store, limit=2, newest_first=newest_first)
    assert first == (["h", "f"] if newest_first else ["b", "d"])
    # The record the cursor names goes, and others come on both sides of it.
    await store.batch([Delete(Site, "d"), Delete(Site, "f"), *[Put(site(id_)) for id_ in "aceg"]])
    rest, cursor = await keys(store, after=cursor, limit=10, newest_first=newest_first)
    assert rest == (["e", "c", "b", "a"] if newest_first else ["e", "g", "h"])
    assert cursor is None


async def test_an_update_moves_a_record_between_index_values(store: Store) -> None:
    await store.batch([Put(device(1, site="s")), Put(device(2, site="s"))])
    await store.batch([Put(device(1, site="t"))])
    assert [item.record.mac for item in (await store.list(Device, "site", "s")).items] == [device(2).mac]
    assert [item.version for item in (await store.list(Device, "site", "t")).items] == [3]
    assert len((await store.list(Device, "all", "")).items) == 2


async def test_a_list_of_an_unknown_index_or_value_is_empty(store: Store) -> None:
    await store.batch([Put(site("a"))])
    for index, value in (("all", "x"), ("nonsense", ""), ("", ""), ("all", SURROGATE), ("all", "x" * 10_000)):
        page = await store.list(Site, index, value)
        assert (page.items, page.next) == ((), None)


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1, 2**70])
async def test_the_size_of_a_page_is_bounded(store: Store, limit: int) -> None:
    with pytest.raises(ValueError):
        await store.list(Site, "all", "", limit=limit)
    assert (await store.list(Site, "all", "", limit=MAX_PAGE)).items == ()


async def test_any_text_is_a_cursor_except_what_no_key_can_be(store: Store) -> None:
    await store.batch([Put(site("m"))])
    for after in ("", "a", "\x00", "' OR 1=1 --", "%", "\U0010ffff"):
        assert (await keys(store, after=after))[0] == (["m"] if after < "m" else [])
    for after in (SURROGATE, "x" * (MAX_KEY + 1)):
        with pytest.raises(ValueError):
            await keys(store, after=after)


@pytest.mark.parametrize("key", [SURROGATE, "x" * 100_000, "\x00", "' OR '1'='1", "a\n", "A", "a "])
async def test_a_hostile_key_finds_nothing(store: Store, key: str) -> None:
    await store.batch([Put(site("a")), Put(device(1))])
    assert await store.get(Site, key) is None
    assert await store.get_unique(Device, "account", key) is None
    page = await store.list(Device, "site", key)
    assert page.items == ()


# The change feed


async def test_the_feed_holds_every_write_in_order(store: Store) -> None:
    await store.batch([Put(site("a")), Put(device(1)), Delete(Site, "gone"), Require(Site, "a")])
    await store.batch([Put(site("a", "second")), Delete(Device, device(1).key)], durable=False)
    assert tuple(await store.changes(0)) == (
        Change(1, "Site", "a", False),
        Change(2, "Device", device(1).key, False),
        Change(3, "Site", "a", False),
        Change(4, "Device", device(1).key, True),
    )
    assert tuple(await store.changes(3)) == (Change(4, "Device", device(1).key, True),)
    assert tuple(await store.changes(4)) == ()
    assert tuple(await store.changes(1, limit=1)) == (Change(2, "Device", device(1).key, False),)
    assert await store.sequence() == 4


@pytest.mark.parametrize("after", [5, -1, 2**80, -(2**80)])
async def test_a_follower_of_another_store_is_told(store: Store, after: int) -> None:
    await store.batch([Put(site("a")), Put(site("b")), Put(site("c")), Put(site("d"))])
    with pytest.raises(ChangesLost):
        await store.changes(after)


async def test_a_follower_that_fell_behind_is_told(forgetful: Store) -> None:
    for number in range(SMALL_LOG + 3):
        await forgetful.batch([Put(site(str(number)))])
    assert [change.key for change in await forgetful.changes(3)] == ["3", "4", "5", "6", "7"]
    for after in (0, 2):
        with pytest.raises(ChangesLost):
            await forgetful.changes(after)
    watch = forgetful.watch(2)
    with pytest.raises(ChangesLost):
        await anext(watch)
    assert (await anext(forgetful.watch(3))).key == "3"


async def test_the_log_is_bounded_through_thousands_of_changes(forgetful: Store) -> None:
    for _ in range(3):
        await forgetful.batch([Put(LibraryMac(MacAddress(f"{serial:012X}"))) for serial in range(MAX_BATCH)])
    newest = await forgetful.sequence()
    assert newest == 3 * MAX_BATCH
    assert [change.sequence for change in await forgetful.changes(newest - SMALL_LOG)] == list(
        range(newest - SMALL_LOG + 1, newest + 1)
    )
    with pytest.raises(ChangesLost):
        await forgetful.changes(newest - SMALL_LOG - 1)


async def test_a_watch_gives_what_was_then_what_comes(store: Store) -> None:
    await store.batch([Put(site("a")), Put(site("b"))])
    watch = store.watch(1)
    assert (await anext(watch)).key == "b"
    waiting = asyncio.ensure_future(anext(watch))
    await store.sequence()
    assert not waiting.done()
    await store.batch([Put(site("c"))])
    assert (await waiting) == Change(3, "Site", "c", False)
    await watch.aclose()


async def test_a_watch_misses_nothing_while_writers_write(store: Store) -> None:
    total = 300

    async def follow(after: int) -> list[int]:
        seen: list[int] = []
        watch = store.watch(after)
        async for change in watch:
            seen.append(change.sequence)
            if change.sequence == total:
                await watch.aclose()
        return seen

    async def write(name: str) -> None:
        for number in range(total // 3):
            await store.batch([Put(site(f"{name}{number % 5}"))], durable=number % 2 == 0)

    followers = [asyncio.ensure_future(follow(0)) for _ in range(5)]
    await asyncio.gather(write("a"), write("b"), write("c"))
    late = asyncio.ensure_future(follow(100))
    assert [await follower for follower in followers] == [list(range(1, total + 1))] * 5
    assert await late == list(range(101, total + 1))


async def test_a_closed_watch_ends_also_for_who_waits_in_it(store: Store) -> None:
    watch = store.watch(0)
    waiting = asyncio.ensure_future(anext(watch, "ended"))
    other = store.watch(0)
    other_waiting = asyncio.ensure_future(anext(other))
    await store.sequence()
    await watch.aclose()
    assert await waiting == "ended"
    assert [change async for change in watch] == []
    await watch.aclose()
    await store.batch([Put(site("a"))])
    assert (await other_waiting).key == "a"
    assert [change async for change in watch] == []


async def test_a_cancelled_watcher_goes_on_where_it_was(store: Store) -> None:
    watch = store.watch(0)
    waiting = asyncio.ensure_future(anext(watch))
    await store.sequence()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await store.batch([Put(site("a")), Put(site("b"))])
    assert [(await anext(watch)).key, (await anext(watch)).key] == ["a", "b"]


# Races


async def test_of_racing_creations_one_wins(store: Store) -> None:
    outcomes = await asyncio.gather(
        *[store.batch([Put(site("a", str(number)), expect=0)]) for number in range(50)], return_exceptions=True
    )
    won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert won == [(1,)]
    assert all(isinstance(outcome, StaleVersion | tuple) for outcome in outcomes)
    assert await store.sequence() == 1


async def test_of_racing_unique_values_one_wins(store: Store) -> None:
    outcomes = await asyncio.gather(
        *[store.batch([Put(device(number, account="same"))]) for number in range(50)], return_exceptions=True
    )
    winners = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert len(winners) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 49
    assert await store.get_unique(Device, "account", "same") == Stored(device(winners[0], account="same"), 1)
    assert len((await store.list(Device, "all", "")).items) == 1


async def test_no_update_is_lost_between_readers_who_expect(store: Store) -> None:
    await store.batch([Put(Site("a", "0"))])

    async def add(times: int) -> int:
        retries = 0
        done = 0
        while done < times:
            stored = await store.get(Site, "a")
            assert stored is not None
            try:
                await store.batch([Put(Site("a", str(int(stored.record.name) + 1)), expect=stored.version)])
                done += 1
            except StaleVersion:
                retries += 1
        return retries

    await asyncio.gather(*[add(10) for _ in range(8)])
    stored = await store.get(Site, "a")
    assert stored is not None
    assert stored.record.name == "80"
    assert await store.sequence() == 81


async def test_a_reader_never_sees_half_a_batch(store: Store) -> None:
    await store.batch([Put(site("a", "0")), Put(site("b", "0"))])
    stop = False

    async def read() -> int:
        count = 0
        while not stop:
            page = await store.list(Site, "all", "")
            assert len({item.record.name for item in page.items}) == 1
            count += 1
            await asyncio.sleep(0)
        return count

    reading = asyncio.ensure_future(read())
    for number in range(100):
        await store.batch([Put(site("a", str(number))), Put(site("b", str(number)))])
        await asyncio.sleep(0)
    stop = True
    assert await reading > 0


async def test_one_refused_among_many_at_once_refuses_only_itself(store: Store) -> None:
    await store.batch([Put(device(1000, account="taken"))])

    def batch_of(number: int) -> Sequence[Write]:
        if number % 3 == 0:
            return [Put(device(number)), Put(device(number + 500, account="taken"))]
        return [Put(device(number))]

    outcomes = await asyncio.gather(*[store.batch(batch_of(number)) for number in range(90)], return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        present = await store.get(Device, device(number).key)
        if number % 3 == 0:
            assert isinstance(outcome, Conflict)
            assert present is None
        else:
            assert isinstance(outcome, tuple)
            assert present == Stored(device(number), outcome[0])
    assert await store.sequence() == 1 + 60


async def test_a_cancelled_caller_does_not_mix_up_the_answers_of_others(store: Store) -> None:
    await store.batch([Put(site(str(number))) for number in range(100)])
    for cancelled in range(0, 100, 7):
        reads = [asyncio.ensure_future(store.get(Site, str(number))) for number in range(100)]
        writes = [asyncio.ensure_future(store.batch([Put(site(f"w{number}"))])) for number in range(20)]
        await asyncio.sleep(0)
        reads[cancelled].cancel()
        writes[cancelled % 20].cancel()
        found = await asyncio.gather(*reads, return_exceptions=True)
        for number, outcome in enumerate(found):
            if isinstance(outcome, Stored):
                assert outcome.record.key == str(number)
            else:
                assert number == cancelled
        await asyncio.gather(*writes, return_exceptions=True)
    keys_of_writes = [change.key for change in await store.changes(100)]
    assert set(keys_of_writes) == {f"w{number}" for number in range(20)}


async def test_a_watcher_hears_of_a_write_whose_caller_was_cancelled(store: Store) -> None:
    watch = store.watch(0)
    waiting = asyncio.ensure_future(anext(watch))
    await store.sequence()
    writing = asyncio.ensure_future(store.batch([Put(site("a"))]))
    await asyncio.sleep(0)  # The batch is on its way; what follows cannot stop it.
    writing.cancel()
    assert (await waiting).key == "a"


# Closing


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await store.batch([Put(site("a"))])
    watch = store.watch(1)
    waiting = asyncio.ensure_future(anext(watch))
    await store.sequence()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await waiting
    for call in (
        lambda: store.get(Site, "a"),
        lambda: store.get(Site, SURROGATE),
        lambda: store.get_unique(Device, "account", "a"),
        lambda: store.get_unique(Device, "account", SURROGATE),
        lambda: store.list(Site, "all", ""),
        lambda: store.list(Site, "all", SURROGATE),
        lambda: store.batch([Put(site("b"))]),
        lambda: store.batch([]),
        lambda: store.sequence(),
        lambda: store.changes(0),
        lambda: anext(watch),
    ):
        with pytest.raises(StoreUnavailable):
            await call()
    with pytest.raises(StoreUnavailable):
        store.watch(0)


async def test_what_was_asked_before_the_close_is_answered(store: Store) -> None:
    writes = [asyncio.ensure_future(store.batch([Put(site(str(number)))])) for number in range(100)]
    reads = [asyncio.ensure_future(store.get(Site, str(number))) for number in range(100)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*writes)) == [(number,) for number in range(1, 101)]
    for outcome in await asyncio.gather(*reads, return_exceptions=True):
        assert outcome is None or isinstance(outcome, Stored)


async def test_errors_are_registry_errors(store: Store) -> None:
    """One `except RegistryError` covers what a store says, as admin_api relies on."""
    for error in (StaleVersion, NotFound, Conflict, StoreUnavailable, ChangesLost):
        assert issubclass(error, RegistryError)
    with pytest.raises(RegistryError):
        await store.batch([Require(Site, "gone")])
