"""Tokens, sites, departments, MAC library, Remote Control sessions, audit: what each does beside the shared conventions."""

import asyncio

import pytest

from admin_api.bootstrap import add_admin_token, ensure_admin_token
from registry.logs import AuditEntry
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import Device, LibraryMac, RemoteSession, Role, Site, SiteRoster
from registry.store import Put
from tests.admin_api.world import FOREIGN, HOME, NoTurns, a_world, allow, counted_entropy, device, fields, monitor, problem, user
from tunnel.session import is_session_id

MAC = "0C1105000001"


async def test_token_life() -> None:
    world = await a_world()
    async with world.client() as client:
        body = {"name": "Site tablet", "role": "read-only", "sites": [HOME], "expires_in": 3600}
        made = await client.post("/tokens", json=body)
        assert made.status_code == 201
        secret = made.json()["token"]
        async with world.bearer(secret) as holder:
            assert (await holder.get("/sites")).status_code == 200
            world.clock[0] += 3600
            assert problem(await holder.get("/sites")) == "unauthorized"
            world.clock[0] -= 1
            assert (await holder.get("/sites")).status_code == 200
            path = f"/tokens/{made.json()['id']}"
            assert secret not in (await client.get(path)).text
            gone = await client.delete(path, headers={"If-Match": made.headers["etag"]})
            assert gone.status_code == 204
            assert problem(await holder.get("/sites")) == "unauthorized"
        assert (await client.get(path)).json()["revoked"] is True


async def test_nobody_grants_more_than_they_have() -> None:
    world = await a_world()
    async with world.client(Role.INSTALLER, HOME) as client:
        for role in ("distributor", "installer"):
            assert problem(await client.post("/tokens", json={"name": "t", "role": role, "sites": [HOME]})) == "forbidden"
        assert fields(await client.post("/tokens", json={"name": "t", "role": "read-only"})).keys() == {"/sites"}
        foreign = await client.post("/tokens", json={"name": "t", "role": "read-only", "sites": [HOME, FOREIGN]})
        unknown = await client.post("/tokens", json={"name": "t", "role": "read-only", "sites": [HOME, "none"]})
        assert fields(foreign).keys() == {"/sites/1"}
        assert foreign.text == unknown.text
        assert {token["id"] for token in (await client.get("/tokens")).json()["items"]} == {
            "sub-installer-home",
            "property-manager-home",
            "read-only-home",
        }
        assert problem(await client.delete("/tokens/distributor-home", headers={"If-Match": "*"})) == "not-found"


async def test_sites() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/sites", json={"name": "Tower", "time_zone": "Europe/Berlin"})
        path = f"/sites/{made.json()['id']}"
        assert fields(await client.post("/sites", json={"name": "x", "time_zone": "../etc"})).keys() == {"/time_zone"}
        changed = await client.patch(path, json={"log_unopened_calls": False}, headers={"If-Match": made.headers["etag"]})
        assert changed.json()["log_unopened_calls"] is False
        assert changed.json()["time_zone"] == "Europe/Berlin"
        cleared = await client.patch(path, json={"time_zone": None}, headers={"If-Match": changed.headers["etag"]})
        assert cleared.json()["time_zone"] == "UTC"
        same = await client.patch(path, json={}, headers={"If-Match": cleared.headers["etag"]})
        assert same.headers["etag"] == cleared.headers["etag"]
        assert (await client.delete(path, headers={"If-Match": same.headers["etag"]})).status_code == 204
        assert problem(await client.get(path)) == "not-found"
    assert await world.store.get(SiteRoster, made.json()["id"]) is None


@pytest.mark.parametrize("what", ["device", "user", "department"])
async def test_a_site_with_something_in_it_stays(what: str) -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        if what == "device":
            added = await client.put(f"/devices/{MAC}", json=device())
        elif what == "user":
            added = await client.post("/users", json=user())
        else:
            added = await client.post("/departments", json={"site": HOME, "name": "x"})
        path = added.headers["location"].removeprefix("/api/v1")
        refused = await client.delete(f"/sites/{HOME}", headers={"If-Match": "*"})
        assert problem(refused) == "not-empty"
        assert f"1 {what}s" in refused.json()["detail"]
        assert (await client.delete(path, headers={"If-Match": "*"})).status_code == 204
        assert (await client.delete(f"/sites/{HOME}", headers={"If-Match": "*"})).status_code == 204


