"""The simulated door phone's web page over a real socket: login, status, links, redirects, uploads, hostile clients."""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from registry.mac import MacAddress
from simulators import web_login
from simulators.device_config import DeviceConfig
from simulators.line import SipAccount
from simulators.relays import DoorRelay
from simulators.web_login import MAX_FAILURES
from simulators.web_page import WebPage

pytestmark = pytest.mark.system

CONFIG = DeviceConfig(
    account=SipAccount("400000001", "secret", "sip.gate.example", 5060, "Main entrance", 300),
    relays=(DoorRelay("Front door", "1", 5), DoorRelay("Garage", "2", 10)),
    web_password="wE7rT2yU9iO4pA1s",
)


class Phone:
    """A door phone without its phone."""

    def __init__(self) -> None:
        self.mac = MacAddress("0C1105AABBCC")
        self.model = "PORTICO-SIM-DOOR"
        self.config: DeviceConfig | None = CONFIG
        self.registered = True
        self.recent_calls = ["101, answered"]
        self.opened: list[tuple[int, str, str]] = []

    def is_open(self, relay: int) -> bool:
        return any(number == relay for number, _, _ in self.opened)

    def open_relay(self, number: int, *, method: str, by: str) -> bool:
        if not 1 <= number <= 2:
            return False
        self.opened.append((number, method, by))
        return True


@contextlib.asynccontextmanager
async def browsing() -> AsyncIterator[tuple[Phone, httpx.AsyncClient]]:
    phone = Phone()
    page = WebPage(phone)
    host, port = await page.start("127.0.0.1", 0)
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=10, trust_env=False) as browser:
            yield phone, browser
    finally:
        await page.stop()


async def log_in(browser: httpx.AsyncClient, user: str = "admin", password: str = CONFIG.web_password) -> httpx.Response:
    said = {"target": "login", "action": "login", "data": {"user": user, "password": password}}
    answer = await browser.post("/api/web/login", json=said)
    if answer.status_code == 200:
        browser.cookies.set("token", answer.json()["data"]["token"])  # the jar will not take a Domain that is an address
    return answer


async def status(browser: httpx.AsyncClient) -> dict[str, Any]:
    answer = await browser.get("/api/web/status")
    assert answer.status_code == 200
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_without_login_there_is_only_the_login_page() -> None:
    async with browsing() as (phone, browser):
        for path in ("/", "/index.html", "/api/system/info"):
            answer = await browser.get(path)
            assert answer.status_code == 302
            assert answer.headers["location"] == f"{browser.base_url}".rstrip("/") + "/login.html"
        assert (await browser.get("/login.html")).headers["transfer-encoding"] == "chunked"
        for method, path in [("GET", "/api/web/status"), ("POST", "/api/web/relay/trig"), ("GET", "/api/web/snapshot.png")]:
            assert (await browser.request(method, path, json={"data": {"num": 1}})).status_code == 401
        assert phone.opened == []


async def test_the_password_comes_from_autop_and_a_wrong_one_is_refused() -> None:
    async with browsing() as (phone, browser):
        for user, password in [("admin", "wrong"), ("root", CONFIG.web_password), ("admin", ""), ("admin", "Ｗ")]:
            assert (await log_in(browser, user, password)).status_code == 401
        phone.config = None
        assert (await log_in(browser)).status_code == 401
        phone.config = CONFIG
        phone_answer = await log_in(browser)
        assert phone_answer.status_code == 401  # five in a row: locked, right password or not
        assert "Too many" in phone_answer.json()["message"]


async def test_a_device_without_a_web_password_lets_nobody_in() -> None:
    async with browsing() as (phone, browser):
        phone.config = DeviceConfig()
        assert (await log_in(browser, "admin", "")).status_code == 401


async def test_login_sets_a_cookie_and_opens_the_page() -> None:
    async with browsing() as (_, browser):
        answer = await log_in(browser)
        assert re.fullmatch(r"token=[0-9a-f]{32}; Path=/; HttpOnly; Domain=127\.0\.0\.1", answer.headers["set-cookie"])
        assert "<nav>" in (await browser.get("/")).text
        shown = await status(browser)
        assert shown["registered"] is True
        assert shown["account"] == "400000001"
        assert shown["mac"] == "0C:11:05:AA:BB:CC"
        assert shown["calls"] == ["101, answered"]
        assert [relay["name"] for relay in shown["relays"]] == ["Front door", "Garage"]
        assert CONFIG.web_password not in json.dumps(shown)
        assert "secret" not in json.dumps(shown)


