"""The autop listener met by honest and hostile clients over real sockets, plain and TLS."""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from autop.fingerprint import strong_etag
from autop.net.limits import ListenerLimits
from autop.observer import Outcome, Reason
from gateway.accept import AcceptLimits
from gateway.handshakes import HandshakePlaces
from tests.autop.examples import MAC, TOKEN
from tests.autop.test_identify import HOSTILE
from tests.system.autop_site import PATH, WALL, Answer, make_certificate, refused, running

pytestmark = pytest.mark.system

GET = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
LAST = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
QUICK = ListenerLimits(
    head_seconds=0.4,
    request_seconds=0.8,
    idle_seconds=0.4,
    linger_seconds=0.1,
)
QUICK_TLS = AcceptLimits(tls_seconds=0.4)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["tls", "plain"])
def transport(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> tuple[Path, Path] | None:
    return certificate if request.param == "tls" else None


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; the test's own deadline bounds it."""
    while not condition():  # noqa: ASYNC110  (what is waited for has no event: it happens inside the listener)
        await asyncio.sleep(0.005)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One answer of a connection that stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    answer = Answer.read(head)
    answer.body = await reader.readexactly(int(answer.headers.get("content-length", "0")))
    return answer


async def test_a_device_gets_its_configuration(transport: tuple[Path, Path] | None) -> None:
    async with running(transport) as site:
        answer = await site.get(PATH)
        assert answer.status == 200
        assert b"Config.Account1.GENERAL.UserName = 400000001\n" in answer.body
        assert answer.headers["etag"].encode() == strong_etag(answer.body)
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["date"] == "Thu, 28 May 2026 20:26:40 GMT"
        assert "server" not in answer.headers
        assert site.observed.answers == [(Outcome.SERVED, Reason.NONE)]
        assert site.observed.fetches == [(MAC.text, answer.headers["etag"].strip('"'), "127.0.0.1", WALL)]


@pytest.mark.parametrize("name", ["0c1105aabbcc.cfg", "0C:11:05:AA:BB:CC.cfg", "0C%3A11%3A05%3AAA%3ABB%3ACC.CFG"])
async def test_any_spelling_is_the_same_file(name: str) -> None:
    async with running() as site:
        assert (await site.get(f"/autop/{TOKEN}/{name}")).body == (await site.get(PATH)).body


async def test_head_is_get_without_the_body(transport: tuple[Path, Path] | None) -> None:
    async with running(transport) as site:
        got, head = await site.get(PATH), await site.get(PATH, method="HEAD")
        assert head.headers == got.headers
        assert head.body == b""
        assert len(site.observed.fetches) == 1
        assert (await site.get("/", method="HEAD")).without_date() == (404, (await site.get("/")).without_date()[1], b"")


async def test_conditional_requests() -> None:
    async with running() as site:
        etag = (await site.get(PATH)).headers["etag"]
        for value in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            answer = await site.get(PATH, f"If-None-Match: {value}")
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
        assert (await site.get(PATH, 'If-None-Match: "x"', f"If-None-Match: {etag}")).status == 304
        assert (await site.get(PATH, 'If-None-Match: "x"')).status == 200
        assert (await site.get(f"/autop/{'a' * 26}/{MAC}.cfg", f"If-None-Match: {etag}")).status == 404
        assert (await site.get(f"/autop/{'a' * 26}/{MAC}.cfg", "If-None-Match: *")).status == 404
        assert site.observed.answers.count((Outcome.NOT_MODIFIED, Reason.NONE)) == 5
        assert len(site.observed.fetches) == 7  # each 200 and each 304: both prove who has which bytes


async def test_every_refusal_is_the_same_answer(transport: tuple[Path, Path] | None) -> None:
    targets = [
        f"/autop/{'a' * 26}/{MAC}.cfg",
        f"/autop/{TOKEN}/0C1105000000.cfg",
        f"/autop/{TOKEN}/r000000000029.cfg",
        f"/autop/{TOKEN}/{'A' * 300}.cfg",
        *(target for target in HOSTILE if target.isascii() and target.isprintable() and target and " " not in target),
    ]
    async with running(transport, ListenerLimits(refusal_seconds=0.0)) as site:
        first = (await site.get(targets[0])).without_date()
        assert first[0] == 404
        for target in targets[1:]:
            assert (await site.get(target)).without_date() == first, target
        assert {outcome for outcome, _ in site.observed.answers} == {Outcome.REFUSED}
        assert len(targets) >= 55


async def test_refusals_take_the_same_time() -> None:
    """Unknown MAC, wrong token, malformed name and a store that must be asked: medians within 5 %, interleaved."""
    paths = [f"/autop/{'a' * 26}/{MAC}.cfg", f"/autop/{TOKEN}/0C1105000000.cfg", f"/autop/{TOKEN}/..%2f", "/"]
    times: dict[str, list[float]] = {path: [] for path in paths}
    loop = asyncio.get_running_loop()
    async with running() as site:

        async def one_client() -> None:
            reader, writer = await site.dial()
            for _ in range(10):
                for path in paths:
                    begin = loop.time()
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    assert (await read_answer(reader)).status == 404
                    times[path].append(loop.time() - begin)
            writer.close()

        await asyncio.gather(*(one_client() for _ in range(5)))
    medians = [statistics.median(taken) for taken in times.values()]
    assert max(medians) < 1.05 * min(medians)
    assert min(medians) >= 0.0495  # timers have a grain


async def test_keep_alive_and_pipelined_answers_in_order(transport: tuple[Path, Path] | None) -> None:
    async with running(transport, ListenerLimits(refusal_seconds=0.001)) as site:
        reader, writer = await site.dial()
        requests = []
        for number in range(1000):
            path = PATH if number % 3 else f"/nothing/{number}"
            method = "HEAD" if number % 7 == 0 else "GET"
            requests.append(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write("".join(requests).encode())
        for number in range(1000):
            head = Answer.read(await reader.readuntil(b"\r\n\r\n"))
            if number % 7:
                await reader.readexactly(int(head.headers["content-length"]))
            assert head.status == (200 if number % 3 else 404), number
        assert site.listener.connections == 1
        writer.close()


async def test_a_request_byte_by_byte(transport: tuple[Path, Path] | None) -> None:
    async with running(transport) as site:
        reader, writer = await site.dial()
        for place in range(len(LAST)):
            writer.write(LAST[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)
        assert Answer.read(await reader.read()).status == 200
        writer.close()


async def test_half_close_after_the_request() -> None:
    async with running() as site:
        reader, writer = await site.dial()
        writer.write(GET)
        writer.write_eof()
        assert Answer.read(await reader.read()).status == 200
        writer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET {PATH} HTTP/1.1\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.0\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\n folded: b\r\n\x00: c\r\n\r\n", 400),
        (f"GET {PATH}\r\n\r\n", 400),
        (f"GET  {PATH} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (f"GET {PATH} HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET /autop/\u00ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (f"PUT {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (f"GET {PATH} HTTP/1.1\r\nHost: a\r\nX: " + "x" * 20_000 + "\r\n\r\n", 431),
        ("GET /" + "a" * 30_000, 431),
    ],
    ids=lambda value: value if isinstance(value, int) else value[:12].strip(),
)
async def test_malformed_requests_are_answered_and_the_connection_closed(
    transport: tuple[Path, Path] | None, head: str, status: int
) -> None:
    async with running(transport, QUICK) as site:
        answer = Answer.read(await site.exchange(head.encode("latin-1")))
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert [outcome for outcome, _ in site.observed.answers] == [Outcome.REFUSED]


async def test_nothing_is_served_after_a_malformed_request_on_the_same_connection() -> None:
    async with running(None, QUICK) as site:
        smuggled = f"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(LAST)}\r\n\r\n".encode() + LAST
        answer = await site.exchange(smuggled)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_post_of_300_mib_is_cut_off_early(transport: tuple[Path, Path] | None) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with running(transport, ListenerLimits(linger_seconds=0.5)) as site:
        _reader, writer = await site.dial()
        writer.write(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {300 * 1024 * 1024}\r\n\r\n".encode())
        sent, block = 0, bytes(64 * 1024)
        with contextlib.suppress(OSError):
            while sent < 300 * 1024 * 1024 and not writer.transport.is_closing():
                writer.write(block)
                await writer.drain()
                await asyncio.sleep(0)  # a write to a dead connection never waits; let the loop see that it died
                sent += len(block)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        assert sent < 16 * 1024 * 1024  # what two kernels' socket buffers hold; the listener reads 256 KiB of it
        await until(lambda: site.listener.connections == 0)
        assert site.observed.answers == [refused(Reason.BODY)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5 * 1024 + 16 * 1024  # KiB: ours, and the client's


async def test_a_slow_head_is_dropped_at_its_deadline_however_it_trickles(transport: tuple[Path, Path] | None) -> None:
    loop = asyncio.get_running_loop()
    async with running(transport, QUICK) as site:
        reader, writer = await site.dial()
        begin = loop.time()
        writer.write(b"GET / HTTP/1.1\r\n")

        async def trickle() -> None:
            with contextlib.suppress(OSError):
                while True:
                    writer.write(b"X: y\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.02)

        trickling = asyncio.ensure_future(trickle())
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        assert 0.3 < loop.time() - begin < 2
        trickling.cancel()
        writer.close()
        await until(lambda: site.listener.connections == 0)
        assert site.observed.answers == [refused(Reason.TOO_SLOW)]


async def test_a_client_that_says_nothing_and_one_that_idles(certificate: tuple[Path, Path]) -> None:
    async with running(None, QUICK) as site:
        silent, silent_writer = await site.dial()
        assert await silent.read() == b""
        silent_writer.close()
        assert site.observed.answers == [refused(Reason.TOO_SLOW)]
        idle, writer = await site.dial()
        writer.write(GET)
        assert (await read_answer(idle)).status == 200
        assert await idle.read() == b""
        assert site.observed.answers[1:] == [(Outcome.SERVED, Reason.NONE)]
        writer.close()


async def test_a_client_that_does_not_read_is_dropped() -> None:
    async with running(None, QUICK) as site:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (site.host, site.port))
        with contextlib.suppress(OSError):
            await asyncio.wait_for(loop.sock_sendall(raw, GET * 20_000), 5)
        await until(lambda: site.listener.connections == 0)
        served = site.observed.answers.count((Outcome.SERVED, Reason.NONE))
        assert 0 < served < 20_000
        raw.close()


async def test_plain_http_and_silence_on_the_tls_port_are_dropped(certificate: tuple[Path, Path]) -> None:
    async with running(certificate, QUICK, accept=QUICK_TLS) as site:
        for said in (LAST, b"", b"\x16\x03\x01"):
            reader, writer = await asyncio.open_connection(site.host, site.port)
            writer.write(said)
            with contextlib.suppress(OSError):
                await reader.read()
            writer.close()
        assert site.turned_away == ["handshake"] * 3
        assert site.observed.answers == []
        assert (await site.get(PATH)).status == 200


async def test_honest_clients_get_in_while_others_hold_their_handshakes(certificate: tuple[Path, Path]) -> None:
    """Twice the places are held by clients that stall after the first bytes of a handshake, as many by silent ones."""
    few = HandshakePlaces(places=5, per_source=5, pressed_seconds=0.1)
    limits = AcceptLimits(strangers=30, pressed_seconds=0.1)
    async with running(certificate, accept=limits, handshakes=few) as site:
        stalling = [await asyncio.open_connection(site.host, site.port) for _ in range(10)]
        for _, writer in stalling:
            writer.write(b"\x16\x03\x01\x02\x00\x01")
        silent = [await asyncio.open_connection(site.host, site.port) for _ in range(20)]
        answers = await asyncio.wait_for(asyncio.gather(*(site.get(PATH) for _ in range(10))), 5)
        assert [answer.status for answer in answers] == [200] * 10
        assert {"pressed", "strangers"} <= set(site.turned_away)
        for _, writer in stalling + silent:
            writer.close()


async def test_no_more_handshakes_at_a_time_than_allowed(certificate: tuple[Path, Path]) -> None:
    async with running(certificate, handshakes=HandshakePlaces(places=3, per_source=3, pressed_seconds=5)) as site:
        answers = await asyncio.gather(*(site.get(PATH) for _ in range(40)))
        assert [answer.status for answer in answers] == [200] * 40
        assert site.turned_away == []


async def test_no_more_connections_than_allowed_and_room_is_given_back() -> None:
    async with running(None, accept=AcceptLimits(strangers=3, pressed_seconds=30)) as site:
        held = [await site.dial() for _ in range(3)]
        await until(lambda: site.listener.connections == 3)
        waiting = asyncio.ensure_future(site.get(PATH))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        held[0][1].close()
        assert (await waiting).status == 200
        for _, writer in held[1:]:
            writer.close()


async def test_who_has_got_its_own_file_counts_as_a_stranger_no_more_up_to_a_bound() -> None:
    async with running(None, ListenerLimits(proven=2)) as site:
        held = []
        for strangers in (0, 0, 1):
            reader, writer = await site.dial()
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_answer(reader)).status == 404
            assert site.door.strangers == 1
            writer.write(GET)
            assert (await read_answer(reader)).status == 200
            assert site.door.strangers == strangers
            held.append(writer)
        for writer in held:
            writer.close()
        await until(lambda: site.listener.connections == 0)
        assert site.door.strangers == 0


async def test_resets_leave_nothing_behind(transport: tuple[Path, Path] | None) -> None:
    async with running(transport, accept=AcceptLimits(strangers=20)) as site:
        for number in range(100):
            _reader, writer = await site.dial()
            writer.write(GET[: number % len(GET)] if number % 2 else GET)
            writer.transport.abort()
        await until(lambda: site.listener.connections == 0)
        assert (await site.get(PATH)).status == 200


async def test_a_stop_answers_what_was_asked_and_drops_who_idles() -> None:
    async with running(None, ListenerLimits(refusal_seconds=0.3)) as site:
        idle, idle_writer = await site.dial()
        busy, busy_writer = await site.dial()
        busy_writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: site.listener.connections == 2)
        await asyncio.sleep(0.05)
        await site.door.stop()
        stopping = asyncio.ensure_future(site.listener.stop(5))
        assert await idle.read() == b""
        assert (await read_answer(busy)).status == 404
        assert await busy.read() == b""
        await stopping
        idle_writer.close()
        busy_writer.close()
        with pytest.raises(OSError):
            await site.dial()


async def test_a_taken_port_is_an_error() -> None:
    async with running() as site:
        with pytest.raises(OSError, match="in use"):
            await site.door.start(site.host, site.port)


async def test_tls_below_1_2_is_refused(certificate: tuple[Path, Path]) -> None:
    async with running(certificate, QUICK) as site:
        assert site.tls is not None
        _reader, writer = await site.dial()
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        writer.close()
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection(site.host, site.port, ssl=ssl.create_default_context())


async def test_a_stop_right_after_connections_came_leaves_no_socket_behind(certificate: tuple[Path, Path]) -> None:
    async with running(certificate) as site:
        clients = [socket.socket() for _ in range(20)]
        loop = asyncio.get_running_loop()
        for client in clients:
            client.setblocking(False)
        await asyncio.gather(*(loop.sock_connect(client, (site.host, site.port)) for client in clients))
        await site.door.stop()
        await site.listener.stop(0)
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 1) == b""
            client.close()


async def test_no_descriptors_left_is_counted_and_survived() -> None:
    async with running() as site:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        waiting = socket.socket()
        waiting.connect((site.host, site.port))  # the kernel does it; the loop has had no turn to accept
        taken = [os.open("/dev/null", os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
        with contextlib.suppress(OSError):
            while True:  # what earlier tests gave back below the limit
                taken.append(os.open("/dev/null", os.O_RDONLY))
        try:
            await until(lambda: "no-descriptor" in site.turned_away)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for one in taken:
                os.close(one)
        await until(lambda: site.listener.connections == 1)
        waiting.close()
