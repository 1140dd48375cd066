"""The door log: reports of devices kept once, credited to who it was, and calls that ended before a shut door."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.device_ports import BURST, DeviceEvents, TooManyEvents
from gateway.door_log import BadEvent, DoorLog, door_event
from gateway.door_openings import DoorOpenings
from registry.door_log import Opening
from registry.errors import StoreUnavailable
from registry.logs import CallRecord, CallResult, DoorEvent
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import AccessMethod, DeviceKind, Relay, Site
from registry.relay_state import RelayState, SwitchedRelay
from registry.store import Put
from tests.gateway.test_logbook import DOOR as PLAIN
from tests.gateway.test_logbook import MAC, FailingStore
from tunnel.messages import DeviceEvent

BOTH = frozenset((AccessMethod.DTMF, AccessMethod.APP_HOME))
DOOR = replace(PLAIN, relays=(Relay("Door", "#", access_methods=BOTH), Relay("Garage", "25", access_methods=BOTH)))
MONITOR = replace(PLAIN, mac=MacAddress("0C1105000002"), id="d2", account="100000002", kind=DeviceKind.INDOOR_MONITOR)
COMMAND = "0f" * 16


class House:
    """A door log on a store, with a clock set by hand."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.time = 1000.0
        serials = iter(range(1, 10_000))
        self.openings = DoorOpenings(lambda account: DOOR if account == DOOR.account else None)
        self.log = DoorLog(
            store,
            ReadModel(store),
            self.openings,
            wall=lambda: self.time,
            clock=lambda: self.time,
            serial=lambda: next(serials),
        )
        self.refused: list[str] = []
        self.events = DeviceEvents(self.log, refused=self.refused.append, clock=lambda: self.time)

    async def report(self, body: dict[str, Any], *, name: str = "relay-opened", id_: int = 1, mac: MacAddress = MAC) -> None:
        await self.events.on_event(mac, DeviceEvent(bytes([id_]) * 16, name, body))

    async def entries(self) -> list[DoorEvent]:
        return [one.record for one in (await self.store.list(DoorEvent, "all", "", limit=500)).items]

    async def entry(self) -> DoorEvent:
        (one,) = await self.entries()
        return one


async def house(*, log_unopened: bool = True) -> House:
    store = FailingStore(failures=0)
    await store.batch([Put(DOOR), Put(MONITOR), Put(Site("s1", "House", log_unopened_calls=log_unopened))])
    return House(store)


def call(**changes: Any) -> CallRecord:
    """A call from the door, from second 990 to 1000, answered."""
    plain = CallRecord(
        "k1",
        "s1",
        DOOR.account,
        "101",
        990.0,
        ("100000002",),
        "100000002",
        4.0,
        6.0,
        CallResult.ANSWERED,
        "100000002",
        200,
        "c1",
    )
    return replace(plain, **changes)


# Reports


async def test_a_repeated_report_is_one_entry() -> None:
    here = await house()
    for _ in range(2):
        await here.report({"relay": 1, "method": "card", "by": "card 7", "at": 1000.0})
    entry = await here.entry()
    assert (entry.relay, entry.method, entry.by, entry.opened, entry.at, entry.detail) == (1, "card", "card 7", True, 1000.0, "")


async def test_a_report_is_not_acknowledged_while_the_store_is_down() -> None:
    here = await house()
    assert isinstance(here.store, FailingStore)
    here.store.failures = 1
    with pytest.raises(StoreUnavailable):
        await here.report({"relay": 1})


@pytest.mark.parametrize("method", ["dtmf", "app-home", "app-talking", "pin", "card", "face", "qr", "exit-button", "web"])
async def test_known_methods_are_kept_as_they_are(method: str) -> None:
    here = await house()
    await here.report({"relay": 1, "method": method})
    assert ((await here.entry()).method, (await here.entry()).detail) == (method, "")


async def test_an_unknown_method_is_other_and_its_word_is_kept_beside() -> None:
    here = await house()
    await here.report({"relay": 1, "method": "palm vein"})
    await here.report({"relay": 1}, id_=2)
    assert [(one.method, one.detail) for one in await here.entries()] == [("other", "method palm vein"), ("other", "")]


async def test_a_clock_that_differs_is_said() -> None:
    here = await house()
    await here.report({"relay": 1, "method": "pin", "at": 400})
    assert ((await here.entry()).at, (await here.entry()).detail) == (1000.0, "by the device's clock 600 s earlier")


