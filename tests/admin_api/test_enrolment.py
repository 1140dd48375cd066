"""Enrolment windows and rotations of tokens through the API; what becomes of both when a device or a site goes."""

import pytest

from autop.enrolment import fits, seal_context
from registry.enrolment import Enrolment, EnrolmentWindow, TokenRotation, device_window, site_window
from registry.logs import AuditEntry
from registry.mac import MacAddress
from registry.records import Device, Role
from registry.store import Put
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, fields, problem

MAC = "0C1105000001"
WEEK = 7 * 24 * 60


async def a_house() -> World:
    world = await a_world()
    await allow(world, MAC)
    async with world.client() as client:
        assert (await client.put(f"/devices/{MAC}", json=device())).status_code == 201
    return world


async def audited(world: World) -> list[tuple[str, str]]:
    found = (await world.store.list(AuditEntry, "all", "")).items
    return [(stored.record.action, stored.record.actor) for stored in found]


async def test_a_window_is_opened_shown_and_closed() -> None:
    world = await a_house()
    async with world.client(Role.INSTALLER, HOME) as client:
        answer = await client.post("/enrolment-windows", json={"site": HOME, "minutes": 90})
        assert answer.status_code == 201
        made = answer.json()
        stored = await world.store.get(EnrolmentWindow, site_window(HOME))
        assert stored is not None
        secret = world.vault.open(stored.record.sealed_token, seal_context(stored.record.key))
        token = made["enrolment_url"].removeprefix("https://gw.test:8443/autop/").rstrip("/")
        assert fits(token, secret, MacAddress(MAC), world.clock[0])
        assert (made["site"], made["mac"], made["state"]) == (HOME, None, "open")
        assert stored.record.ends - stored.record.opened == 90 * 60
        path = answer.headers["location"].removeprefix("/api/v1")
        shown = await client.get(path)
        assert "enrolment_url" not in shown.json()
        assert token not in shown.text
        assert shown.headers["etag"] == answer.headers["etag"]
        listed = (await client.get("/enrolment-windows")).json()["items"]
        assert listed == [shown.json()]
        assert problem(await client.delete(path, headers={"If-Match": '"1"'})) == "precondition-failed"
        assert problem(await client.delete(path)) == "precondition-required"
        assert (await client.delete(path, headers={"If-Match": shown.headers["etag"]})).status_code == 204
        assert problem(await client.get(path)) == "not-found"
    assert await world.store.get(EnrolmentWindow, site_window(HOME)) is None
    names = [action for action, _ in await audited(world)]
    assert "enrolment-window.opened" in names
    assert "enrolment-window.closed" in names
    assert token not in str([stored.record for stored in (await world.store.list(AuditEntry, "all", "")).items])


async def test_one_window_per_scope_and_one_that_is_over_makes_room() -> None:
    world = await a_house()
    async with world.client() as client:
        body = {"mac": MAC, "minutes": 1}
        first = await client.post("/enrolment-windows", json=body)
        assert first.json()["mac"] == MAC
        assert problem(await client.post("/enrolment-windows", json=body)) == "already-exists"
        assert (await client.post("/enrolment-windows", json={"site": HOME, "minutes": 1})).status_code == 201
        world.clock[0] += 60.0
        assert (await client.get(f"/enrolment-windows/{first.json()['id']}")).json()["state"] == "over"
        second = await client.post("/enrolment-windows", json=body)
        assert second.status_code == 201
        assert second.json()["enrolment_url"] != first.json()["enrolment_url"]
        assert problem(await client.get(f"/enrolment-windows/{first.json()['id']}")) == "not-found"
        assert len((await client.get("/enrolment-windows")).json()["items"]) == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"minutes": 5}, "/site"),
        ({"site": HOME, "mac": MAC, "minutes": 5}, "/site"),
        ({"site": HOME, "minutes": WEEK + 1}, "/minutes"),
        ({"site": HOME, "minutes": 0}, "/minutes"),
        ({"site": HOME}, "/minutes"),
        ({"mac": "zz", "minutes": 5}, "/mac"),
    ],
)
async def test_bodies_that_are_no_window(body: dict[str, object], path: str) -> None:
    world = await a_house()
    async with world.client() as client:
        assert fields(await client.post("/enrolment-windows", json=body)).keys() == {path}
        assert (await client.post("/enrolment-windows", json={"site": HOME, "minutes": WEEK})).status_code == 201


async def test_foreign_sites_and_devices_are_unknown() -> None:
    world = await a_house()
    async with world.client(Role.INSTALLER, FOREIGN) as client:
        for body in ({"site": HOME}, {"site": "none"}, {"mac": MAC}, {"mac": "0C11050000FF"}):
            assert problem(await client.post("/enrolment-windows", json={**body, "minutes": 5})) == "not-found"


