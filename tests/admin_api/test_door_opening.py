"""Opening a relay for an app: who may, what the device says, once per wish, and the log of it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from admin_api.ports import Commanded
from registry.door_log import Opening, commanded_entry
from registry.logs import AuditEntry, DoorEvent
from registry.mac import MacAddress
from registry.records import AccessMethod, Device, IdempotencyKey, Role
from registry.relay_state import RelayState
from registry.store import Delete, Put
from tests.admin_api.test_events import Reader
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, problem

MAC = "0C1105000001"
RELAYS = [
    {"name": "Door", "dtmf_code": "#", "access_methods": ["dtmf", "app-home", "app-talking"]},
    {"name": "Garage", "access_methods": ["app-talking"]},
]


class Place:
    """A door with two relays, and one resident with an app."""

    def __init__(self, world: World, app: str, door: str) -> None:
        self.world = world
        self.app = app
        self.door = door

    async def open(
        self, relay: Any = 1, page: str = "home", *, account: str = "", key: str = "", mac: str = MAC
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        async with self.world.client(Role.PROPERTY_MANAGER, HOME) as client:
            body = {"account": account or self.app, "page": page}
            return await client.post(f"/devices/{MAC}/relays/{relay}/open", json=body, headers=headers)

    async def entries(self) -> list[DoorEvent]:
        return [one.record for one in (await self.world.store.list(DoorEvent, "all", "")).items]

    async def audited(self, action: str) -> int:
        found = await self.world.store.list(AuditEntry, "all", "", limit=500)
        return sum(one.record.action == action for one in found.items)


async def a_place() -> Place:
    world = await a_world()
    await allow(world, MAC)
    world.doors.permitted.add("app-ada")
    async with world.client() as client:
        added = await client.put(f"/devices/{MAC}", json=device(relays=RELAYS))
    assert added.status_code == 201, added.text
    return Place(world, "app-ada", added.json()["account"]["username"])


# What the device says


async def test_the_device_says_open() -> None:
    place = await a_place()
    answer = await place.open()
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "mac": MAC,
        "relay": 1,
        "opened": True,
        "at": "2026-09-21T14:13:20.000Z",
        "method": "app-home",
        "by": place.app,
        "call_id": "",
    }
    ((mac, relay, command, opening),) = place.world.doors.asked
    assert (mac, relay, len(command), opening) == (MAC, 1, 16, Opening(AccessMethod.APP_HOME, place.app, ""))
    (entry,) = await place.entries()
    assert (entry.opened, entry.relay, entry.method, entry.by, entry.site) == (True, 1, "app-home", place.app, HOME)
    assert (await place.audited("relay.opened"), place.world.doors.refusals) == (1, [])


@pytest.mark.parametrize(
    ("outcome", "word", "code", "status"),
    [
        (Commanded.REFUSED, "jammed", "device-refused", 502),
        (Commanded.UNREACHABLE, "", "device-unreachable", 503),
        (Commanded.SILENT, "", "device-silent", 504),
    ],
)
async def test_the_device_does_not_say_open(outcome: Commanded, word: str, code: str, status: int) -> None:
    place = await a_place()
    place.world.doors.answer = (outcome, word)
    answer = await place.open(key="tap")
    assert (problem(answer), answer.status_code) == (code, status)
    assert word in answer.json()["detail"]
    assert await place.entries() == []
    assert await place.audited("relay.opened") == 0
    assert place.world.doors.refusals == [(MAC, 1, "token:property-manager-home", place.app, outcome.value)]
    # A refusal is not kept for the key: the same tap asks again, with the same command.
    place.world.doors.answer = (Commanded.OPENED, "")
    assert (await place.open(key="tap")).status_code == 200
    (first, second) = place.world.doors.asked
    assert first[2] == second[2]


async def test_the_devices_own_report_came_first() -> None:
    place = await a_place()
    found = await place.world.store.get(Device, MAC)
    assert found is not None
    plain = place.world.doors.open

    async def reported_first(device: Device, relay: int, command: bytes, opening: Opening) -> tuple[Commanded, str]:
        entry = commanded_entry(device, relay, command.hex(), opening, wall=7.0, serial=1)
        await place.world.store.batch([Put(entry)])
        return await plain(device, relay, command, opening)

    place.world.doors.open = reported_first  # type: ignore[method-assign]
    assert (await place.open()).status_code == 200
    assert [one.at for one in await place.entries()] == [7.0]


# Once


async def test_a_tap_that_is_in_the_log_is_answered_from_it() -> None:
    """The gateway died between the opening and its answer, the device's report came through, and its call is over."""
    place = await a_place()
    place.world.doors.talks[(place.app, place.door)] = "c1"
    await place.open(1, "talking", key="tap")
    (kept,) = (await place.world.store.list(IdempotencyKey, "all", "")).items
    await place.world.store.batch([Delete(IdempotencyKey, kept.record.key)])
    place.world.doors.talks.clear()
    answer = await place.open(1, "talking", key="tap")
    assert (answer.status_code, answer.json()["call_id"]) == (200, "c1")
    assert (len(place.world.doors.asked), len(await place.entries())) == (1, 1)


