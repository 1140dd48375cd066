"""Bindings reach the store a moment later, the newest per AOR, and come back after a restart."""

import asyncio

import pytest

from gateway.write_behind import BindingsWriter, load_bindings
from registry.location import AorBindings, Binding
from registry.memory import MemoryStore
from tests.gateway.test_logbook import FailingStore


def binding(port: int, expires: float = 2000.0) -> Binding:
    return Binding(f"sip:a@10.0.0.1:{port}", f"udp:0:127.0.0.1:{port}", "c", 1, expires)


async def test_the_newest_bindings_of_an_aor_are_written_and_loaded() -> None:
    store = MemoryStore()
    writer = BindingsWriter(store, "n1")
    writer.changed("1", (binding(1),))
    writer.changed("1", (binding(2),))
    writer.changed("2", (binding(3, expires=10.0),))
    writer.changed("3", (binding(4),))
    writer.changed("3", ())
    await writer.stop()
    assert writer.waiting == 0
    told: dict[str, tuple[Binding, ...]] = {}
    assert await load_bindings(store, "n1", 1000.0, told.__setitem__) == 1
    assert told == {"1": (binding(2),)}
    assert await store.get(AorBindings, "3") is None
    assert await load_bindings(store, "another", 1000.0, told.__setitem__) == 0


async def test_a_store_that_is_down_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.write_behind.FLUSH_SECONDS", 0.01)
    monkeypatch.setattr("gateway.write_behind.RETRY_SECONDS", 0.01)
    store = FailingStore(failures=2)
    writer = BindingsWriter(store, "n1")
    writer.start()
    writer.changed("1", (binding(1),))
    await asyncio.wait_for(anext(store.watch(0)), 5)
    assert await store.get(AorBindings, "1") is not None
    await writer.stop()
