"""Sessions of Remote Control: their ends by logout, what they leave, ports instead of host names, guesses by the thousand."""

import asyncio
import secrets
from dataclasses import replace

import pytest

from registry.records import ApiToken, RemoteSession, Role
from registry.store import Put
from tests.system.peers import free_tcp_port
from tests.system.tunnel_site import Browser, Site, read_answer, tunnel_site
from tunnel.net.visitor_connection import VisitorDeadlines

pytestmark = pytest.mark.system
LOGIN = ApiToken(id="t1", name="anna", role=Role.INSTALLER, sites=(), hash="ab" * 32, created=0.0)
GUESSES = 10_000


async def cookies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A page that sets a cookie at a path of its own, and says which cookies it was shown."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        shown = b"".join(line + b";" for line in head.split(b"\r\n") if line.lower().startswith(b"cookie:"))
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: token=7; Path=/web\r\nContent-Length: %d\r\n\r\n" % len(shown) + shown)


async def record_of(site: Site, browser: Browser) -> RemoteSession:
    stored = await site.store.get(RemoteSession, browser.session)
    assert stored is not None
    return stored.record


async def ended(site: Site, browser: Browser) -> RemoteSession:
    """The record once it says that the session is over."""
    async with asyncio.timeout(5):
        async for _ in site.store.watch(0):
            if (record := await record_of(site, browser)).ended is not None:
                return record
    raise AssertionError


async def test_the_visitor_ends_the_session_on_its_own_page() -> None:
    async with tunnel_site(cookies) as site:
        browser = await site.browser()
        other = await browser.connect()  # a tab that is open meanwhile
        other[1].write(browser.head("GET", "/"))
        assert (await read_answer(other[0]))[0] == 200
        status, _, body = await browser.get("/.portico/")
        assert (status, b"End this session" in body) == (200, True)
        sibling = await site.browser()
        assert (await browser.request("POST", "/.portico/close", f"Origin: {sibling.origin}"))[0] == 403
        status, headers, body = await browser.request("POST", "/.portico/close", f"Origin: {browser.origin}")
        assert (status, b"Session ended" in body) == (200, True)
        assert headers["set-cookie"].startswith("__Host-portico=; Path=/; Max-Age=0")
        async with asyncio.timeout(1):
            assert await other[0].read() == b""
        other[1].close()
        assert (await browser.get("/"))[0] == 404
        assert (await ended(site, browser)).end_reason == "logout"
        assert ("closed", "logout") in site.recorder.sessions
        assert (await sibling.get("/"))[0] == 200


@pytest.mark.parametrize("change", [{"revoked": True}, {"expires": 1_000_000.0}])
async def test_the_session_ends_with_the_login_that_made_it(change: dict[str, object]) -> None:
    async with tunnel_site(cookies) as site:
        await site.store.batch([Put(LOGIN)])
        running = await site.browser(opened_by="token:t1")
        reader, writer = await running.connect()
        writer.write(running.head("GET", "/"))
        assert (await read_answer(reader))[0] == 200
        unopened, path = await site.new_session(opened_by="token:t1")
        unused = await site.browser(opened_by="token:t1")
        await site.store.batch([Put(replace(LOGIN, **change))])  # type: ignore[arg-type]
        async with asyncio.timeout(1):
            assert await reader.read() == b""
        writer.close()
        assert site.recorder.sessions[-1] == ("closed", "logout")
        assert (await ended(site, running)).end_reason == "logout"
        assert (await running.get("/"))[0] == 404
        assert (await unused.get("/"))[0] == 404
        assert (await Browser(site, unopened.id).get(path))[0] == 404


async def test_a_login_that_runs_out_takes_the_session_with_it() -> None:
    async with tunnel_site(cookies) as site:
        await site.store.batch([Put(replace(LOGIN, expires=site.wall[0] + 0.4))])
        browser = await site.browser(opened_by="token:t1")
        assert (await browser.get("/"))[0] == 200
        await site.recorder.until(lambda: ("closed", "expired") in site.recorder.sessions, 3)


