"""Server-sent events, read straight from the ASGI app: scope, deletions, resuming, heartbeats, bounds, the end."""

import asyncio
import json
from typing import Any

from admin_api.ports import AdminLimits
from admin_api.problems import PREFIX
from registry.configuration import DeviceFetches, Fetch
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import Role
from registry.store import Put
from tests.admin_api.world import FOREIGN, HOME, World, a_world, allow, device, user

MAC = "0C1105000001"


class Reader:
    """One client of /events: what came so far, and a way to wait for more."""

    def __init__(self, world: World, secret: str, headers: dict[str, str] | None = None) -> None:
        self.status = 0
        self.text = ""
        self.headers: dict[str, str] = {}
        self._came = asyncio.Event()
        self._left = asyncio.Event()
        sent = {"authorization": f"Bearer {secret}", **(headers or {})}
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"{PREFIX}/events",
            "raw_path": f"{PREFIX}/events".encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "server": ("test", 80),
            "client": ("test", 1),
        }
        self._asked = False
        self.done = asyncio.ensure_future(world.app(self._scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.text += message.get("body", b"").decode()
        self._came.set()

    async def until(self, text: str) -> None:
        """Wait until `text` has come."""
        async with asyncio.timeout(5):
            while text not in self.text:
                self._came.clear()
                await self._came.wait()

    async def leave(self) -> None:
        """Go away, and wait until the server noticed."""
        self._left.set()
        async with asyncio.timeout(5):
            await self.done

    @property
    def events(self) -> list[tuple[int, str, dict[str, Any]]]:
        """id, name and data of every event."""
        found = []
        for block in self.text.split("\n\n"):
            parts = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":") and ": " in line)
            if "event" in parts:
                found.append((int(parts.get("id", 0)), parts["event"], json.loads(parts["data"])))
        return found


async def test_scope_and_deletions() -> None:
    world = await a_world()
    await allow(world, MAC)
    everywhere = Reader(world, world.secrets[Role.READ_ONLY, ""])
    home = Reader(world, world.secrets[Role.READ_ONLY, HOME])
    foreign = Reader(world, world.secrets[Role.READ_ONLY, FOREIGN])
    for reader in (everywhere, home, foreign):
        await reader.until(": portico")
        assert reader.headers["content-type"].startswith("text/event-stream")
    async with world.client() as client:
        await client.put(f"/devices/{MAC}", json=device())
        await client.delete(f"/devices/{MAC}", headers={"If-Match": "*"})
        await client.post("/tokens", json={"name": "t", "role": "read-only"})
        person = (await client.post("/users", json=user(FOREIGN))).json()["id"]
    added = ("device", {"object": f"device/{MAC}", "site": HOME, "deleted": False})
    deleted = ("device", {"object": f"device/{MAC}", "site": HOME, "deleted": True})
    joined = ("user", {"object": f"user/{person}", "site": FOREIGN, "deleted": False})
    for reader in (everywhere, foreign):
        await reader.until(person)
    await home.until('"deleted": true')
    assert [event[1:] for event in foreign.events] == [joined]
    told = [event[1:] for event in everywhere.events]
    assert told[-2:] == [deleted, joined]
    assert [event[1:] for event in home.events][-1] == deleted
    assert set(map(str, told)) <= {str(added), str(deleted), str(joined)}
    for reader in (everywhere, home, foreign):
        await reader.leave()


async def test_what_operators_add_to_configurations_and_what_devices_fetch_is_told() -> None:
    world = await a_world()
    home, foreign = (Reader(world, world.secrets[Role.READ_ONLY, site]) for site in (HOME, FOREIGN))
    for reader in (home, foreign):
        await reader.until(": portico")
    async with world.client() as client:
        body = {"lines": ["Config.Settings.LOGLEVEL.Level = 3"]}
        assert (await client.put(f"/autop-commands/site/{HOME}", json=body, headers={"If-Match": "*"})).status_code < 300
    fetched = DeviceFetches(MacAddress(MAC), FOREIGN, (Fetch("e", 1.0, 1.0, "192.0.2.1"),))
    await world.store.batch([Put(fetched)])
    await home.until("event: autop-commands")
    await foreign.until("event: fetch")
    assert [event[1:] for event in home.events] == [
        ("autop-commands", {"object": f"autop-commands/site/{HOME}", "site": HOME, "deleted": False})
    ]
    assert [event[1:] for event in foreign.events] == [("fetch", {"object": f"fetch/{MAC}", "site": FOREIGN, "deleted": False})]
    for reader in (home, foreign):
        await reader.leave()


async def test_resuming_misses_nothing() -> None:
    world = await a_world()
    reader = Reader(world, world.secrets[Role.INSTALLER, ""])
    await reader.until(": portico")
    async with world.client() as client:
        first = (await client.post("/sites", json={"name": "a"})).json()["id"]
        await reader.until(first)
        await reader.leave()
        last = reader.events[-1][0]
        missed = [(await client.post("/sites", json={"name": "b"})).json()["id"] for _ in range(3)]
    again = Reader(world, world.secrets[Role.INSTALLER, ""], {"last-event-id": str(last)})
    await again.until(missed[-1])
    assert [event[2]["object"] for event in again.events] == [f"site/{site}" for site in missed]
    ids = [event[0] for event in again.events]
    assert ids == sorted(ids)
    assert ids[0] > last
    await again.leave()


async def test_lost_changes_say_reset() -> None:
    world = await a_world(store=MemoryStore(change_log=3))
    reader = Reader(world, world.secrets[Role.INSTALLER, ""], {"last-event-id": "1"})
    await reader.until("event: reset")
    async with asyncio.timeout(5):
        await reader.done


async def test_malformed_last_event_id() -> None:
    world = await a_world()
    for text in ("-1", "x", "1" * 19, ""):
        reader = Reader(world, world.secrets[Role.INSTALLER, ""], {"last-event-id": text})
        async with asyncio.timeout(5):
            await reader.done
        assert reader.status == 400


async def test_heartbeat_and_the_end_of_a_revoked_token() -> None:
    world = await a_world(limits=AdminLimits(heartbeat_seconds=0.01))
    reader = Reader(world, world.secrets[Role.READ_ONLY, HOME])
    await reader.until(": still here")
    async with world.client() as client:
        assert (await client.delete("/tokens/read-only-home", headers={"If-Match": "*"})).status_code == 204
    async with asyncio.timeout(5):
        await reader.done


async def test_streams_are_counted_and_let_go() -> None:
    world = await a_world(limits=AdminLimits(streams=3, streams_per_token=2))
    secret = world.secrets[Role.READ_ONLY, HOME]
    first, second = Reader(world, secret), Reader(world, secret)
    for reader in (first, second):
        await reader.until(": portico")
    third = Reader(world, secret)
    await third.done
    assert third.status == 429
    other = Reader(world, world.secrets[Role.READ_ONLY, ""])
    await other.until(": portico")
    full = Reader(world, world.secrets[Role.INSTALLER, ""])
    await full.done
    assert full.status == 429
    await first.leave()
    free = Reader(world, secret)
    await free.until(": portico")
    for reader in (second, other, free):
        await reader.leave()


async def test_streams_end_with_the_server_and_with_the_store() -> None:
    world = await a_world()
    reader = Reader(world, world.secrets[Role.READ_ONLY, ""])
    await reader.until(": portico")
    world.app.state.streams.close()
    async with asyncio.timeout(5):
        await reader.done
    world = await a_world()
    reader = Reader(world, world.secrets[Role.READ_ONLY, ""])
    await reader.until(": portico")
    await world.store.close()
    async with asyncio.timeout(5):
        await reader.done
