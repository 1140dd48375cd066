"""Firmware upgrades end to end: the admin API, HTTPS with curl, simulated devices that install, and a gateway that is killed."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from registry.mac import MacAddress
from simulators.admin_client import AdminClient
from simulators.autop_client import AutopClient, trust
from simulators.device import Device
from simulators.flash import Boots, Flash, FlashFailed, Installed, image
from simulators.ready_file import Ready, read_ready
from simulators.seeding import SecretsFile, Seeder
from tests.system.peers import RunningGateway, needs
from tunnel.net.agent import client_context

pytestmark = [needs("curl"), pytest.mark.system]

OLD, NEW = "29.30.10.239", "29.30.10.465"
MACS = [MacAddress(f"0C110500000{place}") for place in (1, 2, 3)]
IMAGE = image(NEW, 3_000_000)
WITHIN = 20.0


class House:
    """A gateway with three door phones of one model at a site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway = RunningGateway(folder)
        self.secrets = SecretsFile(folder / "devices.jsonl")
        self.site = ""

    @property
    def ready(self) -> Ready:
        return read_ready(self.folder / "ready.json")

    async def seed(self) -> None:
        ready = self.ready
        seeder = Seeder(AdminClient(*ready.admin, ready.admin_token_file), self.secrets)
        self.site = await seeder.site("House")
        await seeder.in_library([mac.text for mac in MACS], self.site)
        wanted = [(mac.text, {"site": self.site, "kind": 0, "model": "R29", "name": f"Door {mac.text[-1]}"}) for mac in MACS]
        for mac, body in wanted:
            await seeder.device(mac, body)

    def upload(self, content: bytes, version: str = NEW) -> str:
        """Name an image and upload it; returns its id."""
        body = {"model": "R29", "version": version, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        made = self.gateway.ask("POST", "/firmware", body)
        assert self.put(made["id"], content) == 200
        return str(made["id"])

    def put(self, image_id: str, content: bytes) -> int:
        host, port = self.gateway.address("admin")
        url = f"http://{host}:{port}/api/v1/firmware/{image_id}/content"
        token = Path(self.gateway.ready["admin_token_file"]).read_text().strip()
        request = urllib.request.Request(url, data=content, method="PUT")
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", "application/octet-stream")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def upgrade(self, image_id: str, **more: Any) -> str:
        return str(self.gateway.ask("POST", "/upgrades", {"site": self.site, "image": image_id, **more})["id"])

    def states(self, upgrade: str) -> list[str]:
        items = self.gateway.ask("GET", f"/upgrades/{upgrade}/devices")["items"]
        return [item["state"] for item in sorted(items, key=lambda item: item["mac"])]

    async def until(self, upgrade: str, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Poll the admin API until the devices' states are as wanted."""
        end = time.monotonic() + WITHIN
        while not wanted(states := await asyncio.to_thread(self.states, upgrade)):
            assert time.monotonic() < end, states
            await asyncio.sleep(0.1)
        return states

    def device(self, mac: MacAddress, **flash: Any) -> Device:
        """A device that is switched on with `boot`."""
        ready, held = self.ready, self.secrets.get(mac.text)
        assert held is not None
        tls = trust(ready.ca_file_text)
        autop = AutopClient(url=ready.autop_url(held.autop_path), mac=mac, tls=tls)
        return Device(
            mac,
            autop,
            tls=client_context(ca_file=ready.ca_file_text),
            entropy=os.urandom,
            wall=time.time,
            with_channel=False,
            flash=Flash("R29", OLD, tls, **flash),
        )

    def image_url(self, mac: MacAddress, image_id: str) -> str:
        held = self.secrets.get(mac.text)
        assert held is not None
        return f"{self.ready.autop_url(held.autop_path).rstrip('/')}/{mac.text}-{image_id}.zip"

    def curl(self, url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["curl", "-sS", "--max-time", "20", "--cacert", self.ready.ca_file_text or "", *arguments, url]
        return subprocess.run(command, capture_output=True, timeout=30, check=False)

    def status(self, url: str, *arguments: str) -> int:
        return int(self.curl(url, "-o", "/dev/null", "-w", "%{http_code}", *arguments).stdout)


@contextlib.asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    found = House(folder)
    with found.gateway:
        await found.seed()
        yield found


@contextlib.asynccontextmanager
async def switched_on(*devices: Device) -> AsyncIterator[None]:
    try:
        for device in devices:
            async with asyncio.timeout(WITHIN):
                await device.boot()
        yield
    finally:
        for device in devices:
            await device.cut_power()


async def test_devices_install_it_once_also_after_a_cut_and_with_a_silent_and_a_failing_one(tmp_path: Path) -> None:
    async with house(tmp_path) as site:
        image_id = site.upload(IMAGE)
        new, old, silent = (
            site.device(MACS[0], cuts=(100_000, 1_000_000)),
            site.device(MACS[1], boots=Boots.OLD),
            site.device(MACS[2], boots=Boots.NOT),
        )
        async with switched_on(new, old, silent):
            upgrade = site.upgrade(image_id, reset_after_upgrade=True)
            await site.until(upgrade, lambda states: states == ["offered"] * 3)
            for device in (new, old, silent):
                since = device.happenings.mark()
                assert await device.poll()
                installed = await device.happenings.next(Installed, since)
                assert installed.statuses == ((200, 206, 206) if device is new else (200,))
            assert new._flash is not None
            assert new._flash.content == IMAGE
            await site.until(upgrade, lambda states: states == ["executed", "fetched", "fetched"])
            # The one that started the old version asks again and again, and is never given the image once more.
            since = old.happenings.mark()
            for _ in range(3):
                await old.poll()
            assert old.config is not None
            assert old.config.firmware_url == ""
            items = site.gateway.ask("GET", f"/upgrades/{upgrade}/devices")["items"]
            by_mac = {item["mac"]: item for item in items}
            assert [by_mac[mac.text]["downloads"] for mac in MACS] == [1, 1, 1]
            assert by_mac[MACS[0].text]["reset"] == "ordered"
            assert by_mac[MACS[0].text]["seen_version"] == NEW or by_mac[MACS[0].text]["result"]
            assert by_mac[MACS[1].text]["seen_version"] in (OLD, "")


async def test_a_device_whose_power_was_cut_in_the_middle_begins_anew_when_it_is_back(tmp_path: Path) -> None:
    async with house(tmp_path) as site:
        image_id = site.upload(IMAGE)
        upgrade = site.upgrade(image_id, devices=[MACS[0].text])
        await site.until(upgrade, lambda states: states == ["offered"])  # it was off when its time came
        before = site.device(MACS[0], cuts=(50_000,) * 10)
        async with switched_on(before):
            await before.happenings.next(FlashFailed, 0)
        assert site.states(upgrade) == ["told"]
        after = site.device(MACS[0])
        async with switched_on(after):
            assert (await after.happenings.next(Installed, 0)).version == NEW
            await site.until(upgrade, lambda states: states == ["executed"])
        assert site.gateway.ask("GET", f"/upgrades/{upgrade}")["state"] == "executed"
        host, port = site.gateway.address("metrics")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{host}:{port}/metrics") as answer:
            figures = answer.read().decode()
        assert 'portico_firmware_upgrades{state="failed"} 0.0' in figures
        sent = next(line for line in figures.splitlines() if line.startswith("portico_firmware_sent_bytes_total "))
        assert float(sent.split()[1]) >= len(IMAGE)


async def test_a_gateway_killed_in_the_middle_of_a_download_goes_on_and_forgets_nothing(tmp_path: Path) -> None:
    large = image(NEW, 32_000_000)  # more than the kernel holds of a connection
    site = House(tmp_path)
    site.gateway.start()
    try:
        await site.seed()
        image_id = site.upload(large)
        upgrade = site.upgrade(image_id, devices=[MACS[0].text])
        await site.until(upgrade, lambda states: states == ["offered"])
        url = site.image_url(MACS[0], image_id)
        part = tmp_path / "part"
        arguments = ("-sS", "--cacert", site.ready.ca_file_text or "", "--limit-rate", "8M", "-o", str(part), url)
        slow = await asyncio.create_subprocess_exec("curl", *arguments, stderr=subprocess.DEVNULL)
        end = time.monotonic() + WITHIN
        while not (part.exists() and part.stat().st_size > 50_000):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
    finally:
        site.gateway.kill()
    async with asyncio.timeout(WITHIN):
        assert await slow.wait() != 0
    (tmp_path / "state" / "firmware" / "9.draft").write_bytes(b"left by a crash")
    (tmp_path / "state" / "firmware" / ("ee" * 12 + ".image")).write_bytes(b"nobody's")
    held = part.read_bytes()
    assert large.startswith(held)
    with site.gateway:
        assert [path.name for path in (tmp_path / "state" / "firmware").iterdir()] == [f"{image_id}.image"]
        assert site.states(upgrade) == ["told"]
        url = site.image_url(MACS[0], image_id)  # the listener's port is another one now
        assert site.curl(url, "-C", "-", "-o", str(part)).returncode == 0
        assert part.read_bytes() == large
        assert site.states(upgrade) == ["fetched"]


async def test_ranges_over_https_and_what_strangers_see(tmp_path: Path) -> None:
    async with house(tmp_path) as site:
        first, content = site.upload(IMAGE), image("29.30.10.500", 500_000)
        mac, other = MACS[0], MACS[1]
        url = site.image_url(mac, first)
        assert site.status(url) == 404  # nobody was to be upgraded yet
        upgrade = site.upgrade(first, devices=[mac.text])
        await site.until(upgrade, lambda states: states == ["offered"])
        tag = f'"{hashlib.sha256(IMAGE).hexdigest()}"'
        head = site.curl(url, "-I").stdout.decode().lower()
        assert f"etag: {tag}" in head
        assert "accept-ranges: bytes" in head
        assert f"content-length: {len(IMAGE)}" in head
        assert site.states(upgrade) == ["offered"]  # a HEAD is no download
        got = site.curl(url, "-r", "1000-1999", "-H", f"If-Range: {tag}", "-D", "-").stdout
        assert got.endswith(b"\r\n\r\n" + IMAGE[1000:2000])
        assert b"206" in got.split(b"\r\n")[0]
        assert site.status(url, "-r", f"{len(IMAGE)}-") == 416
        assert site.status(url, "-H", f"If-None-Match: {tag}") == 304
        assert site.status(url, "-H", 'If-Match: "x"') == 412
        several = site.curl(url, "-r", "0-1,5-6").stdout
        assert several == IMAGE
        # Strangers, other devices' tokens, other images and other names: all one 404.
        for wrong in (
            url.replace(mac.text, other.text),
            site.image_url(other, first),
            url.replace(".zip", ".rom"),
            url.replace(first, "0" * 24),
            url.replace("/autop/", "/autop/x"),
        ):
            assert site.status(wrong) == 404, wrong
        # A new image under way: the old tag at the new address gives all of the new one, never a splice.
        site.gateway.ask("GET", f"/upgrades/{upgrade}")
        etag = site.gateway.admin("GET", f"/upgrades/{upgrade}").headers["etag"]
        assert site.gateway.admin("DELETE", f"/upgrades/{upgrade}").status == 428
        assert etag
        second = site.upload(content, "29.30.10.500")
        later = site.upgrade(second, devices=[other.text])
        await site.until(later, lambda states: states == ["offered"])
        got = site.curl(site.image_url(other, second), "-r", "1000-", "-H", f"If-Range: {tag}").stdout
        assert got == content


async def test_a_wrong_model_or_content_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as site:
        body = {"model": "R29", "version": "915.30.10.1", "sha256": "ab" * 32, "size": 10}
        assert site.gateway.admin("POST", "/firmware", body).status == 422
        wrong = {**body, "model": "X915"}
        other = site.gateway.ask("POST", "/firmware", {**wrong, "sha256": hashlib.sha256(b"0123456789").hexdigest()})
        assert site.put(other["id"], b"0123456780") == 422
        assert site.put(other["id"], b"01234567890") == 422
        assert site.put(other["id"], b"0123") == 422
        assert (
            site.gateway.admin("POST", "/upgrades", {"site": site.site, "image": other["id"]}).json["code"] == "firmware-missing"
        )
        assert list((tmp_path / "state" / "firmware").iterdir()) == []
        assert site.put(other["id"], b"0123456789") == 200
        assert site.put(other["id"], b"0123456789") == 200
        refused = site.gateway.admin("POST", "/upgrades", {"site": site.site, "image": other["id"], "devices": [MACS[0].text]})
        assert refused.status == 422
        assert refused.json["errors"][0]["path"] == "/devices/0"