@pytest.mark.parametrize(
    ("name", "body", "mac", "reason"),
    [
        ("relay-opened", {"relay": "front"}, MAC, "malformed"),
        ("unheard-of", {}, MAC, "unknown event"),
        ("relay-opened", {"relay": 1}, MacAddress("0C1105FFFFFF"), "unknown device"),
        ("relay-opened", {"relay": 1}, MONITOR.mac, "no door"),
        ("relay-state", {"relay": 1}, MONITOR.mac, "malformed"),
        ("relay-state", {"relay": 1, "on": 1}, MONITOR.mac, "malformed"),
        ("relay-state", {"relay": 9, "on": True}, MONITOR.mac, "malformed"),
    ],
)
async def test_what_is_unusable_is_counted_acknowledged_and_never_kept(
    name: str, body: dict[str, Any], mac: MacAddress, reason: str
) -> None:
    here = await house()
    before = await here.store.sequence()
    await here.report(body, name=name, mac=mac)
    assert here.refused == [reason]
    assert await here.store.sequence() == before


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
        ({"relay": 1, "at": "noon"}, "at"),
        ({"relay": 1, "at": float("nan")}, "at"),
    ],
)
def test_a_report_that_is_wrong_names_the_field(body: dict[str, object], field: str) -> None:
    with pytest.raises(BadEvent, match=field):
        door_event(DOOR, "e1", body, wall=1.0, serial=1)


async def test_a_device_that_floods_is_not_acknowledged_until_it_slows_down() -> None:
    here = await house()
    for _ in range(int(BURST)):
        await here.report({"relay": 1})
    with pytest.raises(TooManyEvents):
        await here.report({"relay": 1})
    await here.report({"relay": 1, "on": True}, name="relay-state", mac=MONITOR.mac)
    here.time += 1.0
    await here.report({"relay": 1})
    assert here.refused == ["too many"]


# Who it was


async def test_a_code_pressed_in_a_call_says_who_even_if_the_device_does_not() -> None:
    here = await house()
    for key in "925":
        here.openings.digit("c1", "100000002", DOOR.account, key, here.time)
    here.time += 2
    await here.report({"relay": 2, "method": "dtmf"})
    entry = await here.entry()
    assert (entry.by, entry.call_id, entry.method, entry.relay) == ("100000002", "c1", "dtmf", 2)


async def test_what_the_gateway_saw_counts_more_than_what_the_device_says() -> None:
    here = await house()
    here.openings.digit("c1", "100000002", DOOR.account, "#", here.time)
    await here.report({"relay": 1, "method": "dtmf", "by": "somebody", "call_id": "c1"})
    assert (await here.entry()).by == "100000002"


@pytest.mark.parametrize(
    ("body", "later", "by"),
    [
        ({"relay": 2, "method": "dtmf", "by": "x"}, 1.0, "x"),  # another relay's code
        ({"relay": 1, "method": "pin", "by": "x"}, 1.0, "x"),  # not DTMF at all
        ({"relay": 1, "method": "dtmf", "by": "x", "call_id": "c9"}, 1.0, "x"),  # another call
        ({"relay": 1, "method": "dtmf", "by": "x"}, 61.0, "x"),  # too long ago to be meant
        ({"relay": 1, "method": "dtmf", "by": "x", "call_id": "c1"}, 600.0, "100000002"),  # its channel was down
        ({"relay": 1, "method": "dtmf", "by": "x", "call_id": "c1"}, 3601.0, "x"),
    ],
)
async def test_a_code_is_claimed_by_the_report_it_belongs_to(body: dict[str, Any], later: float, by: str) -> None:
    here = await house()
    here.openings.digit("c1", "100000002", DOOR.account, "#", here.time)
    here.time += later
    await here.report(body)
    assert (await here.entry()).by == by


async def test_a_code_is_claimed_once() -> None:
    here = await house()
    here.openings.digit("c1", "100000002", DOOR.account, "#", here.time)
    await here.report({"relay": 1, "method": "dtmf"}, id_=1)
    await here.report({"relay": 1, "method": "dtmf"}, id_=2)
    assert sorted(one.by for one in await here.entries()) == ["", "100000002"]


async def test_a_commanded_opening_is_the_entry_of_its_command() -> None:
    here = await house()
    here.openings.commanded(MAC, COMMAND, Opening(AccessMethod.APP_HOME, "app-1", ""))
    for number in (1, 2):
        await here.report({"relay": 1, "method": "web", "by": "liar", "command": COMMAND}, id_=number)
    entry = await here.entry()
    assert (entry.event_id, entry.method, entry.by) == (f"command:{COMMAND}", "app-home", "app-1")


