"""Forwards, ports of sessions, pinned certificates: what the API says of Remote Control beyond the session itself."""

from dataclasses import replace

from admin_api.ports import RemoteControl
from registry.mac import MacAddress
from registry.records import RemoteSession
from registry.store import Put
from registry.web_certificate import WebCertificate
from tests.admin_api.world import HOME, World, a_world, allow, device, problem

MAC = "0C1105000001"


async def with_a_device(ports: tuple[int, ...] = ()) -> World:
    world = await a_world()
    remote = RemoteControl(
        link=lambda session, path: f"https://gw.test:{session.port}{path}", ports=ports, forward_address=lambda: ("gw.test", 9443)
    )
    object.__setattr__(world.ports, "remote_control", remote)
    await allow(world, MAC, HOME)
    async with world.client() as client:
        assert (await client.put(f"/devices/{MAC}", json=device(HOME))).status_code == 201
    return world


async def test_a_forward_needs_its_sites_leave_and_is_a_session() -> None:
    world = await with_a_device()
    async with world.client() as client:
        path = f"/devices/{MAC}/forwards"
        assert problem(await client.post(path, json={"service": "ssh"})) == "forward-off"
        assert (await client.get(f"/sites/{HOME}")).json()["allow_forward"] is False
        changed = await client.patch(f"/sites/{HOME}", json={"allow_forward": True}, headers={"If-Match": "*"})
        assert changed.json()["allow_forward"] is True
        for wrong in ("web", "telnet", "", 22):
            assert problem(await client.post(path, json={"service": wrong})) == "invalid-fields"
        made = (await client.post(path, json={"service": "rtsp", "seconds": 120})).json()
        assert (made["service"], made["host"], made["port"], made["state"]) == ("rtsp", "gw.test", 9443, "waiting")
        (listed,) = (await client.get(f"/devices/{MAC}/remote-sessions")).json()["items"]
        assert (listed["id"], "ticket" in listed) == (made["id"], False)
        audit = (await client.get("/audit")).json()["items"]
        assert audit[0]["action"] == "forward.opened"
        assert made["ticket"] not in str(audit)
        assert (await client.delete(f"/remote-sessions/{made['id']}")).status_code == 204


async def test_each_session_has_a_port_until_all_are_taken() -> None:
    world = await with_a_device((9501, 9502))
    async with world.client() as client:
        path = f"/devices/{MAC}/remote-sessions"
        first, second = [(await client.post(path)).json() for _ in range(2)]
        assert {one["link"].split("/.portico")[0] for one in (first, second)} == {"https://gw.test:9501", "https://gw.test:9502"}
        assert problem(await client.post(path)) == "too-many-sessions"
        # One that was revoked, and one whose link nobody opened in time, leave their ports to others.
        await client.delete(f"/remote-sessions/{first['id']}")
        third = (await client.post(path)).json()
        assert third["link"].split("/.portico")[0] == first["link"].split("/.portico")[0]
        world.clock[0] += 61.0
        fourth = await client.post(path)
        assert fourth.status_code == 201
        stored = await world.store.get_unique(RemoteSession, "port", fourth.json()["link"].split(":")[2].split("/")[0])
        assert stored is not None
        assert stored.record.id == fourth.json()["id"]


async def test_the_pin_of_a_devices_page_is_shown_and_forgotten() -> None:
    world = await with_a_device()
    path = f"/devices/{MAC}/web-certificate"
    async with world.client() as client:
        assert problem(await client.get(path)) == "not-found"
        pin = WebCertificate(MacAddress(MAC), HOME, "ab" * 32, world.clock[0], "token:t")
        await world.store.batch([Put(replace(pin, other="cd" * 32, other_seen=world.clock[0]))])
        shown = await client.get(path)
        assert (shown.json()["spki_sha256"], shown.json()["refused_spki_sha256"]) == ("ab" * 32, "cd" * 32)
        assert problem(await client.delete(path)) == "precondition-required"
        assert (await client.delete(path, headers={"If-Match": shown.headers["etag"]})).status_code == 204
        assert problem(await client.get(path)) == "not-found"
        await world.store.batch([Put(pin)])
        assert (await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})).status_code == 204
        assert await world.store.get(WebCertificate, MAC) is None
