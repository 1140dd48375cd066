"""Enrolment and rotation through a whole gateway over HTTPS: a factory-fresh device until it is registered, curl, and kill -9."""

import asyncio
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from registry.mac import MacAddress
from simulators.agent_events import Registered
from simulators.autop_client import AutopClient, NoConfiguration, trust
from simulators.device import Device
from tests.system.fleet import add_site
from tests.system.peers import RunningGateway, needs, program, wait_until
from tunnel.net.agent import client_context

pytestmark = pytest.mark.system
WITHIN = 15.0
MAC = "0C1105000001"


class House:
    """A gateway with a site, and devices that come out of their boxes."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.site = add_site(gateway, "House")

    def add(self, mac: str) -> Any:
        """A device as an operator adds it; the answer holds what only this answer holds."""
        self.gateway.ask("POST", "/mac-library", {"items": [{"mac": mac, "site": self.site}]})
        body = {"site": self.site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate"}
        return self.gateway.ask("PUT", f"/devices/{mac}", body)

    def open(self, mac: str | None = None, minutes: int = 60) -> Any:
        scope = {"site": self.site} if mac is None else {"mac": mac}
        return self.gateway.ask("POST", "/enrolment-windows", {**scope, "minutes": minutes})

    def client(self, url: str, mac: str = MAC) -> AutopClient:
        """All that a factory-fresh device knows is this URL. A restarted gateway may be at another port."""
        _, port = self.gateway.address("autop_https")
        parts = urlsplit(url)._replace(netloc=f"127.0.0.1:{port}")
        return AutopClient(url=parts.geturl(), mac=MacAddress(mac), tls=trust(None))

    def device(self, autop: AutopClient, mac: str = MAC) -> Device:
        tls = client_context(ca_file=str(self.gateway.ready["ca_file"]))
        return Device(MacAddress(mac), autop, tls=tls, entropy=os.urandom, wall=time.time)

    def status(self, mac: str = MAC) -> Any:
        return self.gateway.ask("GET", f"/devices/{mac}/status")

    def kill_9(self) -> None:
        os.kill(self.gateway.pid, signal.SIGKILL)
        self.gateway.kill()
        self.gateway.start()

    def page(self) -> str:
        host, port = self.gateway.address("metrics")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{host}:{port}/metrics", timeout=WITHIN) as page:
            text: str = page.read().decode()
        return text

    def all_is_known(self) -> bool:
        return "\nportico_autop_fetches_waiting 0.0\n" in self.page()

    def refused(self) -> dict[str, float]:
        """Refusals by reason."""
        found = re.findall(r'(?m)^portico_autop_requests_total\{outcome="refused",reason="(\w+)"\} (\S+)$', self.page())
        return {name: float(count) for name, count in found}


def token(autop: AutopClient) -> str:
    return urlsplit(autop.url).path.split("/")[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with RunningGateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield House(gateway)


async def test_from_the_box_to_registered_with_kill_9_in_between(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as gateway:
        house = House(gateway)
        added = house.add(MAC)
        url = house.open()["enrolment_url"]
        autop = house.client(url)
        first = await autop.fetch()
        assert first.config is not None
        assert (first.config.account, first.config.channel, first.config.web_password) == (None, None, "")
        assert first.config.poll_at is not None
        assert first.config.poll_at[0] is None, "every hour, until it has the real one"
        own = autop.url
        assert house.status()["token_rotation"] is not None

        house.kill_9()
        again = house.client(url)
        await again.fetch()
        assert token(again) == urlsplit(own).path.split("/")[2], "it lost what it had, and gets the same again"
        autop = house.client(own)
        device = house.device(autop)
        try:
            async with asyncio.timeout(WITHIN):
                await device.boot()
                await device.happenings.next(Registered, 0)
            wait_until("it has enrolled", lambda: house.status()["enrolled"] is not None, WITHIN)
        finally:
            await device.shut_down()

        house.kill_9()
        assert house.status()["enrolled"] is not None
        assert house.status()["token_rotation"] is None
        for dead in (url, added["autop_url"]):
            with pytest.raises(NoConfiguration):
                await house.client(dead).fetch()
        assert (await house.client(own).fetch()).config is not None


async def rotate(house: House, autop: AutopClient, mac: str, *, kill: bool) -> AutopClient:
    """One rotation, with fetches that are lost on the way to the device's flash, and kill -9 at the worst moments."""
    before = autop.url
    house.gateway.ask("POST", f"/devices/{mac}/token-rotation")
    await house.client(before, mac).fetch()
    autop = house.client(before, mac)
    await autop.fetch()
    after = autop.url
    assert token(autop) not in before
    assert house.gateway.admin("POST", f"/devices/{mac}/token-rotation").status == 409
    if kill:
        house.kill_9()
    assert (await house.client(before, mac).fetch()).config is not None, "the old one is good until the new one was used"
    autop = house.client(after, mac)
    await autop.fetch()
    if kill:
        house.kill_9()  # perhaps before the fetch was noted: then the next one ends the old token
        autop = house.client(after, mac)
        await autop.fetch()
    wait_until("it was taken up", lambda: house.status(mac)["token_rotation"] is None, WITHIN)
    with pytest.raises(NoConfiguration):
        await house.client(before, mac).fetch()
    return autop


