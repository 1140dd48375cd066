"""What every store engine keeps (registry/store.py): records, versions, batches, unique indexes."""

from typing import Any

import pytest

from registry.errors import Conflict, NotFound, StaleVersion
from registry.mac import MacAddress
from registry.records import Account, AccountOwner, Department, Device, DeviceKind, LibraryMac, Site
from registry.store import MAX_BATCH, MAX_KEY, MAX_PAGE, Delete, Put, Require, Store, Stored, Write
from tests.contract.samples import SURROGATE, device, site


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