async def test_the_same_request_twice_opens_one_window() -> None:
    world = await a_house()
    async with world.client() as client:
        again = [
            await client.post("/enrolment-windows", json={"site": HOME, "minutes": 5}, headers={"Idempotency-Key": "k"})
            for _ in range(2)
        ]
    assert again[0].json() == again[1].json()


async def test_who_enrolled_in_a_window() -> None:
    world = await a_house()
    async with world.client() as client:
        window = (await client.post("/enrolment-windows", json={"site": HOME, "minutes": 5})).json()["id"]
        assert (await client.get(f"/enrolment-windows/{window}/devices")).json()["items"] == []
        await world.store.batch([Put(Enrolment(MacAddress(MAC), HOME, window, "192.0.2.7", 1_790_000_000.0, 1_790_000_060.0))])
        (one,) = (await client.get(f"/enrolment-windows/{window}/devices")).json()["items"]
        assert (one["mac"], one["address"], one["contested"]) == (MAC, "192.0.2.7", False)
        assert one["enrolled"] == "2026-09-21T14:14:20.000Z"
        assert (await client.get(f"/devices/{MAC}/status")).json()["enrolled"] == one["enrolled"]


async def test_a_rotation_shows_that_it_waits_and_never_the_token() -> None:
    world = await a_house()
    async with world.client(Role.SUB_INSTALLER, HOME) as client:
        assert problem(await client.get(f"/devices/{MAC}/token-rotation")) == "not-found"
        assert (await client.get(f"/devices/{MAC}/status")).json()["token_rotation"] is None
        before = await world.store.get(Device, MAC)
        answer = await client.post(f"/devices/{MAC}/token-rotation")
        assert answer.status_code == 201
        stored = await world.store.get(TokenRotation, MAC)
        assert stored is not None
        token = world.vault.open_text(stored.record.sealed_token, f"device-token:{MAC}")
        shown = await client.get(f"/devices/{MAC}/token-rotation")
        assert shown.json() == answer.json()
        assert shown.json()["sent"] is False
        assert shown.headers["etag"] == answer.headers["etag"]
        status = await client.get(f"/devices/{MAC}/status")
        assert status.json()["token_rotation"] == shown.json()["since"]
        assert all(token not in text.text for text in (answer, shown, status))
        assert await world.store.get(Device, MAC) == before, "what the device has is good, and nobody's ETag is stale"
        assert (await client.post(f"/devices/{MAC}/token-rotation")).status_code == 201
        again = await world.store.get(TokenRotation, MAC)
        assert again is not None
        assert world.vault.open_text(again.record.sealed_token, f"device-token:{MAC}") != token
    assert [action for action, _ in await audited(world)].count("device.token-rotated") == 2


async def test_a_token_that_the_device_may_hold_is_not_replaced() -> None:
    world = await a_house()
    async with world.client() as client:
        await client.post(f"/devices/{MAC}/token-rotation")
        stored = await world.store.get(TokenRotation, MAC)
        assert stored is not None
        await world.store.batch([Put(TokenRotation(stored.record.mac, HOME, stored.record.sealed_token, 1.0, "me", sent=True))])
        assert problem(await client.post(f"/devices/{MAC}/token-rotation")) == "under-way"


async def test_what_goes_with_a_device_and_with_a_site() -> None:
    world = await a_house()
    async with world.client() as client:
        await client.post(f"/devices/{MAC}/token-rotation")
        window = (await client.post("/enrolment-windows", json={"mac": MAC, "minutes": 5})).json()["id"]
        await client.post("/enrolment-windows", json={"site": HOME, "minutes": 5})
        await world.store.batch([Put(Enrolment(MacAddress(MAC), HOME, window, "192.0.2.7", 1.0))])
        etag = (await client.get(f"/devices/{MAC}")).headers["etag"]
        assert (await client.delete(f"/devices/{MAC}", headers={"If-Match": etag})).status_code == 204
        assert await world.store.get(TokenRotation, MAC) is None
        assert await world.store.get(Enrolment, MAC) is None
        assert await world.store.get(EnrolmentWindow, device_window(MacAddress(MAC))) is None
        assert await world.store.get(EnrolmentWindow, site_window(HOME)) is not None
        etag = (await client.get(f"/sites/{HOME}")).headers["etag"]
        assert (await client.delete(f"/sites/{HOME}", headers={"If-Match": etag})).status_code == 204
        assert await world.store.get(EnrolmentWindow, site_window(HOME)) is None