async def test_a_rotation_reaches_the_device(house: House) -> None:
    mac = "0C1105000031"
    autop = house.client(house.add(mac)["autop_url"], mac)
    await autop.fetch()
    for _ in range(2):
        autop = await rotate(house, autop, mac, kill=False)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(4))
async def test_kill_9_in_a_rotation_locks_nobody_out(tmp_path: Path, attempt: int) -> None:
    """Two kills a rotation; more of them would not fit the deadline of one test."""
    del attempt
    with RunningGateway(tmp_path) as gateway:
        house = House(gateway)
        autop = house.client(house.add(MAC)["autop_url"])
        await autop.fetch()
        for _ in range(3):
            autop = await rotate(house, autop, MAC, kill=True)


async def test_a_second_address_and_a_factory_reset(house: House) -> None:
    mac = "0C1105000011"
    house.add(mac)
    window = house.open(mac)
    autop = house.client(window["enrolment_url"], mac)
    await autop.fetch()
    own = autop.url
    await autop.fetch()
    wait_until("it has enrolled", lambda: house.status(mac)["enrolled"] is not None, WITHIN)
    autop = house.client(window["enrolment_url"], mac)
    with pytest.raises(NoConfiguration):
        await autop.fetch()
    etag = house.gateway.admin("GET", f"/enrolment-windows/{window['id']}").headers["etag"]
    assert house.gateway.admin("DELETE", f"/enrolment-windows/{window['id']}", version=etag).status == 204
    autop = house.client(house.open(mac)["enrolment_url"], mac)
    await autop.fetch()
    assert token(autop) not in own
    assert (await house.client(own, mac).fetch()).config is not None, "good until the new one was used"
    await autop.fetch()
    wait_until("it was taken up", lambda: house.status(mac)["token_rotation"] is None, WITHIN)
    with pytest.raises(NoConfiguration):
        await house.client(own, mac).fetch()
    actions = [entry["action"] for entry in house.gateway.ask("GET", "/audit?limit=100")["items"] if mac in entry["object"]]
    assert actions.count("device.bootstrapped") == actions.count("device.enrolled") == 2