async def test_every_link_of_both_pages_leads_somewhere() -> None:
    async with browsing() as (_, browser):
        await log_in(browser)
        seen = set()
        for page in ("/login.html", "/index.html"):
            text = (await browser.get(page)).text
            for link in re.findall(r'(?:src|href)="([^"#]+)"', text):
                answer = await browser.get(link if link.startswith("/") else f"/{link}")
                assert answer.status_code == 200, link
                assert answer.content
                seen.add((link.startswith("/"), answer.headers["content-type"].split(";")[0]))
        types = {kind for _, kind in seen}
        assert types == {"text/css", "text/javascript", "image/svg+xml", "image/png", "text/html"}
        assert {absolute for absolute, _ in seen} == {True, False}
        assert (await browser.get("/api/web/snapshot.png")).content.startswith(b"\x89PNG\r\n\x1a\n")


async def test_relay_trigger() -> None:
    async with browsing() as (phone, browser):
        await log_in(browser)
        assert (await browser.post("/api/web/relay/trig", json={"data": {"num": 2}})).json()["retcode"] == 0
        assert phone.opened == [(2, "web", "admin")]
        assert [relay["open"] for relay in (await status(browser))["relays"]] == [False, True]
        wrong: Any
        for wrong in ({"data": {"num": 3}}, {"data": {"num": True}}, {"data": {"num": "1"}}, {"data": []}, [], 7):
            assert (await browser.post("/api/web/relay/trig", json=wrong)).status_code == 400
        assert (await browser.post("/api/web/relay/trig", content=b"\xff{")).status_code == 400
        assert len(phone.opened) == 1


async def test_renaming_redirects_absolutely_and_shows() -> None:
    async with browsing() as (_, browser):
        await log_in(browser)
        assert (await status(browser))["name"] == "Main entrance"
        answer = await browser.post("/web/device-name", data={"name": " Gate <1> & Дверь "})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{browser.base_url}".rstrip("/") + "/index.html#account"
        assert (await status(browser))["name"] == "Gate <1> & Дверь"
        for wrong in ({"name": ""}, {"name": "x" * 64}, {"name": "a\nb"}, {"other": "x"}):
            assert (await browser.post("/web/device-name", data=wrong)).status_code == 400
        assert (await browser.post("/web/device-name", content=b"x" * 70_000)).status_code == 400


async def test_an_upload_is_hashed_as_it_streams_whatever_its_pieces() -> None:
    content = bytes(range(256)) * 4096 + b"\r\n--not the boundary\r\n"
    async with browsing() as (_, browser):
        await log_in(browser)
        answer = await browser.post("/api/web/upload", files={"file": ("fw.rom", content)})
        assert answer.json()["data"] == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

        async def trickle() -> AsyncIterator[bytes]:
            whole = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x\r\n--b--\r\n'
            for place in range(len(whole)):
                yield whole[place : place + 1]
                await asyncio.sleep(0)

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        small = await browser.post("/api/web/upload", content=trickle(), headers=headers)
        assert small.json()["data"] == {"size": 8, "sha256": hashlib.sha256(b"abc\r\n--x").hexdigest()}
        assert (await browser.post("/api/web/upload", content=b"--b\r\n\r\nabc", headers=headers)).status_code == 400
        assert (await browser.post("/api/web/upload", content=b"abc")).status_code == 400


async def test_logout_and_idle_sessions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with browsing() as (_, browser):
        await log_in(browser)
        await status(browser)
        await browser.post("/api/web/logout")
        assert (await browser.get("/api/web/status")).status_code == 401
        await log_in(browser)
        monkeypatch.setattr(web_login, "SESSION_SECONDS", -1.0)
        assert (await browser.get("/api/web/status")).status_code == 401


async def test_old_sessions_give_way_and_a_login_resets_the_count_of_failures() -> None:
    async with browsing() as (_, browser):
        for _ in range(MAX_FAILURES * 4):
            await log_in(browser, password="wrong")
            assert (await log_in(browser)).status_code == 200
        assert (await browser.get("/api/web/status")).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \xff=;;=\r\n\r\n",
        b"\x00" * 9000,
        b"",
    ],
)
async def test_hostile_bytes_end_one_connection_only(said: bytes) -> None:
    async with browsing() as (_, browser):
        reader, writer = await asyncio.open_connection(browser.base_url.host, browser.base_url.port)
        writer.write(said)
        writer.write_eof()
        await reader.read()
        writer.close()
        assert (await browser.get("/login.html")).status_code == 200


async def test_head_and_unknown_paths() -> None:
    async with browsing() as (_, browser):
        await log_in(browser)
        head = await browser.head("/static/style.css")
        assert int(head.headers["content-length"]) > 1000
        assert head.content == b""
        assert (await browser.get("/../../etc/passwd")).status_code == 404
        assert (await browser.get("/static/../web_page.py")).status_code == 404
        assert (await browser.put("/", content=b"x")).status_code == 404
