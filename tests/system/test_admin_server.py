"""The admin API on a real socket, over SQLite: bounds of connections and heads, bodies of 300 MiB, events, stop."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from admin_api.net.server import AdminServer, ServerLimits
from registry.engines.sqlite import SqliteStore
from registry.records import Role
from tests.admin_api.world import HOME, World, a_world, allow, device, user

pytestmark = pytest.mark.system

MAC = "0C1105000001"


@asynccontextmanager
async def served(
    folder: Path, limits: ServerLimits | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[World, str, int]]:
    """A world over SQLite, served on a free port."""
    store = await SqliteStore.open(folder / "registry.db")
    world = await a_world(store=store)
    server = AdminServer(world.app, limits=limits)
    address, port = await server.start(host, 0)
    try:
        yield world, address, port
    finally:
        await server.stop(2.0)
        await store.close()


def client(world: World, address: str, port: int, role: Role = Role.DISTRIBUTOR) -> httpx.AsyncClient:
    shown = f"[{address}]" if ":" in address else address
    headers = {"Authorization": f"Bearer {world.secrets[role, '']}"}
    return httpx.AsyncClient(base_url=f"http://{shown}:{port}/api/v1", headers=headers, trust_env=False)


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send the parts, then read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_whole_story(tmp_path: Path, host: str) -> None:
    async with served(tmp_path, host=host) as (world, address, port), client(world, address, port) as http:
        await allow(world, MAC)
        made = await http.put(f"/devices/{MAC}", json=device())
        assert made.status_code == 201
        assert "server" not in made.headers
        shown = await http.get(f"/devices/{MAC}")
        assert shown.headers["etag"] == made.headers["etag"]
        raced = await asyncio.gather(
            *(http.patch(f"/devices/{MAC}", json={"name": f"N{n}"}, headers={"If-Match": made.headers["etag"]}) for n in range(6))
        )
        assert sorted(answer.status_code for answer in raced) == [200] + [412] * 5
        key = {"Idempotency-Key": "k"}
        same = await asyncio.gather(*(http.post("/users", json=user(), headers=key) for _ in range(6)))
        assert {answer.status_code for answer in same} == {201}
        assert len({(answer.text, answer.headers["etag"]) for answer in same}) == 1
        found = await http.get(f"/users/{same[0].json()['id']}")
        assert found.headers["etag"] == same[0].headers["etag"]
        change = next(entry for entry in (await http.get("/audit")).json()["items"] if entry["action"] == "device.changed")
        winner = next(answer for answer in raced if answer.status_code == 200)
        assert f'"{change["after"]}"' == winner.headers["etag"]


async def test_events_over_the_wire(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as (world, address, port),
        client(world, address, port) as http,
        http.stream("GET", "/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        await anext(lines)
        made = (await http.post("/sites", json={"name": "New"})).json()["id"]
        async for line in lines:
            if line.startswith("data: ") and made in line:
                assert json.loads(line[6:]) == {"object": f"site/{made}", "site": made, "deleted": False}
                break


async def test_stop_ends_open_streams_at_once(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "registry.db")
    world = await a_world(store=store)
    server = AdminServer(world.app)
    address, port = await server.start("127.0.0.1", 0)
    async with client(world, address, port) as http, http.stream("GET", "/events") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(5):
            await server.stop(grace=60.0)
            assert [line async for line in lines][-1] == ""
    await store.close()


async def test_300_mib_are_never_kept(tmp_path: Path) -> None:
    async with served(tmp_path) as (world, _, port):
        token = world.secrets[Role.DISTRIBUTOR, ""].encode()
        head = (
            b"POST /api/v1/sites HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
            + token
            + b"\r\n"
        )
        declared = await exchange(port, head + b"Content-Length: 314572800\r\n\r\n")
        assert declared.startswith(b"HTTP/1.1 413 ")
        assert b"body-too-large" in declared
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0
        with pytest.raises(ConnectionError):
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(300):
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        writer.close()
        assert sent < 32 * 1024 * 1024  # what sockets and loop hold, not what the app took
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
        assert world.seen.requests[-1][2] == 413


async def test_heads_have_a_deadline_and_a_size(tmp_path: Path) -> None:
    async with served(tmp_path, ServerLimits(head_seconds=0.2, keep_alive_seconds=1)) as (_, _, port):
        for start in (b"", b"GET /api/v1/problems HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            async with asyncio.timeout(5):
                assert (await exchange(port, start)).startswith(b"HTTP/1.1 408 ")
        async with asyncio.timeout(5):
            huge = await exchange(port, b"GET /api/v1/problems HTTP/1.1\r\nHost: x\r\nX-Big: " + b"y" * 40_000)
        assert huge.startswith(b"HTTP/1.1 400 ")
        async with asyncio.timeout(5):
            kept = await exchange(port, b"GET /api/v1/problems/busy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.startswith(b"HTTP/1.1 200 ")  # and closed after the keep-alive time


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"POST /api/v1/sites HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/sites HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /api/v1/sites HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
    ],
    ids=["tls", "two hosts", "bad header", "bad chunk", "length and chunked", "upgrade"],
)
async def test_garbage_is_refused_without_a_trace(tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with served(tmp_path) as (_, _, port), asyncio.timeout(10):
        answer = await exchange(port, garbage)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
    assert caplog.text == ""


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with served(tmp_path, ServerLimits(connections=3)) as (_, _, port), asyncio.timeout(10):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        probe = b"GET /api/v1/problems/busy HTTP/1.1\r\nHost: x\r\n\r\n"
        held[-1][1].write(probe)
        assert (await held[-1][0].readline()).startswith(b"HTTP/1.1 200 ")
        assert await exchange(port, probe) == b""
        for _, writer in held:
            writer.close()


async def test_a_client_that_leaves_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(tmp_path) as (world, address, port):
        token = world.secrets[Role.DISTRIBUTOR, ""].encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /api/v1/sites HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + b"\r\nContent-Length: 50\r\n\r\n{"
        )
        await writer.drain()
        writer.close()
        async with client(world, address, port) as http:
            assert (await http.get(f"/sites/{HOME}")).status_code == 200
        assert reader is not None
    assert caplog.text == ""


async def test_a_taken_port_is_an_oserror(tmp_path: Path) -> None:
    async with served(tmp_path) as (world, address, port):
        with pytest.raises(OSError, match="in use"):
            await AdminServer(world.app).start(address, port)
