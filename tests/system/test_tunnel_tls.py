"""Devices' own HTTPS pages through Remote Control: old TLS, keys that are pinned, redirects between the two schemes."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.store import Delete, Put
from registry.web_certificate import WebCertificate
from tests.system.peers import free_tcp_port, needs, program
from tests.system.tunnel_site import (
    MAC,
    Certificate,
    Site,
    make_certificate,
    read_answer,
    read_head,
    running,
    server_context,
    serving,
    tunnel_site,
)
from tunnel.net.local_service import LocalService

pytestmark = pytest.mark.system


def spki_of(certificate: Certificate) -> str:
    key = x509.load_pem_x509_certificate(Path(certificate.chain).read_bytes()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


async def secure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The page over TLS: says what it was asked, links to itself, and can send the browser back to http."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        host = head.split(b"Host: ")[1].split(b"\r\n")[0]
        if head.startswith(b"GET /plain"):
            location = b"http://" + host.partition(b":")[0] + b"/back"
            writer.write(b"HTTP/1.1 301 Moved\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
            continue
        body = b'<a href="https://' + host + b'/next">over TLS</a>' + head
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The page without TLS: everything but /back is sent to https, as some models do."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        path, host = head.split(b" ")[1], head.split(b"Host: ")[1].split(b"\r\n")[0].partition(b":")[0]
        if path == b"/back":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
        else:
            location = b"https://" + host + path
            writer.write(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")


@contextlib.asynccontextmanager
async def both(tmp_path: Path) -> AsyncIterator[tuple[Site, Certificate]]:
    """A device with both pages, the plain one redirecting."""
    certificate = make_certificate(str(tmp_path), "device")
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(tunnel_site())
        web = await stack.enter_async_context(serving(redirecting))
        tls = await stack.enter_async_context(serving(secure, server_context(certificate)))
        await stack.enter_async_context(online(site, {"web": web, "web-tls": LocalService(*tls, tls=True)}))
        yield site, certificate


@contextlib.asynccontextmanager
async def online(site: Site, services: Mapping[str, LocalService | tuple[str, int]]) -> AsyncIterator[None]:
    """A device whose channel offers these services, connected."""
    async with running(site.make_agent(services)):
        await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        yield


async def test_a_redirect_to_https_moves_the_session_and_not_the_browser(tmp_path: Path) -> None:
    async with both(tmp_path) as (site, certificate):
        browser = await site.browser()
        status, headers, _ = await browser.get("/login.html?a=b")
        # Not 308: a browser would remember that, and go in circles for ever.
        assert (status, headers["location"]) == (307, f"{browser.origin}/login.html?a=b")
        assert headers["cache-control"] == "no-store"
        status, _, body = await browser.get("/login.html?a=b", f"Origin: {browser.origin}")
        assert status == 200
        assert f'<a href="{browser.origin}/next">'.encode() in body
        assert b"Origin: https://127.0.0.1:" in body
        assert site.recorder.certificates == [("pinned", spki_of(certificate))]
        # A link to the other scheme moves the session when it is followed, and never leads away.
        status, headers, _ = await browser.get("/.portico/http//evil.example/x")
        assert (status, headers["location"]) == (302, f"{browser.origin}//evil.example/x")
        assert (await browser.get("/back"))[2] == b"plain"
        assert (await browser.get("/.portico/https/"))[1]["location"] == f"{browser.origin}/"
        # ... and back, where the device wants that.
        status, headers, _ = await browser.get("/plain")
        assert (status, headers["location"]) == (302, f"{browser.origin}/back")
        assert (await browser.get("/back"))[2] == b"plain"


async def test_a_kept_connection_follows_the_move(tmp_path: Path) -> None:
    async with both(tmp_path) as (site, _):
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("GET", "/back"))
        assert (await read_answer(reader))[2] == b"plain"
        assert (await browser.get("/"))[0] == 307  # another connection learns of it
        writer.write(browser.head("GET", "/x"))
        assert b"over TLS" in (await read_answer(reader))[2]
        writer.close()


async def test_a_device_that_serves_https_alone_is_met_there(tmp_path: Path) -> None:
    certificate = make_certificate(str(tmp_path), "device")
    async with tunnel_site() as site, serving(secure, server_context(certificate)) as tls:
        dead = ("127.0.0.1", free_tcp_port())
        async with online(site, {"web": dead, "web-tls": LocalService(*tls, tls=True)}):
            browser = await site.browser()
            assert (await browser.get("/"))[0] == 200


async def test_another_key_is_refused_and_told_once_until_it_is_accepted(tmp_path: Path) -> None:
    async with both(tmp_path) as (site, certificate):
        old = "ab" * 32
        await site.store.batch([Put(WebCertificate(MAC, "site-1", old, 1.0, "token:x"))])
        browser = await site.browser()
        assert (await browser.get("/"))[0] == 307
        for _ in range(3):
            status, _, body = await browser.request("POST", "/login", f"Origin: {browser.origin}", body=b"password=secret")
            assert status == 502
            assert b"another certificate" in body
        assert site.recorder.certificates == [("changed", old, spki_of(certificate))]
        assert site.recorder.visitor_refusals == ["certificate"] * 3
        stored = await site.store.get(WebCertificate, MAC.text)
        assert stored is not None
        assert (stored.record.spki, stored.record.other) == (old, spki_of(certificate))
        await site.store.batch([Delete(WebCertificate, MAC.text)])
        assert (await browser.get("/"))[0] == 200
        assert site.recorder.certificates[-1] == ("pinned", spki_of(certificate))


async def test_an_agent_that_does_not_say_whom_it_met_is_not_believed() -> None:
    async with tunnel_site() as site, serving(secure) as plain, online(site, {"web-tls": plain}):
        browser = await site.browser()
        status, _, body = await browser.get("/")
        assert status == 502
        assert b"does not answer" in body


@needs("openssl")
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2"])
async def test_a_device_with_old_tls_and_a_weak_certificate(version: str, tmp_path: Path) -> None:
    key, chain, port = tmp_path / "key.pem", tmp_path / "cert.pem", free_tcp_port()
    openssl = program("openssl") or ""
    await _run(
        *(openssl, "req", "-x509", "-newkey", "rsa:1024", "-sha1", "-nodes", "-subj", "/CN=device", "-days", "2"),
        *("-keyout", str(key), "-out", str(chain)),
    )
    command = [openssl, "s_server", "-accept", f"127.0.0.1:{port}", version, "-cipher", "ALL:@SECLEVEL=0", "-www", "-quiet"]
    server = await asyncio.create_subprocess_exec(
        *command,
        "-key",
        str(key),
        "-cert",
        str(chain),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        place = LocalService("127.0.0.1", port, tls=True)
        async with tunnel_site() as site, online(site, {"web-tls": place}):
            browser = await site.browser()
            await _listening(port)
            status, _, body = await browser.get("/")
            assert status == 200
            assert {"-tls1": b"TLSv1\n", "-tls1_1": b"TLSv1.1", "-tls1_2": b"TLSv1.2"}[version] in body
    finally:
        server.kill()
        await server.wait()


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert await process.wait() == 0, command


async def _listening(port: int) -> None:
    """Until the server takes connections: it has no way to say so."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def old_server(context: ssl.SSLContext, body: bytes, listener: socket.socket) -> None:
    """HTTP/1.0 over TLS as small firmware has it: the answer ends with the connection, and TLS's farewell is left out."""
    connection, _ = listener.accept()
    with context.wrap_socket(connection, server_side=True) as tls:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += tls.recv(4096)
        tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + body)
    # SSLSocket.close sends no close_notify


