"""Commands and group commands through the API: what is written, who may, what is refused, and that nothing is claimed."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from registry.command_states import Event, sent, step
from registry.commands import MAX_WAITING, CollectedLog, Command, CommandName, CommandState, CommandWay, log_context
from registry.firmware import DeviceUpgrade
from registry.logs import AuditEntry
from registry.mac import MacAddress
from registry.records import Device, Role, SiteRoster, Transmission
from registry.relay_state import RelayState
from registry.store import Put
from tests.admin_api.test_events import Reader
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, fields, problem

MAC = "0C1105000001"
RELAYS = [{"name": "Door"}, {"name": "Garage"}]
ANY = {"If-Match": "*"}


async def a_place(count: int = 1, **changes: Any) -> World:
    world = await a_world()
    async with world.client() as client:
        for number in range(1, count + 1):
            mac = f"0C11050000{number:02X}"
            await allow(world, mac)
            added = await client.put(f"/devices/{mac}", json=device(relays=RELAYS, **changes))
            assert added.status_code == 201, added.text
    return world


async def order(world: World, mac: str = MAC, role: Role = Role.INSTALLER, **body: Any) -> httpx.Response:
    async with world.client(role, HOME) as client:
        return await client.post(f"/devices/{mac}/commands", json={"name": "reboot", **body})


async def stored(world: World, command: str) -> Command:
    found = await world.store.get(Command, command)
    assert found is not None
    return found.record


async def test_an_order_is_kept_audited_and_claims_nothing() -> None:
    world = await a_place()
    answer = await order(world)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert answer.headers["location"] == f"/api/v1/commands/{body['id']}"
    assert (body["state"], body["way"], body["result"], body["attempts"], body["mac"]) == ("pending", None, "", 0, MAC)
    assert (body["created_by"], body["priority"]) == ("token:installer-home", "normal")
    record = await stored(world, body["id"])
    assert (record.name, record.deadline - record.created) == (CommandName.REBOOT, 86_400.0)
    (entry,) = [
        one.record
        for one in (await world.store.list(AuditEntry, "all", "", limit=500)).items
        if one.record.action == "command.ordered"
    ]
    assert (entry.object, entry.site, entry.actor) == (f"command/{body['id']}", HOME, "token:installer-home")
    async with world.client(Role.INSTALLER, HOME) as client:
        again = await client.get(f"/commands/{body['id']}")
        assert (again.json(), again.headers["etag"]) == (body, answer.headers["etag"])
        assert (await client.get(f"/devices/{MAC}/commands")).json()["items"] == [body]
        assert (await client.get("/commands", params={"site": HOME})).json()["items"] == [body]


async def test_a_repeated_order_is_one_command() -> None:
    world = await a_place()
    async with world.client() as client:
        ids = []
        for key in ("a", "a", "b"):
            answer = await client.post(f"/devices/{MAC}/commands", json={"name": "reboot"}, headers={"Idempotency-Key": key})
            ids.append(answer.json()["id"])
    assert ids[0] == ids[1] != ids[2]
    assert len((await world.store.list(Command, "mac", MAC)).items) == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "open-relay", "relay": 3}, "/relay"),
        ({"name": "open-relay", "relay": 5}, "/relay"),
        ({"name": "open-relay", "seconds": 31}, "/seconds"),
        ({"name": "reboot", "seconds": 604_801}, "/seconds"),
        ({"name": "transmission-type"}, "/transmission"),
        ({"name": "reboot", "transmission": "tls"}, "/transmission"),
        ({"name": "explode"}, "/name"),
    ],
)
async def test_what_cannot_be_ordered(body: dict[str, Any], path: str) -> None:
    world = await a_place()
    assert list(fields(await order(world, **body))) == [path]


@pytest.mark.parametrize("name", ["reboot", "reset", "provision", "collect-log", "upgrade"])
async def test_a_property_manager_only_opens_and_locks(name: str) -> None:
    world = await a_place()
    assert problem(await order(world, role=Role.PROPERTY_MANAGER, name=name)) == "forbidden"
    assert (await order(world, role=Role.PROPERTY_MANAGER, name="open-relay")).status_code == 201


async def test_the_transmission_type_is_changed_with_the_order() -> None:
    world = await a_place()
    roster = await world.store.get(SiteRoster, HOME)
    answer = await order(world, name="transmission-type", transmission="tls")
    assert answer.json()["transmission"] == "tls"
    found = await world.store.get(Device, MAC)
    assert found is not None
    assert found.record.transmission is Transmission.TLS
    after = await world.store.get(SiteRoster, HOME)
    assert roster is not None
    assert after is not None
    assert after.version > roster.version  # every change of a device takes its turn at the site
    assert (await order(world, name="transmission-type", transmission="tls")).status_code == 201


async def test_an_upgrade_must_be_there() -> None:
    world = await a_place()
    assert problem(await order(world, name="upgrade")) == "no-upgrade"
    await world.store.batch([Put(DeviceUpgrade("u-1", MacAddress(MAC), HOME, "i", "1.2.3.4", 0, 0.0))])
    assert (await order(world, name="upgrade")).json()["upgrade"] == "u-1"


async def test_only_so_many_wait_for_one_device() -> None:
    world = await a_place()
    for _ in range(MAX_WAITING):
        assert (await order(world)).status_code == 201
    assert problem(await order(world)) == "too-many-commands"


async def test_what_was_not_sent_can_be_cancelled_and_nothing_else() -> None:
    world = await a_place()
    waits, begun, over = [(await order(world)).json()["id"] for _ in range(3)]
    record = await stored(world, begun)
    await world.store.batch([Put(sent(record, CommandWay.CHANNEL, "n", 1.0))])
    record = await stored(world, over)
    await world.store.batch([Put(step(record, Event.EXPIRED, 1.0))])
    async with world.client(Role.INSTALLER, HOME) as client:
        assert problem(await client.delete(f"/commands/{waits}")) == "precondition-required"
        assert problem(await client.delete(f"/commands/{waits}", headers={"If-Match": '"1"'})) == "precondition-failed"
        assert (await client.delete(f"/commands/{waits}", headers=ANY)).status_code == 204
        assert (await client.delete(f"/commands/{waits}", headers=ANY)).status_code == 204
        assert problem(await client.delete(f"/commands/{begun}", headers=ANY)) == "under-way"
        assert problem(await client.delete(f"/commands/{over}", headers=ANY)) == "command-over"
        assert (await client.get(f"/commands/{waits}")).json()["state"] == "cancelled"


async def test_a_log_is_shown_to_those_who_may() -> None:
    world = await a_place()
    command = (await order(world, name="collect-log")).json()["id"]
    async with world.client(Role.INSTALLER, HOME) as client, world.client(Role.PROPERTY_MANAGER, HOME) as manager:
        assert problem(await client.get(f"/commands/{command}/log")) == "not-found"
        sealed = world.vault.seal(b"one\ntwo \xff\n", log_context(command))
        assert b"two" not in sealed
        await world.store.batch([Put(CollectedLog(command, sealed))])
        assert (await client.get(f"/commands/{command}/log")).json() == {
            "command": command,
            "size": 10,
            "text": "one\ntwo \ufffd\n",
        }
        assert problem(await manager.get(f"/commands/{command}/log")) == "forbidden"


async def test_a_removed_device_takes_its_commands_along() -> None:
    world = await a_place()
    waits, begun = [(await order(world)).json()["id"] for _ in range(2)]
    await world.store.batch([Put(sent(await stored(world, begun), CommandWay.CHANNEL, "n", 1.0))])
    async with world.client() as client:
        assert (await client.delete(f"/devices/{MAC}", headers=ANY)).status_code == 204
    assert (await stored(world, waits)).state is CommandState.CANCELLED
    assert (await stored(world, begun)).state is CommandState.FAILED


async def test_a_change_of_a_command_is_an_event() -> None:
    world = await a_place()
    reader = Reader(world, world.secrets[Role.PROPERTY_MANAGER, HOME])
    deaf = Reader(world, world.secrets[Role.READ_ONLY, HOME])
    await reader.until("portico events")
    await deaf.until("portico events")
    command = (await order(world)).json()["id"]
    await reader.until(f'"command/{command}"')
    assert "event: command\n" in reader.text
    await world.store.batch([Put(RelayState(MacAddress(MAC), HOME).switched(1, True, 1.0))])
    await deaf.until("event: relay")
    assert "command" not in deaf.text
    await reader.leave()
    await deaf.leave()


# Groups


async def group(world: World, role: Role = Role.INSTALLER, **body: Any) -> httpx.Response:
    async with world.client(role, HOME) as client:
        return await client.post("/command-groups", json={"site": HOME, "name": "open-relay", **body})


async def members(world: World, group_id: str) -> list[Command]:
    return [one.record for one in (await world.store.list(Command, "group", group_id, limit=500)).items]


async def test_a_group_is_one_command_for_each_device_with_its_progress() -> None:
    world = await a_place(3)
    answer = await group(world, emergency=True, relay=2)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["devices"], body["progress"], body["over"], body["emergency"]) == (3, {"pending": 3}, False, True)
    commands = await members(world, body["id"])
    assert [(one.relay, one.priority.name, one.not_before, one.deadline - one.created) for one in commands] == [
        (2, "EMERGENCY", 0.0, 300.0)
    ] * 3
    done = step(sent(commands[0], CommandWay.CHANNEL, "n", 1.0), Event.DONE, 2.0, "opened")
    await world.store.batch([Put(done)])
    async with world.client(Role.PROPERTY_MANAGER, HOME) as client:
        assert (await client.get(f"/command-groups/{body['id']}")).json()["progress"] == {"pending": 2, "executed": 1}
        items = (await client.get(f"/command-groups/{body['id']}/commands")).json()["items"]
        assert sorted(item["result"] for item in items) == ["", "", "opened"]
        ended = await client.delete(f"/command-groups/{body['id']}", headers=ANY)
        assert (ended.json()["progress"], ended.json()["over"]) == ({"executed": 1, "cancelled": 2}, True)
        listed = (await client.get("/command-groups", params={"site": HOME})).json()["items"]
        assert [item["id"] for item in listed] == [body["id"]]


async def test_reboots_have_turns_two_a_second() -> None:
    world = await a_place(6)
    body = (await group(world, name="reboot")).json()
    turns = sorted(one.not_before - one.created for one in await members(world, body["id"]))
    assert all(place * 0.5 <= turn < (place + 1) * 0.5 for place, turn in enumerate(turns))
    assert (await members(world, body["id"]))[0].priority.name == "GROUP"


async def test_a_group_means_what_is_in_all_of_its_filters() -> None:
    world = await a_place(2)
    await allow(world, "0C1105000020")
    async with world.client() as client:
        floor = (await client.post("/departments", json={"site": HOME, "name": "Floor 1"})).json()["id"]
        other = {"site": HOME, "kind": 2, "model": "C313", "name": "Kitchen", "department": floor}
        assert (await client.put("/devices/0C1105000020", json=other)).status_code == 201

    async def macs(**body: Any) -> list[str]:
        made = await group(world, name="reboot", **body)
        assert made.status_code == 201, made.text
        return sorted(one.mac.text for one in await members(world, made.json()["id"]))

    doors = [MAC, "0C1105000002"]
    assert await macs() == [*doors, "0C1105000020"]
    assert await macs(kind=0) == doors
    assert await macs(department=floor) == ["0C1105000020"]
    assert await macs(department="") == doors
    assert await macs(devices=[MAC, MAC, "0C:11:05:00:00:20"]) == [MAC, "0C1105000020"]
    assert "" in fields(await group(world, name="reboot", kind=0, department=floor))
    assert "/kind" in fields(await group(world, name="reboot", kind=7))
    assert "/department" in fields(await group(world, name="reboot", department="none"))
    assert "/devices/0" in fields(await group(world, name="reboot", devices=["0C11050000EE"]))
    assert "/emergency" in fields(await group(world, name="reboot", emergency=True))
    assert "" in fields(await group(world, name="open-relay", relay=3))


async def test_a_lockdown_is_only_where_the_channel_has_it() -> None:
    world = await a_place(1)
    await allow(world, "0C1105000021")
    record = await world.store.get(Device, MAC)
    assert record is not None
    await world.store.batch(
        [Put(replace(record.record, mac=MacAddress("0C1105000021"), id="x", account="x", model="PORTICO-SIM-DOOR"))]
    )
    body = (await group(world, name="lockdown", emergency=True)).json()
    assert body["progress"] == {"pending": 1, "failed": 1}
    by_mac = {one.mac.text: one for one in await members(world, body["id"])}
    assert (by_mac[MAC].state, by_mac[MAC].result) == (CommandState.FAILED, "not supported")
    assert by_mac["0C1105000021"].on
    single = await order(world, name="lockdown", on=False)
    assert (single.json()["state"], single.json()["result"]) == ("failed", "not supported")


async def test_a_group_of_another_site_is_not_found() -> None:
    world = await a_place()
    assert problem(await group(world, site=FOREIGN)) == "not-found"