@needs("curl")
def test_curl_gets_a_bootstrap_once_and_everything_refused_looks_the_same(house: House, tmp_path: Path) -> None:
    gateway = house.gateway
    macs = {"fresh": "0C1105000021", "done": "0C1105000022", "closed": "0C1105000023"}
    added = {name: house.add(mac) for name, mac in macs.items()}
    other = add_site(gateway, "Another house")
    gateway.ask("POST", "/mac-library", {"items": [{"mac": "0C1105000024"}]})

    def curl(url: str, *options: str) -> tuple[str, bytes, float]:
        """Head without Date, body, and seconds from the request to the answer's first byte."""
        command = [str(program("curl")), "-s", "--noproxy", "*", "--cacert", gateway.ready["ca_file"], "-m", "20", *options]
        command += ["-D", "head", "-o", "body", "-w", "%{time_starttransfer} %{time_pretransfer}", url]
        (tmp_path / "body").write_bytes(b"")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        first, begun = map(float, done.stdout.split())
        head = re.sub(r"(?im)^date:.*\n", "", (tmp_path / "head").read_text())
        return head, (tmp_path / "body").read_bytes(), first - begun

    assert curl(f"{added['done']['autop_url']}{macs['done']}.cfg")[0].startswith("HTTP/1.1 200")
    wait_until("the fetch is kept", house.all_is_known, WITHIN)
    window = house.open()
    closed = house.open(macs["closed"])
    etag = gateway.admin("GET", f"/enrolment-windows/{closed['id']}").headers["etag"]
    assert gateway.admin("DELETE", f"/enrolment-windows/{closed['id']}", version=etag).status == 204
    foreign = gateway.ask("POST", "/enrolment-windows", {"site": other, "minutes": 5})["enrolment_url"]
    url = window["enrolment_url"]

    head, body, _ = curl(f"{url}{macs['fresh'].lower()}.cfg")
    assert head.startswith("HTTP/1.1 200")
    assert curl(f"{url}{macs['fresh']}.cfg")[1] == body
    secrets = (added["fresh"]["account"]["username"], added["fresh"]["account"]["password"], added["fresh"]["web_password"])
    for secret in (*secrets, urlsplit(url).path, urlsplit(added["fresh"]["autop_url"]).path):
        assert secret.encode() not in body
    (own,) = re.findall(rb"(?m)^Config\.Autoprovision\.GENERAL\.Url = (\S+)$", body)
    configuration = curl(f"{own.decode()}{macs['fresh']}.cfg")[1]
    assert secrets[1].encode() in configuration

    before = house.refused()
    nothing = curl(f"{url.replace('/enrol-', '/nothing-')}{macs['fresh']}.cfg")
    cases = {
        "enrol_unknown": f"{url}0C1105000024.cfg",
        "enrol_no_proof": f"{foreign}{macs['fresh']}.cfg",
        "enrol_done": f"{url}{macs['done']}.cfg",
        "no_such_file": f"{url}{macs['fresh']}.xml",
        "no_proof": f"{added['done']['autop_url']}{macs['fresh']}.cfg",
    }
    answers = {reason: curl(case) for reason, case in cases.items()}
    assert nothing[0].startswith("HTTP/1.1 404")
    assert {answer[:2] for answer in answers.values()} == {nothing[:2]}
    waits = {reason: answer[2] for reason, answer in answers.items()}
    assert min(waits.values()) > 0.04, waits  # 50 ms, but for the clocks' grain and what curl takes to begin to wait
    assert curl(f"{closed['enrolment_url']}{macs['closed']}.cfg")[:2] == nothing[:2]
    after = house.refused()
    assert all(after.get(reason, 0) > before.get(reason, 0) for reason in cases)

    wait_until("it has enrolled", lambda: house.status(macs["fresh"])["enrolled"] is not None, WITHIN)
    assert curl(f"{url}{macs['fresh']}.cfg")[:2] == nothing[:2]
    (one,) = gateway.ask("GET", f"/enrolment-windows/{window['id']}/devices")["items"]
    assert (one["mac"], one["address"], one["contested"]) == (macs["fresh"], "127.0.0.1", False)
    for _ in range(2):
        assert curl(f"{url}{macs['fresh']}.cfg", "--interface", "127.0.0.2")[:2] == nothing[:2]
    (one,) = gateway.ask("GET", f"/enrolment-windows/{window['id']}/devices")["items"]
    assert one["contested"] is True
    actions = [entry["action"] for entry in gateway.ask("GET", "/audit?limit=100")["items"]]
    assert actions.count("device.enrolment-contested") == 1
