"""Remote Control without a wildcard domain: a node that gives each session a port of its own, in headless Chromium."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from simulators.admin_client import AdminClient
from simulators.device import ChannelChanged
from simulators.door_phone import DoorPhone
from simulators.ready_file import read_ready
from simulators.seeding import SecretsFile, Seeder
from tests.system.chromium import open_chromium
from tests.system.peers import RunningGateway, free_tcp_port, loopback_config, needs
from tests.system.test_remote_control_browser import log_in, soon, text_of
from tests.system.test_simulated_devices import DOOR, plug_in

pytestmark = pytest.mark.system


def two_ports() -> int:
    """The lower of two neighbouring free ports."""
    while True:
        port = free_tcp_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@needs("chromium", "chromedriver")
async def test_two_sessions_at_ports_of_one_host(tmp_path: Path) -> None:
    port = two_ports()
    config = loopback_config(more=f'[public]\nhost = "localhost"\n[remote_control]\nports = "{port}-{port + 1}"\n')
    with RunningGateway(tmp_path, config) as gateway:
        ready = read_ready(tmp_path / "ready.json")
        admin = AdminClient(*ready.admin, ready.admin_token_file)
        secrets = SecretsFile(tmp_path / "devices.jsonl")
        seeder = Seeder(admin, secrets)
        site = await seeder.site("House")
        await seeder.in_library([DOOR.text], site)
        await seeder.device(DOOR.text, {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate"})
        device = plug_in(DoorPhone, DOOR, ready, secrets)
        held = secrets.get(DOOR.text)
        assert held is not None
        password = held.web_password
        try:
            async with asyncio.timeout(20):
                await device.boot()
                await device.happenings.next(ChannelChanged, 0)
            await asyncio.to_thread(work, gateway, tmp_path, port, password)
        finally:
            await device.shut_down()


def work(gateway: RunningGateway, folder: Path, port: int, password: str) -> None:
    links = [gateway.ask("POST", f"/devices/{DOOR.text}/remote-sessions", {})["link"] for _ in range(2)]
    assert {urlsplit(link).netloc for link in links} == {f"localhost:{port}", f"localhost:{port + 1}"}
    assert gateway.admin("POST", f"/devices/{DOOR.text}/remote-sessions", {}).json["code"] == "too-many-sessions"
    browser = open_chromium(folder / "profile", any_certificate=True)
    try:
        log_in(browser, links[0], password)
        soon(browser, text_of("#live", "live"))
        assert {cookie["name"] for cookie in browser.get_cookies()} == {"__Host-portico", "token"}
        # The second session starts with nothing of the first, and is the only one that this browser has now.
        browser.get(links[1])
        soon(browser, lambda page: page.find_element("id", "login"))
        assert {cookie["name"] for cookie in browser.get_cookies()} == {"__Host-portico"}
        log_in_here(browser, password)
        browser.get(f"https://{urlsplit(links[0]).netloc}/")
        soon(browser, text_of("h1", "Nothing here"))
        browser.get(f"https://{urlsplit(links[1]).netloc}/")
        soon(browser, text_of("[data-field=mac]", DOOR.colons))
    finally:
        browser.quit()


def log_in_here(browser: WebDriver, password: str) -> None:
    browser.find_element("id", "password").send_keys(password)
    browser.find_element("id", "submit").click()
    soon(browser, text_of("[data-field=mac]", DOOR.colons))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = RunningGateway(tmp_path, loopback_config(more=f'[remote_control]\nports = "{port}-{port}"\n'))
        with pytest.raises(AssertionError, match=rf"remote_control\.ports: 127\.0\.0\.1:{port}"):
            gateway.start()