async def test_the_same_tap_twice_opens_once() -> None:
    place = await a_place()
    first, second = await place.open(key="tap"), await place.open(key="tap")
    assert (first.json(), second.json()) == (first.json(), first.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (len(place.world.doors.asked), len(await place.entries())) == (1, 1)
    assert (await place.open(key="another")).status_code == 200
    assert len({asked[2] for asked in place.world.doors.asked}) == 2


async def test_the_same_tap_twice_at_once_is_one_command_and_one_entry() -> None:
    place = await a_place()
    answers = await asyncio.gather(*(place.open(key="tap") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len({asked[2] for asked in place.world.doors.asked}) == 1
    assert len(await place.entries()) == 1


async def test_a_tap_whose_answer_was_lost_with_the_gateway_has_the_same_command() -> None:
    commands = set()
    for _ in range(2):
        # Nothing is in common but the token, the wish and the key.
        place = await a_place()
        await place.open(key="tap")
        commands.add(place.world.doors.asked[0][2])
    assert len(commands) == 1


async def test_two_taps_without_a_key_are_two() -> None:
    place = await a_place()
    await place.open()
    await place.open()
    assert len({asked[2] for asked in place.world.doors.asked}) == 2
    assert len(await place.entries()) == 2


# Who may


async def test_the_talking_page_needs_a_call_with_this_door() -> None:
    place = await a_place()
    place.world.doors.talks[(place.app, "another door")] = "c2"
    assert problem(await place.open(2, "talking")) == "opening-refused"
    place.world.doors.talks[(place.app, place.door)] = "c1"
    answer = await place.open(2, "talking")
    assert (answer.json()["method"], answer.json()["call_id"]) == ("app-talking", "c1")
    (entry,) = await place.entries()
    assert (entry.method, entry.call_id) == ("app-talking", "c1")


async def test_every_refusal_is_the_same_and_none_reaches_the_device() -> None:
    place = await a_place()
    world = place.world
    texts = set()
    wishes: list[tuple[str, dict[str, Any]]] = [
        ("account", {"account": "nobody"}),
        ("account", {"account": place.door}),
        ("no relay", {"relay": 3}),
        ("no relay", {"relay": 0}),
        ("no relay", {"relay": "9" * 400}),
        ("no relay", {"relay": "１"}),
        ("method", {"relay": 2}),
        ("not talking", {"page": "talking"}),
    ]
    for _, wish in wishes:
        answer = await place.open(**wish)
        assert (answer.status_code, problem(answer)) == (403, "opening-refused")
        body = answer.json()
        del body["instance"]
        texts.add(str(body))
    assert len(texts) == 1
    assert [refused[-1] for refused in world.doors.refusals] == [reason for reason, _ in wishes]
    assert (world.doors.asked, await place.entries()) == ([], [])


async def test_a_door_of_a_site_the_token_does_not_see_is_not_found() -> None:
    place = await a_place()
    async with place.world.client(Role.PROPERTY_MANAGER, FOREIGN) as client:
        answer = await client.post(f"/devices/{MAC}/relays/1/open", json={"account": place.app, "page": "home"})
    assert problem(answer) == "not-found"
    assert place.world.doors.refusals == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"account": "a"},
        {"account": "a", "page": "sofa"},
        {"account": "", "page": "home"},
        {"account": "a\ud800", "page": "home"},
    ],
)
async def test_bodies_are_held_to_their_form(body: dict[str, Any]) -> None:
    place = await a_place()
    async with place.world.client() as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post(f"/devices/{MAC}/relays/1/open", content=json.dumps(body), headers=headers)
    assert problem(answer) == "invalid-fields"


# The state of relays


async def test_a_relays_state_is_in_the_status_and_in_the_event_stream_and_goes_with_the_device() -> None:
    place = await a_place()
    world = place.world
    reader = Reader(world, world.secrets[Role.READ_ONLY, HOME])
    await reader.until("portico events")
    state = RelayState(MacAddress(MAC), HOME).switched(2, True, 1_790_000_000.0)
    await world.store.batch([Put(state)])
    await reader.until(f'"relay/{MAC}"')
    assert "event: relay" in reader.text
    await reader.leave()
    async with world.client() as client:
        status = (await client.get(f"/devices/{MAC}/status")).json()
        assert status["relays"] == [{"relay": 2, "on": True, "since": "2026-09-21T14:13:20.000Z"}]
        assert (await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})).status_code == 204
    assert await world.store.get(RelayState, MAC) is None
