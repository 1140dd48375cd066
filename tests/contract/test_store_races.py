"""What every store engine keeps (registry/store.py): callers at the same time, cancelled callers, and closing."""

import asyncio
from collections.abc import Sequence

import pytest

from registry.errors import ChangesLost, Conflict, NotFound, RegistryError, StaleVersion, StoreUnavailable
from registry.records import Device, Site
from registry.store import Put, Require, Store, Stored, Write
from tests.contract.samples import SURROGATE, device, site

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


async def test_the_writes_of_one_batch_have_consecutive_versions_among_concurrent_batches(store: Store) -> None:
    batches = [[Put(site(f"{number}-{part}", "x")) for part in range(5)] for number in range(20)]
    answers = await asyncio.gather(*(store.batch(writes) for writes in batches))
    for versions in answers:
        assert versions == tuple(range(versions[0], versions[0] + 5))
    assert sorted(version for versions in answers for version in versions) == list(range(1, 101))
