"""What every store engine keeps (registry/store.py): the change feed and its watchers."""

import asyncio

import pytest

from registry.errors import ChangesLost
from registry.mac import MacAddress
from registry.records import Device, LibraryMac, Site
from registry.store import MAX_BATCH, Change, Delete, Put, Require, Store
from tests.contract.samples import SMALL_LOG, device, site

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
