"""Remote Control over real sockets: a visitor, both listeners, an agent and a device page, in one process."""

import asyncio
import base64
import hashlib
import re

import pytest

from tests.system.peers import needs
from tests.system.tunnel_site import read_answer, read_head, tunnel_site

pytestmark = pytest.mark.system


async def device_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A small web server with the things device pages do. Answers /echo with the request it saw."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        method, target, _ = first.split(" ")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        await answer(writer, method, target, head, headers, body)
        await writer.drain()


async def answer(
    writer: asyncio.StreamWriter, method: str, target: str, head: bytes, headers: dict[str, str], body: bytes
) -> None:
    host = headers["host"]
    if target == "/":
        page = b'<html><script src="/app.js"></script><img src="logo.png"><form method="post" action="/login">'
        reply(writer, 200, page, "Content-Type: text/html")
    elif target == "/app.js":
        reply(writer, 200, b"document.title = 'device'", "Content-Type: application/javascript")
    elif target == "/logo.png":
        reply(writer, 200, bytes(range(256)) * 100, "Content-Type: image/png")
    elif target == "/login":
        cookie = "Set-Cookie: SessionId=1; Domain=192.168.1.20; Path=/\r\nSet-Cookie: token=2; HttpOnly"
        reply(writer, 302, b"", f"Location: http://{host}/home", cookie)
    elif target == "/elsewhere":
        reply(writer, 302, b"", "Location: http://evil.example/x")
    elif target == "/https":
        reply(writer, 308, b"", f"Location: https://{host.split(':')[0]}/")
    elif target == "/chunked":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    elif target == "/old":
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
        await writer.drain()
        writer.close()
    elif target == "/strict":
        policy = f"Content-Security-Policy: default-src 'self' http://{host}"
        reply(writer, 200, b"x", "Strict-Transport-Security: max-age=1", "Alt-Svc: h3", policy)
    elif target == "/digest":
        ways = 'WWW-Authenticate: Digest realm="a", nonce="1"\r\nWWW-Authenticate: Basic realm="a"'
        reply(writer, 401, b"", ways)
    else:
        reply(writer, 200, head + body, "Content-Type: text/plain", f"X-Method: {method}")


def reply(writer: asyncio.StreamWriter, status: int, body: bytes, *lines: str) -> None:
    head = "\r\n".join([f"HTTP/1.1 {status} Said", *lines, f"Content-Length: {len(body)}"])
    writer.write(head.encode("latin-1") + b"\r\n\r\n" + body)


async def test_a_page_its_script_its_image_and_its_form() -> None:
    async with tunnel_site(device_page) as site:
        browser = await site.browser()
        status, headers, body = await browser.get("/")
        assert (status, body[:6]) == (200, b"<html>")
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert (await browser.get("/app.js"))[2] == b"document.title = 'device'"
        assert (await browser.get("/logo.png"))[2] == bytes(range(256)) * 100
        status, headers, _ = await browser.request(
            "POST", "/login", "Content-Type: application/x-www-form-urlencoded", f"Origin: {browser.origin}", body=b"u=admin&p=x"
        )
        assert status == 302
        assert headers["location"] == f"{browser.origin}/home"
        assert headers["set-cookie"] == "SessionId=1; Path=/\ntoken=2; HttpOnly"


async def test_what_the_device_sees_of_a_request() -> None:
    async with tunnel_site(device_page) as site:
        browser = await site.browser()
        assert site.agent is not None
        device = site.agent._services["web"]
        _, headers, body = await browser.request(
            "POST",
            "/echo//a/../b?x=%41",
            f"Origin: {browser.origin}",
            f"Referer: {browser.origin}/settings?a=b",
            f"Cookie: a=1; {browser.cookie}; token=2",
            'Authorization: Digest username="admin"',
            "X-Forwarded-For: 1.2.3.4",
            "Forwarded: for=1.2.3.4",
            "X-Odd-CASE: kept",
            body=b"payload",
        )
        seen = body.decode("latin-1").split("\r\n")
        own = f"{device[0]}:{device[1]}"
        assert headers["x-method"] == "POST"
        assert seen[0] == "POST /echo//a/../b?x=%41 HTTP/1.1"
        assert f"Host: {own}" in seen
        assert f"Origin: http://{own}" in seen
        assert f"Referer: http://{own}/settings?a=b" in seen
        assert "Cookie: a=1; token=2" in seen
        assert 'Authorization: Digest username="admin"' in seen
        assert "X-Odd-CASE: kept" in seen
        assert not any(line.lower().startswith(("x-forwarded", "forwarded", "connection")) for line in seen)
        assert seen[-1] == "payload"


