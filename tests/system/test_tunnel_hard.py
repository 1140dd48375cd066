"""Remote Control where it hurts: big uploads, endless answers, peers that stop or go, guesses, ends of sessions."""

import asyncio
import contextlib
import hashlib
import resource
import secrets
from dataclasses import replace

import pytest

from registry.records import RemoteSession
from registry.store import Put
from tests.system.tunnel_site import DOMAIN, MAC, Browser, Site, eventually, read_answer, read_head, tunnel_site
from tunnel.net import exchange
from tunnel.net.visitor_connection import VisitorDeadlines
from tunnel.session import close_session

pytestmark = pytest.mark.system


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers everything with 200 and no body."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def hashing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes an upload and answers with its SHA-256."""
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    if b"100-continue" in head.lower():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = hashlib.sha256()
    while left:
        data = await reader.read(min(left, 65_536))
        digest.update(data)
        left -= len(data)
    body = digest.hexdigest().encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


def resident() -> int:
    """Bytes of memory this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def test_a_firmware_of_30_mb_goes_up_whole_in_bounded_memory() -> None:
    async with tunnel_site(hashing) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        part = secrets.token_bytes(1_000_000)
        before = peak = resident()
        writer.write(browser.head("POST", "/upgrade", f"Content-Length: {30 * len(part)}", "Expect: 100-continue"))
        assert (await read_head(reader))[0] == 100
        digest = hashlib.sha256()
        for _ in range(30):
            digest.update(part)
            writer.write(part)
            await writer.drain()
            peak = max(peak, resident())
        status, _, body = await read_answer(reader)
        writer.close()
        assert (status, body.decode()) == (200, digest.hexdigest())
        assert peak - before < 8_000_000, "visitor, gateway and device are all in this process"


async def test_a_chunked_upload_stays_chunked() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        body = await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with tunnel_site(page) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        _, _, body = await read_answer(reader)
        writer.close()
        assert body.replace(b"\r\n", b"") in (b"3abc2de0", b"5abcde0")


async def test_a_device_that_refuses_an_upload_early_is_heard() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()

    async with tunnel_site(page) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("POST", "/upgrade", "Content-Length: 30000000") + bytes(300_000))
        status, _, body = await read_answer(reader)
        assert (status, body) == (413, b"big")
        writer.close()


async def test_a_device_that_stops_reading_an_upload_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "DEVICE_STALL", 0.3)
    held = asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await held.wait()

    async with tunnel_site(stuck, deadlines=VisitorDeadlines(farewell=0.2)) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        size = 30_000_000
        writer.write(browser.head("POST", "/upgrade", f"Content-Length: {size}"))
        sent = 0

        async def upload() -> None:
            nonlocal sent
            with contextlib.suppress(ConnectionError):
                while sent < size:
                    writer.write(bytes(65_536))
                    await writer.drain()
                    sent += 65_536

        sending = asyncio.create_task(upload())
        async with asyncio.timeout(10):
            status, _, body = await read_answer(reader)
        assert (status, b"does not answer" in body) == (502, True)
        sending.cancel()
        writer.close()
        assert sent < size / 2, "what the device does not take, the visitor keeps"
        held.set()
        link = site.channel.link(MAC)
        assert link is not None
        await eventually(lambda: link.open_streams == 0)


async def test_an_endless_stream_comes_as_it_is_made_and_stops_when_the_visitor_goes() -> None:
    gone = asyncio.Event()
    frames = asyncio.Queue[bytes]()

    async def camera(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\nConnection: close\r\n\r\n")
        leaving = asyncio.create_task(reader.read())
        while not leaving.done():
            next_frame = asyncio.create_task(frames.get())
            await asyncio.wait((leaving, next_frame), return_when=asyncio.FIRST_COMPLETED)
            if next_frame.done():
                writer.write(next_frame.result())
            next_frame.cancel()
        leaving.exception()
        gone.set()

    async with tunnel_site(camera) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("GET", "/video.mjpg"))
        assert (await read_head(reader))[0] == 200
        for number in range(20):
            frame = b"--b\r\nframe %d\r\n" % number
            frames.put_nowait(frame)
            size = int((await reader.readline()).strip(), 16)
            assert await reader.readexactly(size + 2) == frame + b"\r\n", "each frame at once, not when a buffer is full"
        writer.close()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_visitor_who_leaves_in_the_middle_of_an_upload_frees_the_device() -> None:
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        taken = 0
        try:
            while data := await reader.read(65_536):
                taken += len(data)
        finally:
            seen.set_result(taken)

    async with tunnel_site(page) as site:
        browser = await site.browser()
        _, writer = await browser.connect()
        writer.write(browser.head("POST", "/upgrade", "Content-Length: 30000000") + bytes(200_000))
        await writer.drain()
        link = site.channel.link(MAC)
        assert link is not None
        await eventually(lambda: link.open_streams == 1)
        writer.transport.abort()
        assert await asyncio.wait_for(seen, 5) <= 200_000
        await eventually(lambda: link.open_streams == 0)


async def test_a_visitor_who_stops_reading_holds_up_nobody_else() -> None:
    sent = 0

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/big" not in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(3000):
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with tunnel_site(page) as site:
        browser = await site.browser()
        stalled = []
        for _ in range(10):
            reader, writer = await browser.connect()
            writer.write(browser.head("GET", "/big"))
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            stalled.append((reader, writer))
        still, last = 0, -1
        async with asyncio.timeout(20):
            while still < 3:
                still = still + 1 if sent == last else 0
                last = sent
                await asyncio.sleep(0.1)
        assert (await browser.get("/small"))[2] == b"ok"
        assert sent < 10 * 12_000_000, "kernel buffers and windows, not the whole answers"
        for _, writer in stalled:
            writer.transport.abort()


# ---- who gets in ------------------------------------------------------------------------------------------------


async def test_a_link_opens_once_and_in_time() -> None:
    async with tunnel_site(plain) as site:
        record, path = await site.new_session()
        browser = Browser(site, record.id)
        assert (await browser.request("HEAD", path))[0] == 404
        assert (await browser.request("POST", path))[0] == 404
        status, headers, _ = await browser.get(path)
        assert status == 303
        assert headers["set-cookie"].endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
        assert headers["cache-control"] == "no-store"
        assert (await browser.get(path))[0] == 404
        late, late_path = await site.new_session()
        site.wall[0] += 60.0
        assert (await Browser(site, late.id).get(late_path))[0] == 404
        assert site.recorder.sessions == [("opened", "127.0.0.1")]


async def test_of_two_browsers_with_one_link_one_gets_in() -> None:
    async with tunnel_site(plain) as site:
        record, path = await site.new_session()
        answers = await asyncio.gather(*(Browser(site, record.id).get(path) for _ in range(8)))
        assert sorted(status for status, _, _ in answers) == [303] + [404] * 7


async def test_everything_wrong_looks_the_same() -> None:
    async with tunnel_site(plain) as site:
        browser = await site.browser()
        unused, path = await site.new_session()
        other = await site.browser()
        await close_session(site.store, other.session, reason="revoked", wall=site.wall[0])
        wrong = Browser(site, browser.session, "__Host-portico=" + "A" * 43)
        answers = [
            await wrong.get("/"),
            await Browser(site, browser.session).get("/"),
            await Browser(site, "a" * 32, browser.cookie).get("/"),
            await Browser(site, unused.id, browser.cookie).get("/"),
            await Browser(site, unused.id).get(path[:-1] + ("A" if path[-1] != "A" else "B")),
            await browser.get("/.portico/x"),
            await browser.get("/.portico/close"),
            await browser.get("/.portico/open/"),
            await browser.get("/", host="127.0.0.1"),
            await browser.get("/", host=f"x.{browser.host}"),
            await browser.get("/", host=DOMAIN),
            await browser.get("/", host=browser.host.replace(DOMAIN, "evil.example")),
            await other.get("/"),
        ]
        assert len({(status, tuple(sorted(headers.items())), body) for status, headers, body in answers}) == 1
        assert answers[0][0] == 404
        assert (await browser.get("/"))[0] == 200


async def test_guessed_sessions_find_nothing_and_cost_no_session() -> None:
    async with tunnel_site(plain) as site:
        browser = await site.browser()
        assert (await browser.get("/"))[0] == 200
        letters = str.maketrans("0189", "abcd")
        guesses = [Browser(site, secrets.token_hex(16).translate(letters), browser.cookie) for _ in range(100)]
        answers = await asyncio.gather(*(guess.get("/") for guess in guesses))
        assert {status for status, _, _ in answers} == {404}
        assert site.recorder.visitor_refusals == ["no-session"] * 100
        assert site.visitors.live_sessions == 1


async def test_one_connection_serves_one_session() -> None:
    async with tunnel_site(plain) as site:
        first, second = await site.browser(), await site.browser()
        reader, writer = await first.connect()
        writer.write(first.head("GET", "/"))
        assert (await read_answer(reader))[0] == 200
        writer.write(second.head("GET", "/"))
        assert (await read_answer(reader))[0] == 404
        writer.close()


async def test_another_sites_page_cannot_act_through_the_visitors_browser() -> None:
    async with tunnel_site(plain) as site:
        browser = await site.browser()
        sibling = await site.browser()
        assert (await browser.request("POST", "/relay", f"Origin: {sibling.origin}", body=b"x"))[0] == 403
        assert (await browser.get("/x.png", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"))[
            0
        ] == 403
        assert (await browser.request("POST", "/relay", f"Origin: {browser.origin}"))[0] == 200


# ---- what a visitor may not send ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (
            "POST / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET http://192.168.1.1/ HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n", 400),
        ("CONNECT 192.168.1.1:22 HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nCookie: {cookie}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: " + "x" * 100_000 + "\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Length: \u0663\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
    ],
)
async def test_requests_that_never_reach_a_device(head: str, status: int) -> None:
    reached = asyncio.Event()

    async def page(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        reached.set()

    async with tunnel_site(page, deadlines=VisitorDeadlines(farewell=0.1)) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(head.format(host=browser.host, cookie=browser.cookie).encode())
        assert (await read_answer(reader))[0] == status
        writer.close()
        assert not reached.is_set()


async def test_a_slow_head_is_cut_off() -> None:
    async with tunnel_site(plain, deadlines=VisitorDeadlines(head=0.3)) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(3):
            assert await reader.read() == b""
        writer.close()
        assert "head-timeout" in site.recorder.visitor_refusals


# ---- devices that are not well -----------------------------------------------------------------------------------


async def test_an_offline_device_is_named_and_what_to_do() -> None:
    async with tunnel_site() as site:
        browser = await site.browser()
        status, headers, body = await browser.get("/")
        assert status == 503
        assert headers["retry-after"] == "10"
        assert MAC.colons.encode() in body
        assert b"reload" in body


@pytest.mark.parametrize(
    "answer",
    [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50_000],
)
async def test_a_device_that_answers_nonsense(answer: bytes) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with tunnel_site(page) as site:
        browser = await site.browser()
        status, _, body = await browser.get("/")
        assert status == 502
        assert b"does not answer" in body


async def test_an_answer_that_breaks_off_is_not_made_to_look_whole() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with tunnel_site(page) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("GET", "/"))
        await read_head(reader)
        rest = await reader.read()
        writer.close()
        assert rest == b"5\r\nhello\r\n", "no last chunk"


async def test_the_link_lost_in_the_middle_of_a_page() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await reader.read()

    async with tunnel_site(page) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("GET", "/"))
        await read_head(reader)
        assert await reader.readexactly(4) == b"half"
        link = site.channel.link(MAC)
        assert link is not None
        link._link._abort()
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


# ---- ends of sessions --------------------------------------------------------------------------------------------


async def streaming(site: Site, browser: Browser) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with an endless answer running."""
    reader, writer = await browser.connect()
    writer.write(browser.head("GET", "/forever"))
    assert (await read_head(reader))[0] == 200
    return reader, writer


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    await reader.read()


