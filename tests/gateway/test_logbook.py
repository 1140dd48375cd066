"""The call log and the door log: durable, once each, patient with a store that is down."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.device_ports import DeviceEvents
from gateway.logbook import BadEvent, Logbook, door_event
from registry.errors import StoreUnavailable
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import AuditEntry, CallRecord, CallResult, Device, DeviceKind, DoorEvent
from registry.store import Put, Write
from sip.events import CallEnded, CallFacts
from tunnel.messages import DeviceEvent

MAC = MacAddress("0C1105000001")
DOOR = Device(
    mac=MAC,
    id="d1",
    site="s1",
    kind=DeviceKind.MULTI_TENANT_DOOR_PHONE,
    model="R29",
    name="Gate",
    account="100000001",
    sealed_token=b"",
    sealed_channel_key=b"",
    sealed_web_password=b"",
)
CALL = CallFacts(
    "c1", "s1", "100000001", "101", ("100000002",), "100000002", 12.0, 3.0, 9.0, CallResult.ANSWERED, "100000001", 200
)


class FailingStore(MemoryStore):
    """A store that is down for its first `failures` batches."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.batches = 0

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("down")
        self.batches += 1
        return await super().batch(writes, durable=durable)


def book(store: MemoryStore) -> Logbook:
    serials = iter(range(1, 1000))
    return Logbook(store, ReadModel(store), wall=lambda: 1000.0, serial=lambda: next(serials))


async def test_a_call_is_in_the_log_when_it_is_over() -> None:
    store = MemoryStore()
    log = book(store)
    log.call_ended(CallEnded(CALL), 1000.0)
    await log.stop()
    (stored,) = (await store.list(CallRecord, "site", "s1")).items
    assert (stored.record.started, stored.record.talk_seconds, stored.record.result) == (988.0, 9.0, CallResult.ANSWERED)


async def test_records_wait_for_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.logbook.RETRY_SECONDS", 0.01)
    store = FailingStore(failures=3)
    log = book(store)
    log.start()
    log.call_ended(CallEnded(CALL), 1000.0)
    log.audit(actor="a", action="x", object="o", site="s1", detail="")
    written = store.watch(0)
    for _ in range(2):
        await asyncio.wait_for(anext(written), 5)
    await log.stop()
    assert len((await store.list(CallRecord, "all", "")).items) == 1
    assert len((await store.list(AuditEntry, "all", "")).items) == 1


async def test_calls_that_end_together_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.logbook.GATHER_SECONDS", 0.05)
    store = FailingStore(failures=0)
    log = book(store)
    log.start()
    log.call_ended(CallEnded(CALL), 1000.0)
    written = store.watch(0)
    await asyncio.wait_for(anext(written), 5)
    for _ in range(10):
        log.call_ended(CallEnded(CALL), 1000.0)
    for _ in range(10):
        await asyncio.wait_for(anext(written), 5)
    assert store.batches == 2
    await log.stop()


async def test_a_repeated_report_is_one_entry() -> None:
    store = MemoryStore()
    await store.batch([Put(DOOR)])
    events = DeviceEvents(book(store))
    report = DeviceEvent(b"\x01" * 16, "relay-opened", {"relay": 1, "method": "dtmf", "by": "100000002", "call_id": "c1"})
    await events.on_event(MAC, report)
    await events.on_event(MAC, report)
    (stored,) = (await store.list(DoorEvent, "site", "s1")).items
    assert (stored.record.relay, stored.record.method, stored.record.opened) == (1, "dtmf", True)


async def test_a_report_is_not_acknowledged_while_the_store_is_down() -> None:
    store = FailingStore(failures=0)
    await store.batch([Put(DOOR)])
    store.failures = 1
    with pytest.raises(StoreUnavailable):
        await DeviceEvents(book(store)).on_event(MAC, DeviceEvent(b"\x02" * 16, "relay-opened", {"relay": 1}))


async def test_an_unusable_report_is_acknowledged_so_that_it_is_not_repeated_for_ever() -> None:
    store = MemoryStore()
    await store.batch([Put(DOOR)])
    await DeviceEvents(book(store)).on_event(MAC, DeviceEvent(b"\x03" * 16, "relay-opened", {"relay": "front"}))
    await DeviceEvents(book(store)).on_event(MAC, DeviceEvent(b"\x03" * 16, "unheard-of", {}))
    assert not (await store.list(DoorEvent, "all", "")).items


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "relay"),
        ({"relay": 0}, "relay"),
        ({"relay": 5}, "relay"),
        ({"relay": True}, "relay"),
        ({"relay": "1"}, "relay"),
        ({"relay": 1, "method": 7}, "method"),
        ({"relay": 1, "by": "x" * 129}, "by"),
        ({"relay": 1, "call_id": "a\nb"}, "call_id"),
    ],
)
def test_a_report_that_is_wrong_names_the_field(body: dict[str, object], field: str) -> None:
    with pytest.raises(BadEvent, match=field):
        door_event(DOOR, "e1", body, wall=1.0, serial=1)