async def test_an_answer_that_ends_with_the_connection_arrives_whole(tmp_path: Path) -> None:
    context = server_context(make_certificate(str(tmp_path), "device"))
    body = os.urandom(3_000_000)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = LocalService("127.0.0.1", listener.getsockname()[1], tls=True)
        serving = asyncio.create_task(asyncio.to_thread(old_server, context, body, listener))
        async with tunnel_site() as site, online(site, {"web-tls": place}):
            browser = await site.browser()
            status, _, received = await browser.get("/log")
            assert (status, len(received), received == body) == (200, len(body), True)
        await serving


async def test_uploads_and_websockets_go_through_tls_too(tmp_path: Path) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Upgrade: websocket" in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            return
        digest, left = hashlib.sha256(), int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while left:
            data = await reader.read(min(left, 65_536))
            digest.update(data)
            left -= len(data)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())

    certificate = make_certificate(str(tmp_path), "device")
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(tunnel_site())
        tls = await stack.enter_async_context(serving(page, server_context(certificate)))
        await stack.enter_async_context(online(site, {"web-tls": LocalService(*tls, tls=True)}))
        browser = await site.browser()
        image = os.urandom(1_000_000) * 10
        status, _, body = await browser.request("POST", "/upgrade", f"Origin: {browser.origin}", body=image)
        assert (status, body.decode()) == (200, hashlib.sha256(image).hexdigest())
        reader, writer = await browser.connect()
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Origin: {browser.origin}")
        writer.write(browser.head("GET", "/live", *upgrade))
        assert (await read_head(reader))[0] == 101
        sending = asyncio.create_task(_send(writer, image[:2_000_000]))
        assert await reader.readexactly(2_000_000) == image[:2_000_000]
        await sending
        writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    for start in range(0, len(data), 65_536):
        writer.write(data[start : start + 65_536])
        await writer.drain()