async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadline: float) -> None:
    async with asyncio.timeout(deadline):
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
    writer.close()


async def test_revoking_ends_running_streams_within_a_second() -> None:
    async with tunnel_site(forever) as site:
        browser = await site.browser()
        running = [await streaming(site, browser) for _ in range(3)]
        await close_session(site.store, browser.session, reason="revoked", wall=site.wall[0])
        for reader, writer in running:
            await ended(reader, writer, 1.0)
        assert (await browser.get("/"))[0] == 404
        assert site.recorder.sessions[-1] == ("closed", "ended")
        assert site.recorder.usage.requests == 3
        assert site.recorder.usage.addresses == {"127.0.0.1"}
        assert site.visitors.live_sessions == 0


async def test_the_hard_end_comes_on_the_monotonic_clock_even_if_the_wall_clock_is_set_back() -> None:
    async with tunnel_site(forever) as site:
        record, path = await site.new_session(session_seconds=0.8)
        browser = Browser(site, record.id)
        browser.cookie = (await browser.get(path))[1]["set-cookie"].split(";")[0]
        reader, writer = await streaming(site, browser)
        site.wall[0] -= 3.0
        await ended(reader, writer, 2.0)
        assert site.recorder.sessions[-1] == ("closed", "expired")


async def test_a_clock_set_forward_ends_it_and_one_set_far_back_too() -> None:
    async with tunnel_site(plain) as site:
        for step in (3600.0, -50_000.0):
            browser = await site.browser()
            assert (await browser.get("/"))[0] == 200
            site.wall[0] += step
            assert (await browser.get("/"))[0] == 404