async def test_another_devices_command_lends_nobody_its_name() -> None:
    here = await house()
    here.openings.commanded(MONITOR.mac, COMMAND, Opening(AccessMethod.APP_HOME, "app-1", ""))
    await here.report({"relay": 1, "method": "web", "by": "admin", "command": COMMAND})
    assert ((await here.entry()).method, (await here.entry()).by) == ("web", "admin")


@pytest.mark.parametrize("command", ["0F" * 16, "0f" * 15, "g" * 32, 7])
async def test_a_command_is_an_id(command: object) -> None:
    here = await house()
    await here.report({"relay": 1, "command": command})
    assert here.refused == ["malformed"]


# Calls before a shut door


async def test_a_call_from_a_door_that_was_not_opened_is_an_entry() -> None:
    here = await house()
    entry = await here.log.unopened(call(result=CallResult.NO_ANSWER, answered_by="", talk_seconds=0.0))
    assert entry is not None
    assert (entry.opened, entry.method, entry.relay, entry.call_id, entry.by) == (False, "call", 0, "c1", "")
    assert (entry.mac, entry.at, entry.detail) == (MAC, 994.0, "called 101: no-answer")


@pytest.mark.parametrize(
    ("changes", "switch"),
    [({}, False), ({"caller": MONITOR.account}, True), ({"caller": "app-1"}, True)],
    ids=["switched off", "a monitor calls", "an app calls"],
)
async def test_other_calls_are_none(changes: dict[str, Any], switch: bool) -> None:
    here = await house(log_unopened=switch)
    assert await here.log.unopened(call(**changes)) is None


@pytest.mark.parametrize(
    ("at", "body", "entries"),
    [
        (995.0, {"relay": 1, "method": "dtmf"}, False),
        (995.0, {"relay": 1, "method": "pin"}, False),
        (989.0, {"relay": 1, "method": "pin"}, True),
        (1030.0, {"relay": 1, "method": "pin"}, True),
        (1030.0, {"relay": 1, "method": "dtmf", "call_id": "c1"}, False),
    ],
)
async def test_an_opening_during_the_call_counts_whatever_opened(at: float, body: dict[str, Any], entries: bool) -> None:
    here = await house()
    here.time = at
    await here.report(body)
    assert (await here.log.unopened(call()) is not None) is entries


async def test_that_nobody_was_let_in_before_is_no_opening() -> None:
    here = await house()
    before = await here.log.unopened(call(id="k0", call_id="c0", started=980.0))
    assert before is not None
    await here.store.batch([Put(before)])  # at second 990, when the next call begins
    assert await here.log.unopened(call()) is not None


async def test_a_late_report_of_an_opening_in_the_call_replaces_the_entry() -> None:
    here = await house()
    entry = await here.log.unopened(call())
    assert entry is not None
    await here.store.batch([Put(entry)])
    here.time = 1500.0
    await here.report({"relay": 1, "method": "card"}, id_=1)
    assert {one.opened for one in await here.entries()} == {True, False}
    await here.report({"relay": 1, "method": "dtmf", "call_id": "c1"}, id_=2)
    assert [(one.opened, one.method) for one in await here.entries()] == [(True, "card"), (True, "dtmf")]


async def test_an_opening_that_was_reported_while_the_entry_was_written_takes_it_back() -> None:
    here = await house()
    entry = await here.log.unopened(call())
    assert entry is not None
    await here.store.batch([Put(replace(a_card_opened(), id="0000000999000-00000001")), Put(entry)])
    await here.log.written(call(), entry)
    assert [one.opened for one in await here.entries()] == [True]


def a_card_opened() -> DoorEvent:
    return door_event(DOOR, "e9", {"relay": 1, "method": "card"}, wall=999.0, serial=1)


# Relays of monitors


async def test_the_state_of_a_monitors_relays_is_kept_and_the_same_again_writes_nothing() -> None:
    here = await house()
    for number, (relay, on) in enumerate([(2, True), (1, True), (1, False)], 1):
        here.time = 1000.0 + number
        await here.report({"relay": relay, "on": on}, name="relay-state", mac=MONITOR.mac)
    before = await here.store.sequence()
    here.time = 2000.0
    await here.report({"relay": 2, "on": True}, name="relay-state", mac=MONITOR.mac)
    assert await here.store.sequence() == before
    stored = await here.store.get(RelayState, MONITOR.mac.text)
    assert stored is not None
    assert stored.record.relays == (SwitchedRelay(1, False, 1003.0), SwitchedRelay(2, True, 1001.0))
    assert stored.record.site == "s1"