async def test_a_site_is_never_deleted_under_a_device() -> None:
    """Whichever of the two comes first, there is no device without its site."""
    for order in range(6):
        world = await a_world()
        world.app.state.turns = NoTurns()
        await allow(world, MAC)
        async with world.client() as client:
            jobs = [
                client.put(f"/devices/{MAC}", json=device()),
                client.delete(f"/sites/{HOME}", headers={"If-Match": "*"}),
            ]
            await asyncio.gather(*(jobs if order % 2 else jobs[::-1]))
        assert (await world.store.get(Device, MAC) is None) is (await world.store.get(Site, HOME) is None)


async def test_departments() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/departments", json={"site": HOME, "name": "d" * 128, "floors": ["1", "-1", "G"]})
        key = made.json()["id"]
        assert fields(await client.post("/departments", json={"site": HOME, "name": "d" * 129})).keys() == {"/name"}
        elsewhere = (await client.post("/departments", json={"site": FOREIGN, "name": "x"})).json()["id"]
        assert fields(await client.post("/users", json=user(department=elsewhere))).keys() == {"/department"}
        person = await client.post("/users", json=user(department=key))
        assert person.status_code == 201
        assert problem(await client.delete(f"/departments/{key}", headers={"If-Match": "*"})) == "not-empty"
        moved = await client.patch(f"/departments/{key}", json={"site": FOREIGN}, headers={"If-Match": "*"})
        assert problem(moved) == "site-fixed"


async def test_library_list_is_all_or_nothing() -> None:
    world = await a_world()
    async with world.client() as client:
        await allow(world, MAC)
        listed = {"items": [{"mac": "0c:11:05:00:00:02"}, {"mac": MAC}, {"mac": "0C1105000003", "site": HOME}]}
        refused = await client.post("/mac-library", json=listed)
        assert problem(refused) == "already-exists"
        assert [error["path"] for error in refused.json()["errors"]] == ["/items/1/mac"]
        bad = {"items": [{"mac": "zz"}, {"mac": "0C1105000004", "sit": 1}]}
        assert fields(await client.post("/mac-library", json=bad)).keys() == {"/items/0/mac", "/items/1/sit"}
        unsited = {"items": [{"mac": "0C1105000004", "site": "none"}, {"mac": MAC}]}
        assert fields(await client.post("/mac-library", json=unsited)).keys() == {"/items/0/site", "/items/1/mac"}
        twice = {"items": [{"mac": "0C1105000004"}, {"mac": "0c1105000004"}]}
        assert problem(await client.post("/mac-library", json=twice)) == "invalid-fields"
        assert len((await world.store.list(LibraryMac, "all", "")).items) == 1
        many = {"items": [{"mac": f"0C11051{n:05X}"} for n in range(250)]}
        assert (await client.post("/mac-library", json=many)).status_code == 201
        assert fields(await client.post("/mac-library", json={"mac": "x"})).keys() == {"/mac"}
        assert problem(await client.post("/mac-library", json={"mac": MAC})) == "already-exists"


async def test_removing_a_mac_in_use() -> None:
    world = await a_world()
    async with world.client() as client:
        added = await client.post("/mac-library", json={"mac": MAC, "site": HOME})
        match = {"If-Match": added.headers["etag"]}
        owner = (await client.post("/users", json=user())).json()["id"]
        await client.put(f"/devices/{MAC}", json=monitor(owner))
        refused = await client.delete(f"/mac-library/{MAC}", headers=match)
        assert problem(refused) == "mac-in-use"
        assert MAC in refused.json()["detail"]
        before = await world.store.sequence()
        assert (await client.delete(f"/mac-library/{MAC}?revoke=true", headers=match)).status_code == 204
        assert await world.store.get(Device, MAC) is None
        kinds = {(change.kind, change.deleted) for change in await world.store.changes(before)}
        assert kinds >= {("Device", True), ("Account", True), ("LibraryMac", True), ("RingPlan", False), ("AuditEntry", False)}
        assert problem(await client.put(f"/devices/{MAC}", json=device())) == "mac-not-in-library"


async def test_remote_sessions() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client(Role.INSTALLER, HOME) as client:
        await client.put(f"/devices/{MAC}", json=device())
        opened = await client.post("/devices/0c:11:05:00:00:01/remote-sessions", json={"seconds": 600})
        assert opened.status_code == 201
        body = opened.json()
        assert is_session_id(body["id"])
        assert body["link"].startswith(f"https://{body['id']}.remote.localhost:9443/.portico/open/")
        path = f"/remote-sessions/{body['id']}"
        assert (await client.get(path)).json()["state"] == "waiting"
        assert "link" not in (await client.get(path)).json()
        assert [item["id"] for item in (await client.get(f"/devices/{MAC}/remote-sessions")).json()["items"]] == [body["id"]]
        assert (await client.delete(path)).status_code == 204
        assert (await client.delete(path)).status_code == 204
        ended = (await client.get(path)).json()
        assert (ended["state"], ended["end_reason"], ended["opened_by"]) == ("ended", "revoked", "token:installer-home")
        second = (await client.post(f"/devices/{MAC}/remote-sessions")).json()
        world.clock[0] += 61
        assert (await client.get(f"/remote-sessions/{second['id']}")).json()["state"] == "ended"
        assert fields(await client.post(f"/devices/{MAC}/remote-sessions", json={"seconds": 3601})).keys() == {"/seconds"}