async def test_idle_ends_the_session_for_good_and_use_keeps_it() -> None:
    async with tunnel_site(plain) as site:
        browser = await site.browser()
        stored = await site.store.get(RemoteSession, browser.session)
        assert stored is not None
        await site.store.batch([Put(replace(stored.record, idle_seconds=1), expect=stored.version)])
        for _ in range(4):
            assert (await browser.get("/"))[0] == 200
            await asyncio.sleep(0.4)
        await site.recorder.until(lambda: ("closed", "idle") in site.recorder.sessions, 5)
        async with asyncio.timeout(2):
            async for change in site.store.watch(0):
                stored = await site.store.get(RemoteSession, change.key)
                if stored is not None and stored.record.end_reason == "idle":
                    break
        assert (await browser.get("/"))[0] == 404


async def test_a_session_outlives_the_device_link_and_the_visitors_listener() -> None:
    async with tunnel_site(plain) as site:
        browser = await site.browser()
        link = site.channel.link(MAC)
        assert link is not None
        link._link._abort()
        await site.recorder.until(lambda: site.channel.link(MAC) not in (None, link))
        assert (await browser.get("/"))[0] == 200


async def test_plain_http_on_the_tls_port_is_counted_and_no_error_of_ours() -> None:
    async with tunnel_site(plain) as site:
        reader, writer = await asyncio.open_connection(*site.visitor_address)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with_error = await reader.read()
        assert not with_error.startswith(b"HTTP")
        writer.close()
        await site.recorder.until(lambda: "handshake" in site.recorder.visitor_refusals)


async def test_stopping_lets_an_answer_end_and_cuts_what_does_not() -> None:
    async with tunnel_site(forever) as site:
        browser = await site.browser()
        reader, writer = await streaming(site, browser)
        await asyncio.wait_for(site.visitors.stop(0.1), 3)
        await ended(reader, writer, 1.0)
        assert site.recorder.sessions[-1] == ("closed", "stopping")
        stored = await site.store.get(RemoteSession, browser.session)
        assert stored is not None
        assert stored.record.ended is None


async def test_stopping_does_not_wait_for_connections_that_ask_nothing() -> None:
    async with tunnel_site(plain) as site:
        browser = await site.browser()
        reader, writer = await browser.connect()
        writer.write(browser.head("GET", "/"))
        assert (await read_answer(reader))[0] == 200
        started = asyncio.get_running_loop().time()
        await site.visitors.stop(20.0)
        assert asyncio.get_running_loop().time() - started < 5.0
        writer.close()
