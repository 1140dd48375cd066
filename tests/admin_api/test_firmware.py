"""/firmware and /upgrades: what is refused, what a crash between two steps leaves, who may, and how an upgrade ends early."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from autop.upgrade_states import Event, step
from registry.firmware import DeviceUpgrade, FirmwareImage, FirmwareUpgrade
from registry.logs import AuditEntry
from registry.records import Role
from registry.store import Put
from tests.admin_api.world import FOREIGN, HOME, NoTurns, World, a_world, allow, device, fields, problem

CONTENT = b"rom" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
IMAGE = SHA256[:24]
OCTETS = {"Content-Type": "application/octet-stream"}
DOORS = ("0C1105000001", "0C1105000002")
MONITOR = "0C1105000003"


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "r29", "version": "29.30.10.465", "sha256": SHA256, "size": len(CONTENT), "log": "Bells ring", **changes}


async def uploaded(world: World) -> None:
    async with world.client() as client:
        assert (await client.post("/firmware", json=body())).status_code == 201
        assert (await client.put(f"/firmware/{IMAGE}/content", content=CONTENT, headers=OCTETS)).status_code == 200


async def a_house() -> World:
    """The home site with two R29 and a monitor, and an uploaded image for R29."""
    world = await a_world()
    async with world.client() as client:
        for mac in (*DOORS, MONITOR):
            await allow(world, mac, HOME)
        for mac in DOORS:
            assert (await client.put(f"/devices/{mac}", json=device())).status_code == 201
        monitor = {"site": HOME, "kind": 2, "model": "C313", "name": "Flat"}
        assert (await client.put(f"/devices/{MONITOR}", json=monitor)).status_code == 201
    await uploaded(world)
    return world


def upgrade(**changes: Any) -> dict[str, Any]:
    return {"site": HOME, "image": IMAGE, **changes}


async def members(world: World, key: str) -> list[DeviceUpgrade]:
    return [found.record for found in (await world.store.list(DeviceUpgrade, "upgrade", key)).items]


async def happens(world: World, key: str, *events: Event) -> None:
    """Let the same happen to the first device of an upgrade."""
    found = (await world.store.list(DeviceUpgrade, "upgrade", key)).items[0]
    record = found.record
    for event in events:
        record = step(record, event, world.clock[0])
    await world.store.batch([Put(record, expect=found.version)])


async def set_state(world: World, key: str, state: str) -> None:
    found = await world.store.get(FirmwareUpgrade, key)
    assert found is not None
    fields = {name: getattr(found.record, name) for name in found.record.__slots__}
    await world.store.batch([Put(FirmwareUpgrade(**{**fields, "state": type(found.record.state)(state)}))])


async def test_an_image_is_named_then_uploaded_and_audited() -> None:
    world = await a_world()
    async with world.client() as client:
        made = await client.post("/firmware", json=body(), headers={"Idempotency-Key": "1"})
        again = await client.post("/firmware", json=body(), headers={"Idempotency-Key": "1"})
        assert made.json() == again.json()
        assert (made.json()["id"], made.json()["model"], made.json()["stored"]) == (IMAGE, "R29", None)
        assert problem(await client.post("/firmware", json=body())) == "already-exists"
        assert problem(await client.post("/firmware", json=body(sha256="ab" * 32))) == "already-exists"
        path = f"/firmware/{IMAGE}/content"
        put = await client.put(path, content=CONTENT, headers={**OCTETS, "Idempotency-Key": "2"})
        assert put.status_code == 200
        assert put.json()["stored"] is not None
        twice = await client.put(path, content=CONTENT, headers={**OCTETS, "Idempotency-Key": "2"})
        assert (twice.json(), twice.headers["idempotency-replayed"]) == (put.json(), "true")
        assert world.shelf.held == {IMAGE: CONTENT}
        world.shelf.held.clear()  # as after a restore from a backup
        assert (await client.get(f"/firmware/{IMAGE}")).json()["available"] is False
        again = await client.put(path, content=CONTENT, headers=OCTETS)
        assert (again.status_code, again.json()["available"]) == (200, True)
        tag = {"If-Match": put.headers["etag"]}
        assert problem(await client.patch(f"/firmware/{IMAGE}", json={"log": "x"})) == "precondition-required"
        changed = await client.patch(f"/firmware/{IMAGE}", json={"log": "Bells ring\nlouder"}, headers=tag)
        assert changed.json()["log"] == "Bells ring\nlouder"
        assert fields(await client.patch(f"/firmware/{IMAGE}", json={"version": "29.1.1.1"}, headers={"If-Match": "*"}))
        assert problem(await client.delete(f"/firmware/{IMAGE}", headers=tag)) == "precondition-failed"
        assert (await client.delete(f"/firmware/{IMAGE}", headers={"If-Match": "*"})).status_code == 204
    assert world.shelf.held == {}
    entries = [found.record.action for found in (await world.store.list(AuditEntry, "all", "")).items]
    assert sorted(entries) == ["firmware.changed", "firmware.created", "firmware.deleted", "firmware.uploaded"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"version": "2915.30.10.510"}, "/version"),
        ({"version": "29.30"}, "/version"),
        ({"model": "R99"}, "/model"),
        ({"model": "R28", "version": "28.1.1.1"}, "/model"),
        ({"size": 0}, "/size"),
        ({"size": 2**40}, "/size"),
        ({"sha256": "AB" * 32}, "/sha256"),
        ({"log": "\x1b[2J"}, "/log"),
        ({"log": "x" * 5000}, "/log"),
    ],
)
async def test_an_image_for_another_model_or_with_a_wrong_field_is_refused(changes: dict[str, Any], path: str) -> None:
    world = await a_world()
    async with world.client() as client:
        assert list(fields(await client.post("/firmware", json=body(**changes)))) == [path]


async def test_only_the_named_bytes_are_taken_and_nothing_else_stays() -> None:
    world = await a_world()
    path = f"/firmware/{IMAGE}/content"
    async with world.client() as client:
        await client.post("/firmware", json=body())
        for wrong in (b"", CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"x"):
            assert list(fields(await client.put(path, content=wrong, headers=OCTETS))) == [""]
        assert problem(await client.put(path, json={})) == "unsupported-media-type"
        world.shelf.refuses = OSError(errno.ENOSPC, "full")
        assert problem(await client.put(path, content=CONTENT, headers=OCTETS)) == "no-room"
        world.shelf.refuses = OSError(errno.EBUSY, "busy")
        busy = await client.put(path, content=CONTENT, headers=OCTETS)
        assert (problem(busy), busy.headers["retry-after"]) == ("busy", "30")
        assert problem(await client.put("/firmware/none/content", content=CONTENT, headers=OCTETS)) == "not-found"
    assert (world.shelf.held, world.shelf.drafts) == ({}, 0)
    record = await world.store.get(FirmwareImage, IMAGE)
    assert record is not None
    assert record.record.stored is None


async def test_an_upload_may_be_large_and_is_not_collected() -> None:
    large = bytes(3 * 1024 * 1024)
    digest = hashlib.sha256(large).hexdigest()
    world = await a_world()

    async def in_pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(large), 65_536):
            yield large[place : place + 65_536]

    async with world.client() as client:
        await client.post("/firmware", json=body(sha256=digest, size=len(large)))
        answer = await client.put(f"/firmware/{digest[:24]}/content", content=in_pieces(), headers=OCTETS)
        assert answer.status_code == 200
        too_large = await client.put("/sites/x/landlines", content=large, headers={"Content-Type": "application/json"})
        assert problem(too_large) == "body-too-large"


async def test_a_token_for_some_sites_reads_images_and_changes_none() -> None:
    world = await a_house()
    async with world.client(Role.DISTRIBUTOR, HOME) as client:
        assert (await client.get(f"/firmware/{IMAGE}")).status_code == 200
        for answer in (
            await client.post("/firmware", json=body()),
            await client.put(f"/firmware/{IMAGE}/content", content=CONTENT, headers=OCTETS),
            await client.patch(f"/firmware/{IMAGE}", json={}, headers={"If-Match": "*"}),
            await client.delete(f"/firmware/{IMAGE}", headers={"If-Match": "*"}),
        ):
            assert problem(answer) == "forbidden"


async def test_an_upgrade_takes_every_fitting_device_or_those_that_are_named() -> None:
    world = await a_house()
    async with world.client(Role.SUB_INSTALLER, HOME) as client:
        made = await client.post("/upgrades", json=upgrade(reset_after_upgrade=True))
        assert made.status_code == 201
        shown = made.json()
        assert (shown["devices"], shown["state"], shown["version"]) == (2, "pending", "29.30.10.465")
        assert shown["starts"] == "2026-09-21T14:13:20.000Z"
        assert shown["ends"] == "2026-09-28T14:13:20.000Z"
        listed = (await client.get(f"/upgrades/{shown['id']}/devices")).json()["items"]
        assert [item["mac"] for item in listed] == list(DOORS)
        assert {item["state"] for item in listed} == {"pending"}
        busy = await client.post("/upgrades", json=upgrade(devices=[DOORS[1]]))
        assert problem(busy) == "already-upgrading"
        assert DOORS[1] in busy.json()["detail"]
        assert (await client.get("/upgrades")).json()["items"] == [shown]


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"devices": [DOORS[0], MONITOR, "0C1105000009"]}, ["/devices/1", "/devices/2"]),
        ({"devices": []}, ["/devices"]),
        ({"starts": "2027-01-01T00:00:00Z"}, ["/starts"]),
        ({"ends": "2026-09-20T00:00:00Z"}, ["/ends"]),
        ({"ends": "2027-01-20T00:00:00Z"}, ["/ends"]),
        ({"first_percent": 0}, ["/first_percent"]),
        ({"hours": 25}, ["/hours"]),
        ({"first_hour": 24}, ["/first_hour"]),
    ],
)
async def test_what_an_upgrade_cannot_be(changes: dict[str, Any], paths: list[str]) -> None:
    world = await a_house()
    async with world.client() as client:
        assert list(fields(await client.post("/upgrades", json=upgrade(**changes)))) == paths


async def test_an_image_without_content_and_a_site_without_its_models() -> None:
    world = await a_world()
    async with world.client() as client:
        await client.post("/firmware", json=body())
        assert problem(await client.post("/upgrades", json=upgrade())) == "firmware-missing"
        await client.put(f"/firmware/{IMAGE}/content", content=CONTENT, headers=OCTETS)
        assert list(fields(await client.post("/upgrades", json=upgrade()))) == ["/devices"]
        assert problem(await client.post("/upgrades", json=upgrade(image="none"))) == "not-found"
        assert problem(await client.post("/upgrades", json=upgrade(site="none"))) == "not-found"


async def test_a_pending_upgrade_is_changed_whole_and_one_that_has_begun_is_not() -> None:
    world = await a_house()
    async with world.client() as client:
        made = await client.post("/upgrades", json=upgrade(devices=[DOORS[0]]))
        path = f"/upgrades/{made.json()['id']}"
        change = {"devices": [DOORS[1]], "hours": 4, "first_hour": 1, "first_percent": 10}
        changed = await client.patch(path, json=change, headers={"If-Match": made.headers["etag"]})
        assert (changed.status_code, changed.json()["hours"], changed.json()["devices"]) == (200, 4, 1)
        assert [one.mac.text for one in await members(world, made.json()["id"])] == [DOORS[1]]
        assert (await client.post("/upgrades", json=upgrade(devices=[DOORS[0]]))).status_code == 201  # it is free again
        assert problem(await client.patch(path, json={"devices": None}, headers={"If-Match": "*"})) == "already-upgrading"
        await set_state(world, made.json()["id"], "processing")
        assert problem(await client.patch(path, json={"hours": 5}, headers={"If-Match": "*"})) == "upgrade-begun"


async def test_an_image_that_an_upgrade_needs_stays_until_the_upgrade_is_over() -> None:
    world = await a_house()
    async with world.client() as client:
        made = (await client.post("/upgrades", json=upgrade())).json()
        assert problem(await client.delete(f"/firmware/{IMAGE}", headers={"If-Match": "*"})) == "firmware-in-use"
        await set_state(world, made["id"], "failed")
        assert (await client.delete(f"/firmware/{IMAGE}", headers={"If-Match": "*"})).status_code == 204


@pytest.mark.parametrize("lead", range(12))
async def test_an_image_is_never_deleted_under_an_upgrade_that_is_being_made(lead: int) -> None:
    world = await a_house()
    world.app.state.turns = NoTurns()

    async def delete() -> int:
        for _ in range(lead):  # so many turns of the loop later, to meet the other at every point
            await asyncio.sleep(0)
        async with world.client() as client:
            return (await client.delete(f"/firmware/{IMAGE}", headers={"If-Match": "*"})).status_code

    async with world.client() as client:
        made, deleted = await asyncio.gather(client.post("/upgrades", json=upgrade()), delete())
    assert (made.status_code, deleted) in ((201, 409), (404, 204))
    assert (IMAGE in world.shelf.held) == (deleted == 409)


async def test_deleting_cancels_what_was_not_fetched_and_marks_what_was() -> None:
    world = await a_house()
    async with world.client() as client:
        made = (await client.post("/upgrades", json=upgrade())).json()
        path = f"/upgrades/{made['id']}"
        await happens(world, made["id"], Event.DUE, Event.TOLD)
        await set_state(world, made["id"], "processing")
        assert problem(await client.delete(path)) == "precondition-required"
        assert (await client.delete(path, headers={"If-Match": "*"})).status_code == 204
        assert await members(world, made["id"]) == []
        made = (await client.post("/upgrades", json=upgrade())).json()
        path = f"/upgrades/{made['id']}"
        await happens(world, made["id"], Event.DUE, Event.SENT)
        await set_state(world, made["id"], "processing")
        marked = await client.delete(path, headers={"If-Match": "*"})
        assert (marked.status_code, marked.json()["cancelled"]) == (200, True)
        assert [one.state for one in await members(world, made["id"])] == ["fetched", "cancelled"]
        await happens(world, made["id"], Event.PROVEN)
        assert (await client.delete(path, headers={"If-Match": "*"})).status_code == 204


async def test_an_upgrade_of_a_foreign_site_is_not_there() -> None:
    world = await a_house()
    async with world.client() as client:
        made: httpx.Response = await client.post("/upgrades", json=upgrade())
    async with world.client(Role.INSTALLER, FOREIGN) as client:
        assert (await client.get("/upgrades")).json()["items"] == []
        assert problem(await client.get(f"/upgrades/{made.json()['id']}/devices")) == "not-found"
        assert problem(await client.post("/upgrades", json=upgrade())) == "not-found"
