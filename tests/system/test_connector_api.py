"""The client of devices' HTTP API against devices that misbehave, on loopback: each has a word, nothing is done twice."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gateway.connector.device_api import MAX_ANSWER, MAX_WAITING, DeviceApi
from gateway.connector.device_list import Listed
from gateway.connector.refusal import Refusal, Why
from gateway.connector.targets import Dialled, Targets
from registry.mac import MacAddress
from tests.system.tunnel_site import make_certificate, read_body

pytestmark = pytest.mark.system

DEVICE = Listed(MacAddress("0C1105AABB01"), "192.168.1.20", frozenset(("web", "web-tls")), "portico", "secret")
CHALLENGE = (
    'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="HTTP API", nonce="{}", qop="auth"\r\n'
    "Content-Length: 0\r\n{}\r\n"
)
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Device:
    """What it was asked, with which Authorization, over how many connections."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0

    async def read(self, reader: asyncio.StreamReader) -> bool:
        """One request; False if the client has gone."""
        try:
            _, headers = await read_head_of_request(reader)
        except asyncio.IncompleteReadError:
            return False
        self.requests.append(json.loads(await read_body(reader, headers)))
        self.proofs.append(headers.get("authorization", ""))
        return True


async def read_head_of_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = raw[:-4].split("\r\n")
    return first, {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}


def told(retcode: int = 0, message: str = "OK", data: Any = None) -> bytes:
    body = json.dumps({"retcode": retcode, "message": message, "data": data or {}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@contextlib.asynccontextmanager
async def api_of(
    serve: Callable[[Device, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[DeviceApi, Device]]:
    """A client, and a device that serves each connection so; with `tls` it has a second port for that."""
    device, tasks = Device(), set[asyncio.Task[None]]()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        device.connections += 1
        device.at_once += 1
        device.most_at_once = max(device.most_at_once, device.at_once)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await serve(device, reader, writer)
        finally:
            device.at_once -= 1
            tasks.discard(task)
            writer.close()

    servers = {"web": await asyncio.start_server(run, "127.0.0.1", 0)}
    if tls is not None:
        servers["web-tls"] = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)

    class Loopback:
        """Targets that lead to this device."""

        async def connect(self, _device: Listed, service: str) -> Dialled:
            if service not in servers:
                raise Refusal(Why.UNREACHABLE)
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, servers[service].sockets[0].getsockname())
            return Dialled(sock, "192.168.1.20")

    try:
        yield DeviceApi(cast(Targets, Loopback()), os.urandom), device
    finally:
        for server in servers.values():
            server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))


async def refusal(api: DeviceApi, seconds: float = 5.0) -> tuple[Why, str]:
    with pytest.raises(Refusal) as refused:
        await api.ask(DEVICE, "relay", "trig", {"num": 1}, seconds)
    return refused.value.why, refused.value.said


@pytest.mark.parametrize(
    ("answer", "why", "said"),
    [
        (told(-100, "no such relay"), Why.REFUSED, "no such relay"),
        (told(7, "x" * 500), Why.REFUSED, "x" * 64),
        (told(7, "\u202edaer"), Why.REFUSED, "retcode 7"),
        (told(True), Why.BAD_ANSWER, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", Why.BAD_ANSWER, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", Why.BAD_ANSWER, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, Why.BAD_ANSWER, ""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_ANSWER + 1), Why.BAD_ANSWER, ""),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Why.API_FORBIDDEN, ""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Why.API_MISSING, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n", Why.API_MISSING, ""),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Why.REFUSED, "HTTP 503"),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n", Why.API_LOGIN, ""),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Digest nonce\r\nContent-Length: 0\r\n\r\n", Why.API_LOGIN, ""),
        (b"SSH-2.0-dropbear\r\n\r\n", Why.NO_ANSWER, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", Why.NO_ANSWER, ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Why.NO_ANSWER, ""),
        (b"", Why.NO_ANSWER, ""),
    ],
)
async def test_each_answer_has_its_word(answer: bytes, why: Why, said: str) -> None:
    async def serve(device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await device.read(reader):
            writer.write(answer)
            await writer.drain()

    async with api_of(serve) as (api, device):
        assert await refusal(api) == (why, said)
        assert len(device.requests) <= 2  # never a third time, whatever came back


async def test_a_device_that_says_nothing_is_waited_for_no_longer_than_asked() -> None:
    async def serve(device: Device, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await device.read(reader)
        await asyncio.Event().wait()

    async with api_of(serve) as (api, device):
        assert await refusal(api, 0.2) == (Why.NO_ANSWER, "")
        assert len(device.requests) == 1


async def test_a_wrong_password_is_tried_once_and_a_stale_nonce_again() -> None:
    nonces = iter(("one", "two", "three", "four", "five"))

    async def serve(device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await device.read(reader):
            writer.write(CHALLENGE.format(next(nonces), "").encode())

    async with api_of(serve) as (api, device):
        assert await refusal(api) == (Why.API_LOGIN, "")
        assert ["nonce" in proof for proof in device.proofs] == [False, True]
        assert device.connections == 1


async def test_a_device_that_hangs_up_after_each_answer_gets_a_connection_for_each() -> None:
    """It does not say so. The first command is lost, told as such, and not sent twice."""

    async def serve(device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await device.read(reader):
            writer.write(told() if device.proofs[-1] else CHALLENGE.format("n", "").encode())
            await writer.drain()

    async with api_of(serve) as (api, device):
        with contextlib.suppress(Refusal):  # whether the hang-up is seen before the second request is chance
            await api.ask(DEVICE, "relay", "trig", {"num": 1}, 5.0)
        assert len(device.proofs) <= 2
        for _ in range(2):
            await api.ask(DEVICE, "relay", "trig", {"num": 1}, 5.0)


async def test_one_request_at_a_time_and_a_queue_with_an_end() -> None:
    go = asyncio.Event()

    async def serve(device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await device.read(reader):
            await go.wait()
            writer.write(told())
            await writer.drain()

    async with api_of(serve) as (api, device):
        asking = [asyncio.create_task(api.ask(DEVICE, "system", "info", {}, 5.0)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        assert await refusal(api) == (Why.BUSY, "")
        go.set()
        await asyncio.gather(*asking)
        assert len(device.requests) == MAX_WAITING
        assert device.most_at_once == 1


async def test_a_device_that_wants_https_gets_it(tmp_path: Any) -> None:
    """As some models redirect with 308; the certificate is its own."""
    certificate = make_certificate(str(tmp_path))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.chain, certificate.key)

    async def serve(device: Device, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure = writer.get_extra_info("ssl_object") is not None
        while await device.read(reader):
            if not secure:
                writer.write(b"HTTP/1.1 308 Moved\r\nLocation: https://192.168.1.20/api\r\nContent-Length: 0\r\n\r\n")
            elif not device.proofs[-1]:
                writer.write(CHALLENGE.format("n", "").encode())
            else:
                writer.write(told(data={"a": "b"}))

    async with api_of(serve, tls) as (api, device):
        for _ in range(2):
            assert await api.ask(DEVICE, "system", "info", {}, 5.0) == {"a": "b"}
        assert len(device.requests) == 4  # plain, challenged, done; then done at once