async def test_a_device_readded_at_another_site_hides_its_old_sessions() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client, world.client(Role.INSTALLER, FOREIGN) as foreign:
        await client.put(f"/devices/{MAC}", json=device())
        old = (await client.post(f"/devices/{MAC}/remote-sessions")).json()["id"]
        await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})
        assert (await client.put(f"/devices/{MAC}", json=device(FOREIGN))).status_code == 201
        assert (await foreign.get(f"/devices/{MAC}/remote-sessions")).json()["items"] == []
        assert problem(await foreign.get(f"/remote-sessions/{old}")) == "not-found"


async def test_every_change_is_audited_in_its_own_batch() -> None:
    world = await a_world()
    batches: list[list[str]] = []
    batch = world.store.batch

    async def watched(writes, *, durable=True):  # type: ignore[no-untyped-def]
        batches.append([type(write.record).__name__ for write in writes if isinstance(write, Put)])
        return await batch(writes, durable=durable)

    world.store.batch = watched  # type: ignore[method-assign]
    async with world.client() as client:
        await client.post("/mac-library", json={"mac": MAC})
        person = (await client.post("/users", json=user(app=True))).json()["id"]
        made = await client.put(f"/devices/{MAC}", json=monitor(person))
        changed = await client.patch(f"/devices/{MAC}", json={"name": "Hall"}, headers={"If-Match": made.headers["etag"]})
        session = (await client.post(f"/devices/{MAC}/remote-sessions")).json()["id"]
        await client.delete(f"/remote-sessions/{session}")
        await client.delete(f"/devices/{MAC}", headers={"If-Match": changed.headers["etag"]})
        site = await client.post("/sites", json={"name": "x"})
        await client.delete(f"/sites/{site.json()['id']}", headers={"If-Match": "*"})
        assert len(batches) == 9
        assert all(AuditEntry.__name__ in names for names in batches)
        entries = (await client.get("/audit")).json()["items"]
    assert len(entries) == 9
    world_clock_order = sorted(entry["action"] for entry in entries)
    assert world_clock_order == sorted(
        [
            "mac-library.added",
            "user.added",
            "device.added",
            "device.changed",
            "remote-session.opened",
            "remote-session.revoked",
            "device.deleted",
            "site.created",
            "site.deleted",
        ]
    )
    change = next(entry for entry in entries if entry["action"] == "device.changed")
    assert f'"{change["before"]}"' == made.headers["etag"]
    assert f'"{change["after"]}"' == changed.headers["etag"]
    assert change["changed"] == ["name"]
    assert (change["actor"], change["site"], change["object"]) == ("token:distributor-all", HOME, f"device/{MAC}")
    deleted = next(entry for entry in entries if entry["action"] == "device.deleted")
    assert f'"{deleted["before"]}"' == changed.headers["etag"]
    assert deleted["after"] == 0


async def test_first_token_is_made_once() -> None:
    store, entropy = MemoryStore(), counted_entropy()
    secrets = await asyncio.gather(*(ensure_admin_token(store, entropy, 1.0) for _ in range(4)))
    assert len([secret for secret in secrets if secret]) == 1
    assert await ensure_admin_token(store, entropy, 2.0) is None
    world = await a_world(store=MemoryStore())
    secret = await add_admin_token(world.store, "ops", Role.READ_ONLY, entropy, 1.0)
    async with world.bearer(secret) as client:
        assert (await client.get("/sites")).status_code == 200
    assert len((await store.list(AuditEntry, "all", "")).items) == 1


async def test_an_ended_device_is_no_longer_named_by_any_session() -> None:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        await client.put(f"/devices/{MAC}", json=device())
        for _ in range(3):
            await client.post(f"/devices/{MAC}/remote-sessions")
        await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})
    found = (await world.store.list(RemoteSession, "mac", MacAddress(MAC).text)).items
    assert [stored.record.end_reason for stored in found] == ["device deleted"] * 3
