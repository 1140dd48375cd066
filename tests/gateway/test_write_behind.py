"""Bindings reach the store a moment later, the newest per AOR, and come back after a restart."""

import asyncio

import pytest

from gateway.write_behind import BindingsWriter, load_bindings
from registry.location import AorBindings, Binding
from registry.memory import MemoryStore
from registry.store import Watching
from sip.binding import LiveBinding
from sip.flow import Flow
from tests.gateway.test_logbook import FailingStore


def binding(port: int, expires: float = 1000.0) -> LiveBinding:
    return LiveBinding(b"sip:a@10.0.0.1:%d" % port, b"", Flow("udp", "0", "127.0.0.1", port), b"c", 1, expires, 0.0)


class Times:
    """A wall clock and a monotonic one that go together."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1000.0 + self.now


def a_writer(store: MemoryStore, times: Times | None = None) -> BindingsWriter:
    times = times or Times()
    return BindingsWriter(store, "n1", wall=times.wall, clock=times.clock)


async def written(store: MemoryStore, aor: str = "1") -> list[float]:
    """The expiry times in the store."""
    stored = await store.get(AorBindings, aor)
    return [one.expires for one in stored.record.bindings] if stored else []


async def test_the_newest_bindings_of_an_aor_are_written_and_loaded() -> None:
    store = MemoryStore()
    writer = a_writer(store)
    writer.changed("1", (binding(1),))
    writer.changed("1", (binding(2),))
    writer.changed("2", (binding(3, expires=-990.0),))
    writer.changed("3", (binding(4),))
    writer.changed("3", ())
    await writer.stop()
    assert writer.waiting == 0
    told: dict[str, tuple[Binding, ...]] = {}
    assert await load_bindings(store, "n1", 1000.0, told.__setitem__) == 1
    assert told == {"1": (binding(2).stored(1000.0),)}
    assert await store.get(AorBindings, "3") is None
    assert await load_bindings(store, "another", 1000.0, told.__setitem__) == 0


async def test_a_store_that_is_down_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.write_behind.FLUSH_SECONDS", 0.01)
    monkeypatch.setattr("gateway.write_behind.RETRY_SECONDS", 0.01)
    store = FailingStore(failures=2)
    writer = a_writer(store)
    writer.start()
    writer.changed("1", (binding(1),))
    await asyncio.wait_for(anext(store.watch(0)), 5)
    assert await store.get(AorBindings, "1") is not None
    await writer.stop()


def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.write_behind.FLUSH_SECONDS", 0.0)


async def first_written(store: MemoryStore, times: Times, monkeypatch: pytest.MonkeyPatch) -> tuple[BindingsWriter, Watching]:
    """A running writer that has written one binding with 1000 seconds to live, and the feed of what it writes next."""
    fast(monkeypatch)
    writer = a_writer(store, times)
    writer.start()
    writer.changed("1", (binding(1),))
    feed = store.watch(0)
    await asyncio.wait_for(anext(feed), 5)
    await settled(writer)
    return writer, feed


async def settled(writer: BindingsWriter) -> None:
    async with asyncio.timeout(5):
        while writer.waiting:  # noqa: ASYNC110 - the writer tells nobody
            await asyncio.sleep(0)


async def test_a_refresh_is_written_once_half_of_the_life_in_the_store_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    store, times = MemoryStore(), Times()
    writer, feed = await first_written(store, times, monkeypatch)
    times.now = 499.0
    writer.changed("1", (binding(1, 1499.0),))
    assert writer.waiting == 0
    assert await written(store) == [2000.0]
    times.now = 500.0
    writer.changed("1", (binding(1, 1500.0),))
    await asyncio.wait_for(anext(feed), 5)
    assert await written(store) == [2500.0]
    await writer.stop()


async def test_another_series_of_temporary_gruus_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Call-ID matters where it gave GRUUs (`sip/gruu.py`): a restart must not bring back those that another made void."""
    store, times = MemoryStore(), Times()
    writer, feed = await first_written(store, times, monkeypatch)
    for call_id, cseq, since in ((b"d", 2, -1), (b"d", 3, 3), (b"e", 1, 1)):
        fresh = binding(1, 1100.0 + times.now)
        fresh.call_id, fresh.cseq, fresh.gruu_since = call_id, cseq, since
        writer.changed("1", (fresh,))
        assert writer.waiting == (1 if since >= 0 else 0)
        if since >= 0:
            await asyncio.wait_for(anext(feed), 5)
            await settled(writer)
    stored = await store.get(AorBindings, "1")
    assert stored is not None
    assert [(one.call_id, one.gruu_since) for one in stored.record.bindings] == [("e", 1)]
    await writer.stop()


async def test_the_last_refresh_is_written_though_none_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is silent after it, and then the node is killed: the store must know the binding to the end of its life."""
    store = MemoryStore()
    fast(monkeypatch)
    clock = asyncio.get_running_loop().time
    writer = BindingsWriter(store, "n1", wall=clock, clock=clock)
    writer.start()
    begun = clock()
    writer.changed("1", (binding(1, begun + 0.2),))
    feed = store.watch(0)
    await asyncio.wait_for(anext(feed), 5)
    await settled(writer)
    writer.changed("1", (binding(1, begun + 50.0),))
    assert await written(store) == [begun + 0.2]
    await asyncio.wait_for(anext(feed), 5)
    assert await written(store) == [begun + 50.0]
    assert clock() - begun >= 0.099  # the loop counts in milliseconds
    await writer.stop()


async def test_a_clean_stop_writes_every_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    store, times = MemoryStore(), Times()
    writer, _ = await first_written(store, times, monkeypatch)
    writer.changed("1", (binding(1, 1100.0),))
    await writer.stop()
    assert await written(store) == [2100.0]


@pytest.mark.parametrize(
    "bindings",
    [(), (binding(2, 1100.0),), (binding(1, 999.0),), (binding(1, 1100.0), binding(2, 1100.0))],
    ids=["gone", "another address", "a shorter life", "a second contact"],
)
async def test_what_changes_more_than_the_time_is_written_at_once(
    bindings: tuple[LiveBinding, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, times = MemoryStore(), Times()
    writer, feed = await first_written(store, times, monkeypatch)
    writer.changed("1", (binding(1, 1100.0),))
    writer.changed("1", bindings)
    assert writer.waiting == 1
    await asyncio.wait_for(anext(feed), 5)
    assert await written(store) == [one.expires_at + 1000.0 for one in bindings]
    await writer.stop()
    assert await written(store) == [one.expires_at + 1000.0 for one in bindings]