async def test_answers_of_every_framing_and_headers_that_are_not_the_devices_to_send() -> None:
    async with tunnel_site(device_page) as site:
        browser = await site.browser()
        assert (await browser.get("/chunked"))[2] == b"hello world"
        assert (await browser.get("/old"))[2] == b"until the end"
        _, headers, _ = await browser.get("/strict")
        assert "strict-transport-security" not in headers
        assert "alt-svc" not in headers
        assert headers["content-security-policy"].split("\n")[0] == f"default-src 'self' {browser.origin}"
        status, headers, _ = await browser.get("/digest")
        assert status == 401
        assert [way.split(" ")[0] for way in headers["www-authenticate"].split("\n")] == ["Digest", "Basic"]
        status, headers, body = await browser.request("HEAD", "/logo.png")
        assert (status, headers["content-length"], body) == (200, "25600", b"")


@needs("curl")
async def test_curl_logs_in_with_digest_although_the_nonce_holds_for_one_connection() -> None:
    """Some firmware ties its nonce to the connection: one connection of the visitor is one of the device."""
    nonces = iter(range(100))

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce, realm = f"n{next(nonces)}", "HTTP API"
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
            fields = dict(re.findall(r'(\w+)="?([^",\s]+)"?', head.partition("Authorization: Digest ")[2].partition("\r\n")[0]))
            secret = hashlib.md5(f"admin:{realm}:secret".encode()).hexdigest()
            wanted = hashlib.md5(b"GET:/api/info?a=%41//b").hexdigest()
            if fields.get("nonce") == nonce:
                middle = ":".join(fields[name] for name in ("nonce", "nc", "cnonce", "qop"))
                if fields["response"] == hashlib.md5(f"{secret}:{middle}:{wanted}".encode()).hexdigest():
                    reply(writer, 200, b"logged in")
                    continue
            reply(writer, 401, b"", f'WWW-Authenticate: Digest realm="{realm}", nonce="{nonce}", qop="auth"')

    async with tunnel_site(page) as site:
        browser = await site.browser()
        command = ["curl", "-s", "--digest", "-u", "admin:secret", "--path-as-is", "--cacert", site.certificate.chain]
        command += ["--resolve", f"{browser.host}:127.0.0.1", "-b", browser.cookie, f"{browser.origin}/api/info?a=%41//b"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"logged in"


async def test_redirects_that_leave_the_device_show_a_page() -> None:
    async with tunnel_site(device_page) as site:
        browser = await site.browser()
        status, headers, body = await browser.get("/elsewhere")
        assert status == 502
        assert "location" not in headers
        assert b"http://evil.example/x" in body
        status, headers, _ = await browser.get("/https")
        assert (status, headers["location"]) == (307, f"{browser.origin}/")
        status, _, body = await browser.get("/")  # this device's channel does not offer what its page asks for
        assert status == 502
        assert b"wants HTTPS" in body
        assert (await browser.get("/"))[0] == 200


async def test_one_connection_carries_request_after_request() -> None:
    async with tunnel_site(device_page) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        for number in range(5):
            writer.write(browser.head("GET", f"/echo{number}"))
            status, _, body = await read_answer(reader)
            assert status == 200
            assert body.startswith(f"GET /echo{number} ".encode())
        writer.write(browser.head("GET", "/echo5") + browser.head("GET", "/echo6"))  # pipelined
        assert (await read_answer(reader))[2].startswith(b"GET /echo5 ")
        assert (await read_answer(reader))[2].startswith(b"GET /echo6 ")
        writer.close()


async def test_websocket_passes_and_a_foreign_origin_does_not() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        key = head.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\nfirst".encode()
        )
        while data := await reader.read(4096):
            writer.write(data)

    async with tunnel_site(page) as site:
        browser = await site.browser()
        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        )
        reader, writer = await browser.connect()
        writer.write(browser.head("GET", "/live", *upgrade, f"Origin: {browser.origin}"))
        status, headers = await read_head(reader)
        assert status == 101
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert await reader.readexactly(5) == b"first"
        for message in (b"\x81\x05hello", bytes(range(256)) * 300):
            writer.write(message)
            assert await reader.readexactly(len(message)) == message
        writer.close()
        for origin in ("Origin: https://evil.example", "X-None: 1"):
            status, _, _ = await browser.get("/live", *upgrade[:1], *upgrade[2:], origin)
            assert status == 403