async def test_polls_do_not_keep_a_session_beyond_its_end() -> None:
    async with tunnel_site(cookies) as site:
        browser = await site.browser(session_seconds=0.8)
        with pytest.raises((OSError, asyncio.IncompleteReadError, AssertionError)):
            async with asyncio.timeout(5):
                while True:
                    assert (await browser.get("/api/web/status"))[0] == 200
                    await asyncio.sleep(0.05)
        assert site.recorder.sessions[-1] == ("closed", "expired")


async def test_what_was_done_is_kept_without_secrets() -> None:
    async with tunnel_site(cookies) as site:
        browser = await site.browser()
        page = "Accept: text/html,*/*"
        await browser.get("/?password=secret", page)
        await browser.get("/web/0123456789abcdef0123/status.html;jsessionid=secret", page)
        await browser.get("/style.css")
        await browser.get("/", page)
        await browser.request("POST", "/api/web/login?token=secret", f"Origin: {browser.origin}", body=b"secret")
        await browser.request("POST", "/.portico/close", f"Origin: {browser.origin}")
        async with asyncio.timeout(5):
            async for _ in site.store.watch(0):
                if (record := await record_of(site, browser)).requests:
                    break
        assert record.pages == ("GET /", "GET /web/*/status.html", "POST /api/web/login")
        assert (record.requests, record.address, record.end_reason) == (5, "127.0.0.1", "logout")
        assert record.bytes_to_device > 300
        assert record.bytes_to_visitor > 300


async def test_ports_instead_of_host_names_keep_sessions_apart() -> None:
    ports = (free_tcp_port(), free_tcp_port())
    async with tunnel_site(cookies, ports=ports) as site:
        first = await site.browser(port=ports[0])
        assert (await first.get("/"))[0] == 200
        # Cookies know no ports, so the device's hold for the whole host, and end when the next session is opened.
        _, headers, _ = await first.get("/")
        assert headers["set-cookie"] == "token=7; Path=/"
        record, path = await site.new_session(port=ports[1])
        second = Browser(site, record.id, port=ports[1])
        status, headers, _ = await second.get(path, f"Cookie: {first.cookie}; token=7; other=1")
        assert status == 303
        set_cookies = headers["set-cookie"].split("\n")
        assert set_cookies[1:] == ["other=; Path=/; Max-Age=0", "token=; Path=/; Max-Age=0"]
        assert headers["clear-site-data"] == '"cache", "storage"'
        second.cookie = set_cookies[0].split(";")[0]
        assert (await second.get("/"))[0] == 200
        # The browser has one cookie of ours for both ports, the newer: the older session is not to be had with it.
        first.cookie = second.cookie
        assert (await first.get("/"))[0] == 404
        named = Browser(site, second.session, second.cookie)  # by the host name that it does not have
        assert (await named.get("/"))[0] == 404
        assert (await second.get("/", host=f"evil.example:{ports[1]}"))[0] == 404


async def test_a_session_with_a_host_name_is_not_at_a_port() -> None:
    ports = (free_tcp_port(),)
    async with tunnel_site(cookies, ports=ports) as site:
        browser = await site.browser()
        at_port = Browser(site, browser.session, browser.cookie, port=ports[0])
        assert (await at_port.get("/"))[0] == 404
        assert (await browser.get("/"))[0] == 200


@pytest.mark.slow
async def test_ten_thousand_guesses_find_nothing() -> None:
    """Host names, cookies and tickets, each over a TLS connection of its own."""
    async with tunnel_site(cookies, deadlines=VisitorDeadlines(farewell=0.05)) as site:
        browser = await site.browser()
        record, _ = await site.new_session()
        letters = str.maketrans("0189", "abcd")

        async def guess(count: int) -> set[int]:
            seen: set[int] = set()
            for turn in range(count):
                wrong, secret = secrets.token_hex(16).translate(letters), secrets.token_urlsafe(32)
                session, cookie, path = (
                    (wrong, browser.cookie, "/"),
                    (browser.session, f"__Host-portico={secret}", "/"),
                    (record.id, "", f"/.portico/open/{secret}"),
                )[turn % 3]
                seen.add((await Browser(site, session, cookie).get(path))[0])
            return seen

        rounds = 20
        found = await asyncio.gather(*(guess(GUESSES // rounds) for _ in range(rounds)))
        assert set().union(*found) == {404}
        assert (await browser.get("/"))[0] == 200
        assert site.recorder.visitor_refusals.count("no-session") == GUESSES
