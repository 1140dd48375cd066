"""Pages: stable while things come and go, bound to their list, newest first for logs."""

import base64

import pytest

from registry.logs import CallRecord, CallResult, DoorEvent, time_key
from registry.mac import MacAddress
from registry.records import LibraryMac, Role
from registry.store import Delete, Put
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, fields, problem


async def fill(world: World, numbers: range, site: str = HOME) -> list[str]:
    macs = [f"0C1105{n:06X}" for n in numbers]
    for mac in macs:
        await allow(world, mac, site)
    return macs


async def test_walk_is_stable_under_inserts_and_deletes() -> None:
    world = await a_world()
    macs = await fill(world, range(0, 100, 2))
    seen: list[str] = []
    cursor: str | None = None
    async with world.client() as client:
        for step in range(100):
            query = {"limit": "7", **({"cursor": cursor} if cursor else {})}
            body = (await client.get("/mac-library", params=query)).json()
            assert len(body["items"]) <= 7
            seen += [item["mac"] for item in body["items"]]
            await allow(world, f"0C1105{step * 2 + 1:06X}", HOME)
            await world.store.batch([Delete(LibraryMac, seen[-1])])
            cursor = body["next"]
            if cursor is None:
                break
    assert len(seen) == len(set(seen))
    assert set(macs) <= set(seen)
    assert seen == sorted(seen)


async def test_several_sites_make_one_list() -> None:
    world = await a_world()
    await fill(world, range(5), HOME)
    await fill(world, range(10, 15), FOREIGN)
    async with world.client() as client:
        token = (await client.post("/tokens", json={"name": "both", "role": "distributor", "sites": [HOME, FOREIGN]})).json()[
            "token"
        ]
        for n in (*range(5), *range(10, 15)):
            body = device(HOME if n < 5 else FOREIGN)
            assert (await client.put(f"/devices/0C1105{n:06X}", json=body)).status_code == 201
    async with world.bearer(token) as client:
        found, cursor, pages = [], None, 0
        while True:
            body = (await client.get("/devices", params={"limit": "3", **({"cursor": cursor} if cursor else {})})).json()
            found += [item["mac"] for item in body["items"]]
            pages, cursor = pages + 1, body["next"]
            if cursor is None:
                break
        assert len(found) == len(set(found)) == 10
        assert pages == 4
        assert fields(await client.get("/call-log")).keys() == {"?site"}


async def test_cursor_is_bound_to_its_list() -> None:
    world = await a_world()
    await fill(world, range(5))
    async with world.client() as client, world.client(Role.DISTRIBUTOR, FOREIGN) as foreign:
        cursor = (await client.get("/mac-library?limit=2")).json()["next"]
        for path in (f"/devices?cursor={cursor}", f"/mac-library?site=home&cursor={cursor}"):
            assert problem(await client.get(path)) == "malformed-cursor"
        assert problem(await foreign.get(f"/mac-library?cursor={cursor}")) == "malformed-cursor"


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "W10",
        "ü",
        base64.urlsafe_b64encode(b'["a",0,null]').decode(),
        base64.urlsafe_b64encode(b"[" * 500).decode(),
        "a" * 1000,
    ],
)
async def test_hostile_cursors(cursor: str) -> None:
    world = await a_world()
    async with world.client() as client:
        assert problem(await client.get("/mac-library", params={"cursor": cursor})) == "malformed-cursor"


async def test_logs_are_newest_first() -> None:
    world = await a_world()
    mac = MacAddress("0C1105000001")
    for n in range(10):
        at = 1_790_000_000.0 + n
        site = HOME if n % 2 else FOREIGN
        call = CallRecord(time_key(at, n), site, "a", "b", at, ("x",), "x", 1.0, 2.0, CallResult.ANSWERED, "caller", 200, f"c{n}")
        door = DoorEvent(time_key(at, n), site, mac, str(n), at, 1, "dtmf", True)
        await world.store.batch([Put(call), Put(door)])
    async with world.client() as client, world.client(Role.PROPERTY_MANAGER, HOME) as own:
        for path, stamp in (("/call-log", "started"), ("/door-log", "at")):
            first = (await client.get(path, params={"limit": "4"})).json()
            rest = (await client.get(path, params={"cursor": first["next"]})).json()
            times = [item[stamp] for item in first["items"] + rest["items"]]
            assert len(times) == 10
            assert times == sorted(times, reverse=True)
            assert {item["site"] for item in (await own.get(path)).json()["items"]} == {HOME}
