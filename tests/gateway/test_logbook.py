"""The call log: durable, once each, patient with a store that is down, and with the door log's word on each call."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.door_log import DoorLog
from gateway.door_openings import DoorOpenings
from gateway.logbook import Logbook
from registry.errors import StoreUnavailable
from registry.logs import AuditEntry, CallRecord, CallResult, DoorEvent
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Device, DeviceKind, Site
from registry.store import Put, Write
from sip.events import CallEnded, CallFacts

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


def door_log(store: MemoryStore) -> DoorLog:
    serials = iter(range(5000, 9000))
    openings = DoorOpenings(lambda account: DOOR if account == DOOR.account else None)
    return DoorLog(store, ReadModel(store), openings, wall=lambda: 1000.0, clock=lambda: 0.0, serial=lambda: next(serials))


def book(store: MemoryStore) -> Logbook:
    serials = iter(range(1, 1000))
    return Logbook(store, door_log(store), wall=lambda: 1000.0, serial=lambda: next(serials))


async def test_a_call_is_in_the_log_when_it_is_over() -> None:
    store = MemoryStore()
    log = book(store)
    log.call_ended(CallEnded(CALL), 1000.0)
    await log.stop()
    (stored,) = (await store.list(CallRecord, "site", "s1")).items
    assert (stored.record.started, stored.record.talk_seconds, stored.record.result) == (988.0, 9.0, CallResult.ANSWERED)


async def test_records_wait_for_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.gathering.RETRY_SECONDS", 0.01)
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
    monkeypatch.setattr("gateway.gathering.GATHER_SECONDS", 0.05)
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


async def test_a_call_from_a_door_that_stays_shut_is_one_batch_with_the_door_logs_entry() -> None:
    store = FailingStore(failures=0)
    await store.batch([Put(DOOR), Put(Site("s1", "House"))])
    log = book(store)
    before = store.batches
    log.call_ended(CallEnded(CALL), 1000.0)
    await log.stop()
    assert store.batches == before + 1
    (call,) = (await store.list(CallRecord, "all", "")).items
    (entry,) = (await store.list(DoorEvent, "site", "s1")).items
    assert (entry.record.opened, entry.record.method, entry.record.call_id) == (False, "call", "c1")
    assert (entry.record.mac, entry.record.at, entry.record.detail) == (MAC, 1000.0, "called 101: answered")
    assert entry.record.event_id == f"call:{call.record.id}"


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_store_that_was_down_gets_both_or_none(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.gathering.RETRY_SECONDS", 0.01)
    store = FailingStore(failures=0)
    await store.batch([Put(DOOR), Put(Site("s1", "House"))])
    store.failures = failures
    log = book(store)
    log.start()
    written = store.watch(2)
    log.call_ended(CallEnded(CALL), 1000.0)
    kinds = [(await asyncio.wait_for(anext(written), 5)).kind for _ in range(2)]
    await log.stop()
    assert kinds == ["CallRecord", "DoorEvent"]
    assert len((await store.list(DoorEvent, "all", "")).items) == 1
