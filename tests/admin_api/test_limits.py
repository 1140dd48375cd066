"""The bounds of a request, against the bare ASGI app: bodies beyond the limit are refused unread, slow ones are cut."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from admin_api.limits import Limits
from admin_api.ports import AdminLimits
from registry.records import Role
from tests.admin_api.world import World, a_world, problem

LIMIT = 1024 * 1024


async def request(world: World, headers: list[tuple[bytes, bytes]], chunks: AsyncIterator[bytes]) -> tuple[int, list[Any], int]:
    """Status, the messages sent, and how many body bytes were taken."""
    secret = world.secrets[Role.DISTRIBUTOR, ""]
    taken = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/v1/sites",
        "raw_path": b"/api/v1/sites",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {secret}".encode()), (b"content-type", b"application/json"), *headers],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    await world.app(scope, receive, send)
    return sent[0]["status"], sent, taken


async def chunks(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def test_a_declared_giant_is_refused_before_it_is_read() -> None:
    world = await a_world()
    status, sent, taken = await request(world, [(b"content-length", b"314572800")], chunks(65536, 4800))
    assert status == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert taken <= LIMIT + 65536  # thrown away for the client's sake, never kept
    assert world.seen.requests[-1][2] == 413


async def test_an_undeclared_giant_is_cut() -> None:
    world = await a_world()
    status, sent, taken = await request(world, [(b"transfer-encoding", b"chunked")], chunks(65536, 4800))
    assert status == 413
    assert taken <= 2 * (LIMIT + 65536)
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_headers_that_contradict() -> None:
    world = await a_world()
    for headers in (
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"5"), (b"content-length", b"6")],
        [(b"content-length", b"+5")],
        [(b"content-length", "٥".encode())],
        [(b"content-length", b"9" * 30)],
    ):
        assert (await request(world, headers, chunks(1, 1)))[0] == 400


async def test_a_body_that_does_not_come() -> None:
    world = await a_world(limits=AdminLimits(request_seconds=0.05))

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    status, _, _ = await request(world, [(b"transfer-encoding", b"chunked")], never())
    assert status == 408


async def test_an_answer_that_does_not_come() -> None:
    world = await a_world(limits=AdminLimits(request_seconds=0.05))

    async def never(*_arguments: object) -> None:
        await asyncio.Event().wait()

    world.store.get = never  # type: ignore[assignment, method-assign]
    async with world.client() as client:
        answer = await client.get("/sites/home")
    assert problem(answer) == "too-slow"


async def test_a_reader_that_stopped_is_hung_up() -> None:
    world = await a_world(limits=AdminLimits(request_seconds=0.05))
    aborted: list[bool] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "state": {"abort": lambda: aborted.append(True)}}
    await Limits(app, world.ports)(scope, None, send)  # type: ignore[arg-type]
    assert aborted == [True]


async def test_other_protocols_are_not_served() -> None:
    world = await a_world()
    await Limits(world.app, world.ports)({"type": "websocket"}, None, None)  # type: ignore[arg-type]
    assert world.seen.requests == []
