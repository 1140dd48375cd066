"""Connectors and their site tokens; devices' LAN addresses."""

import httpx
import pytest

from registry.connector import Connector, ConnectorName, ConnectorSeen, DeviceAddress, SiteConnectors
from registry.location import AorBindings, Binding
from registry.mac import MacAddress
from registry.records import Device, Role
from registry.store import Put
from tests.admin_api.world import HOME, World, a_world, allow, device, fields, problem
from tunnel.site_token import read_site_token

MAC = "0C1105000001"


async def made(client: httpx.AsyncClient, name: str = "Cellar") -> dict[str, str]:
    answer = await client.post(f"/sites/{HOME}/connectors", json={"name": name})
    assert answer.status_code == 201, answer.text
    body: dict[str, str] = answer.json()
    return body


async def keys(world: World, id_: str) -> dict[int, bytes]:
    """The valid keys of a connector by number, opened."""
    stored = await world.store.get(Connector, id_)
    assert stored is not None
    return {one.number: world.vault.open(one.sealed, f"connector-key:{id_}:{one.number}") for one in stored.record.keys}


async def test_a_token_is_shown_once_and_its_key_is_kept_sealed() -> None:
    world = await a_world()
    async with world.client() as client:
        body = await made(client)
        token = read_site_token(body["site_token"])
        assert token is not None
        assert token.name == ConnectorName.of(body["id"], 1)
        assert await keys(world, body["id"]) == {1: token.key}
        shown = (await client.get(f"/connectors/{body['id']}")).json()
        assert shown == {key: value for key, value in body.items() if key != "site_token"}
        listed = (await client.get(f"/sites/{HOME}/connectors")).json()["items"]
        assert listed == [shown]
        audit = (await client.get("/audit")).text
    stored = await world.store.get(SiteConnectors, HOME)
    assert stored is not None
    assert stored.record.ids == (body["id"],)
    secret = body["site_token"].rpartition("_")[2]
    assert secret not in audit
    assert "connector.created" in audit


async def test_a_rotation_leaves_the_old_token_valid_until_the_new_one_is_used() -> None:
    world = await a_world()
    async with world.client() as client:
        body = await made(client)
        second = (await client.post(f"/connectors/{body['id']}/rotate")).json()
        assert (second["token"], second["rotating"]) == (2, True)
        assert set(await keys(world, body["id"])) == {1, 2}
        third = (await client.post(f"/connectors/{body['id']}/rotate", json={})).json()
        assert set(await keys(world, body["id"])) == {1, 3}  # the unused one is gone
        now = (await client.post(f"/connectors/{body['id']}/rotate", json={"at_once": True})).json()
        token = read_site_token(now["site_token"])
        assert token is not None
        assert await keys(world, body["id"]) == {4: token.key}
        assert now["rotating"] is False
        assert len({body["site_token"], second["site_token"], third["site_token"], now["site_token"]}) == 4


async def test_a_revoked_connector_has_no_keys_and_stays_in_the_list() -> None:
    world = await a_world()
    async with world.client() as client:
        body = await made(client)
        other = await made(client, "Attic")
        for _ in range(2):
            assert (await client.delete(f"/connectors/{body['id']}")).status_code == 204
        shown = (await client.get(f"/connectors/{body['id']}")).json()
        assert (shown["token"], shown["revoked"] is not None) == (0, True)
        assert problem(await client.post(f"/connectors/{body['id']}/rotate")) == "connector-revoked"
        assert len((await client.get(f"/sites/{HOME}/connectors")).json()["items"]) == 2
        audit = [entry["action"] for entry in (await client.get("/audit")).json()["items"]]
    assert await keys(world, body["id"]) == {}
    stored = await world.store.get(SiteConnectors, HOME)
    assert stored is not None
    assert stored.record.ids == (other["id"],)
    assert audit.count("connector.revoked") == 1


async def test_a_site_has_16_connectors_at_most() -> None:
    world = await a_world()
    async with world.client() as client:
        for number in range(16):
            await made(client, f"Rack {number}")
        assert problem(await client.post(f"/sites/{HOME}/connectors", json={"name": "more"})) == "too-many-connectors"


async def test_a_deleted_site_takes_its_connectors_along() -> None:
    world = await a_world()
    async with world.client() as client:
        body = await made(client)
        await world.store.batch([Put(ConnectorSeen(body["id"], HOME, 5.0, "192.0.2.7", True))])
        shown = (await client.get(f"/connectors/{body['id']}")).json()
        assert (shown["connected"], shown["address"]) == (True, "192.0.2.7")
        assert (await client.delete(f"/sites/{HOME}", headers={"If-Match": "*"})).status_code == 204
    for kind, key in ((Connector, body["id"]), (ConnectorSeen, body["id"]), (SiteConnectors, HOME)):
        assert await world.store.get(kind, key) is None


async def test_where_a_device_is() -> None:
    world = await a_world()
    await allow(world, MAC)
    where = f"/devices/{MAC}/lan-address"
    async with world.client() as client:
        assert (await client.put(f"/devices/{MAC}", json=device())).status_code == 201
        assert (await client.get(where)).json() == {"mac": MAC, "address": "", "source": "unknown"}
        stored = await world.store.get(Device, MAC)
        assert stored is not None
        binding = Binding("<sip:x@192.168.1.30:5060>", "udp:a", "c", 1, 9e9)
        await world.store.batch([Put(AorBindings(stored.record.account, "n", (binding,)))])
        assert (await client.get(where)).json() == {"mac": MAC, "address": "192.168.1.30", "source": "registered"}
        for _ in range(2):
            entered = (await client.put(where, json={"address": "192.168.1.20"})).json()
            assert entered == {"mac": MAC, "address": "192.168.1.20", "source": "entered"}
        assert (await client.get(where)).json() == entered
        audit = [entry["action"] for entry in (await client.get("/audit")).json()["items"]]
        assert audit.count("device.lan-address-entered") == 1
        for _ in range(2):
            assert (await client.delete(where)).status_code == 204
        assert (await client.get(where)).json()["source"] == "registered"
        await client.put(where, json={"address": "192.168.1.20"})
        assert (await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})).status_code == 204
    assert await world.store.get(DeviceAddress, MacAddress(MAC).text) is None


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "224.0.1.75", "8.8.8.8", "0.0.0.0", "10.0.0.01", "192.168.1.20:80", "gate.lan", "::1", ""],
)
async def test_only_literal_private_addresses_are_taken(address: str) -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        assert (await client.put(f"/devices/{MAC}", json=device())).status_code == 201
        assert "/address" in fields(await client.put(f"/devices/{MAC}/lan-address", json={"address": address}))


async def test_sub_installers_may_look_and_no_more() -> None:
    world = await a_world()
    async with world.client() as client:
        body = await made(client)
    async with world.client(Role.SUB_INSTALLER, HOME) as client:
        assert (await client.get(f"/connectors/{body['id']}")).status_code == 200
        assert problem(await client.post(f"/connectors/{body['id']}/rotate")) == "forbidden"
