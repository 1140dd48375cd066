"""The connector on a LAN of network namespaces: what it does for its gateway, and what it refuses whatever the gateway asks.

The gateway's half is the channel listener alone, which here may say anything.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.accept import Acceptor
from gateway.connector.options import Options
from gateway.connector.program import ConnectorProgram
from gateway.connector.targets import PORTS
from gateway.handshakes import HandshakePlaces
from gateway.tls import ServerTls, local_certificates, utc
from registry.connector import ConnectorName
from registry.mac import MacAddress
from tests.system.lan import GATEWAY, Lan, LanDevice, lan
from tests.system.tunnel_site import Recorder, eventually
from tunnel.errors import Code, StreamClosed
from tunnel.frames import ALPN
from tunnel.messages import DeviceEvent, Result
from tunnel.net.channel_listener import ChannelListener
from tunnel.net.device_link import ConnectorLink
from tunnel.net.ports import CountedGenerations
from tunnel.site_token import SiteToken

pytestmark = pytest.mark.system

NAME = ConnectorName("abcdefghij2345670001")
DOOR, OTHER, STRANGER = (MacAddress(f"0C1105AA000{number}") for number in (1, 2, 3))
PLACES = {DOOR: "10.77.0.11", OTHER: "10.77.0.12"}
API = "Config.DoorSetting.APIFCGI"
SETTINGS = {
    f"{API}.Enable": "1",
    f"{API}.AuthMode": "4",
    f"{API}.UserName": "portico",
    f"{API}.Password": "secret",
    "Config.DoorSetting.DTMF.Code1": "#",
    "Config.DoorSetting.RELAY.RelayADelay": "1",
    "Config.Settings.WEB_LOGIN.Password": "web",
}


@dataclass
class Ports:
    """ConnectorPorts that know one token, and keep what they hear."""

    keys: dict[str, bytes]
    events: list[DeviceEvent] = field(default_factory=list)
    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    generation: int = 0

    async def connector_key(self, connector: ConnectorName) -> bytes | None:
        return self.keys.get(connector.text)

    async def next_connector_generation(self, connector: ConnectorName) -> int:
        self.generation += 1
        return self.generation

    async def on_connector_event(self, connector: ConnectorName, event: DeviceEvent) -> None:
        self.events.append(event)

    def connector_up(self, connector: ConnectorName, address: str) -> None:
        self.up.append(connector.text)

    def connector_down(self, connector: ConnectorName, reason: str) -> None:
        self.down.append(reason)

    def seen(self) -> dict[str, bool]:
        """What the connector has said of its devices."""
        return {one["mac"]: one["up"] for event in self.events for one in event.body["devices"]}


@dataclass
class Here:
    """Everything that runs."""

    network: Lan
    channel: ChannelListener
    ports: Ports
    lines: list[str]
    lists: int = 0

    @property
    def link(self) -> ConnectorLink:
        found = self.channel.connectors.link(NAME.id)
        assert found is not None
        return found

    async def list_devices(self, *devices: Mapping[str, Any]) -> Result:
        """Tell the connector its devices."""
        self.lists += 1
        return await self.link.call("devices", {"list": self.lists, "page": 1, "pages": 1, "devices": list(devices)}, 5.0)

    async def call(self, name: str, mac: MacAddress = DOOR, **body: Any) -> Result:
        return await self.link.call(name, {"device": mac.text, **body}, 15.0)

    async def refusal(self, service: str, mac: MacAddress = DOOR) -> int:
        """The code with which a stream is refused."""
        with pytest.raises(StreamClosed) as refused:
            await self.link.open(service, mac.text).opened()
        return refused.value.code


def listed(mac: MacAddress = DOOR, address: str | None = None, **changes: Any) -> dict[str, Any]:
    """A device as the gateway lists it."""
    place = PLACES[mac] if address is None else address
    said = {"mac": mac.text, "address": place, "services": ["web", "web-tls"], "user": "portico", "password": "secret"}
    return {**said, **changes}


@contextlib.asynccontextmanager
async def site(folder: Path, *, pinned: bool = False, key: bytes | None = None, pnp: tuple[str, ...] = ()) -> AsyncIterator[Here]:
    """A gateway's channel, and a connector that is dialling it, in a network of their own."""
    token = SiteToken(NAME, os.urandom(32))
    recorder, ports, lines = Recorder(), Ports({NAME.text: token.key if key is None else key}), list[str]()
    with lan() as network, own_threads():
        files = local_certificates(folder / "tls", ["localhost", "127.0.0.1", GATEWAY], utc(time.time()))
        tls = ServerTls((files,))
        channel = ChannelListener(
            certificate_sha256=tls.leaf_sha256,
            keys=NoDevices(),
            generations=CountedGenerations(0),
            events=recorder,
            observer=recorder,
            entropy=os.urandom,
            connectors=ports,
        )
        door = Acceptor(
            connect=channel.connect, tls=tls.context([ALPN]), handshakes=HandshakePlaces(), refused=recorder.channel_refused
        )
        host, port = await door.start("127.0.0.1", 0)
        ca = {"ca_sha256": tls.ca_sha256} if pinned else {"ca": files.ca}
        program = ConnectorProgram(Options(host, port, token, **ca, pnp=pnp), lines.append)
        running = asyncio.ensure_future(program.run())
        try:
            yield Here(network, channel, ports, lines)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await door.stop()
            await channel.stop(0.0)


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """Threads that the loop begins in the test's network would stay in it: none of them is left to the tests after this."""
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor()
    loop.set_default_executor(executor)
    try:
        yield
    finally:
        executor.shutdown(wait=True)
        loop.set_default_executor(ThreadPoolExecutor())


class NoDevices:
    """ChannelKeys of a gateway without devices of its own."""

    async def channel_key(self, mac: MacAddress) -> bytes | None:
        return None


@contextlib.asynccontextmanager
async def listed_door(
    folder: Path, settings: Mapping[str, str] | None = None, **changes: Any
) -> AsyncIterator[tuple[Here, LanDevice]]:
    """A connector that may reach one door, which is there."""
    async with site(folder) as here:
        door = here.network.device(DOOR, PLACES[DOOR], settings=SETTINGS if settings is None else settings)
        await asyncio.to_thread(door.until, "PageUp")
        await eventually(lambda: bool(here.ports.up))
        assert (await here.list_devices(listed(**changes))).ok
        yield here, door


async def page(here: Here, mac: MacAddress = DOOR) -> bytes:
    """The start of a device's web page, through the connector."""
    pipe = here.link.open("web", mac.text)
    assert await pipe.opened() == PLACES[mac]
    await pipe.write(b"GET /login.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while data := await pipe.read():
        answer += data
    return answer


async def test_a_door_is_opened_only_if_the_device_says_so(tmp_path: Path) -> None:
    async with listed_door(tmp_path) as (here, door):
        result = await here.call("open-relay", relay=1, hold=1)
        assert (result.ok, result.body) == (True, {"opened": True})
        await asyncio.to_thread(door.until, "RelayOpened", relay=1)
        result = await here.call("open-relay", relay=3)
        assert (result.ok, result.body) == (False, {"error": "refused", "said": "no such relay"})
        again = os.urandom(16)
        for _ in range(2):
            await here.link.call("open-relay", {"device": DOOR.text, "relay": 1}, 5.0, again)
        assert (await here.call("open-relay", relay=3)).ok is False  # whatever it said before is heard now
        await asyncio.to_thread(door.until, "RelayClosed")
        assert door.count("RelayOpened") == 2


async def test_status_reboot_and_reset(tmp_path: Path) -> None:
    async with listed_door(tmp_path) as (here, door):
        result = await here.call("status")
        assert result.body == {
            "model": "Portico R29-SIM",
            "firmware": "29.30.1.1",
            "hardware": "29.0.0.0",
            "mac": DOOR.colons,
            "accounts": {"Account1": "0"},
        }
        assert (await here.call("reboot")).ok
        await asyncio.to_thread(door.until, "Restarting", to_factory=False)
        await asyncio.to_thread(
            door.until, "PageUp", 1 + next(n for n, one in enumerate(door.said) if one["what"] == "Restarting")
        )
        since = len(door.said)
        assert (await here.call("reset")).ok
        await asyncio.to_thread(door.until, "PageUp", since)
        result = await here.call("status")  # the factory's whitelist: it answers nobody
        assert (result.ok, result.body) == (False, {"error": "api_forbidden"})


async def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    key, more = "Config.Settings.LOGLEVEL.Level", "Config.Features.DND.Enable"
    async with listed_door(tmp_path) as (here, door):
        assert (await here.call("config-get", keys=[key, API + ".UserName"])).body == {"values": {API + ".UserName": "portico"}}
        result = await here.call("config-set", values={key: "5", "Config.Settings.WEB_LOGIN.Password": "new"})
        assert (result.ok, result.body["kept"], result.body["unproven"]) == (True, 1, ["Config.Settings.WEB_LOGIN.Password"])
        assert (await here.call("config-get", keys=[key.lower()])).body == {"values": {key.lower(): "5"}}
        door.tell("drop-more")  # of keys set together only the first stays: the rest is written alone
        await asyncio.to_thread(door.until, "Told", line="drop-more")
        result = await here.call("config-set", values={key: "6", more: "1"})
        assert (result.ok, result.body["kept"], result.body["lost"]) == (True, 2, [])
        door.tell(f"forget {more}")
        await asyncio.to_thread(door.until, "Told", line=f"forget {more}")
        result = await here.call("config-set", values={key: "7", more: "0"})
        assert (result.ok, result.body) == (False, {"error": "not_kept", "kept": 1, "unproven": [], "lost": [more]})


async def test_the_word_for_what_an_api_refuses(tmp_path: Path) -> None:
    async with listed_door(tmp_path, password="wrong") as (here, _door):
        assert (await here.call("reboot")).body == {"error": "api_login"}
        assert (await here.call("reboot", OTHER)).body == {"error": "not_listed"}
        assert (await here.call("open-relay", relay=0)).body == {"error": "malformed"}
        assert (await here.call("dance")).body == {"error": "unknown_call"}


async def test_a_page_comes_through_and_nothing_that_is_not_listed(tmp_path: Path) -> None:
    async with listed_door(tmp_path, services=["web"]) as (here, _door):
        assert b"200" in (await page(here)).split(b"\r\n")[0]
        assert await here.refusal("web-tls") == Code.SERVICE_REFUSED
        assert await here.refusal("ssh") == Code.SERVICE_REFUSED
        assert await here.refusal("web", OTHER) == Code.SERVICE_REFUSED
        with pytest.raises(StreamClosed):
            await here.link.open("web").opened()  # of no device
        assert (await here.list_devices()).ok  # an empty list
        assert await here.refusal("web") == Code.SERVICE_REFUSED
        assert (await here.call("reboot")).body == {"error": "not_listed"}


async def test_an_https_page_is_dialled_at_the_site_and_its_key_reported(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        door = here.network.device(DOOR, PLACES[DOOR], settings=SETTINGS, https=True)
        await asyncio.to_thread(door.until, "PageUp")
        await eventually(lambda: bool(here.ports.up))
        assert (await here.list_devices(listed())).ok
        keys = set()
        for _ in range(2):
            pipe = here.link.open("web-tls", DOOR.text)
            assert await pipe.opened() == PLACES[DOOR]
            keys.add(pipe.spki)
            await pipe.write(b"GET /login.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await pipe.read()).startswith(b"HTTP/1.1 200")
            pipe.reset()
        assert [len(key) for key in keys] == [32]


async def test_a_list_with_an_address_that_is_not_private_is_refused_whole(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await eventually(lambda: bool(here.ports.up))
        for address in ("127.0.0.1", "169.254.169.254", "224.0.1.75", "8.8.8.8", "gate.lan"):
            result = await here.list_devices(listed(OTHER), listed(address=address))
            assert (result.ok, result.body) == (False, {"error": "malformed"}), address
            assert await here.refusal("web") == await here.refusal("web", OTHER) == Code.SERVICE_REFUSED


async def test_its_own_address_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await eventually(lambda: bool(here.ports.up))
        listening = await asyncio.start_server(lambda _reader, writer: writer.close(), GATEWAY, PORTS["web"])
        async with listening:
            assert (await here.list_devices(listed(address=GATEWAY))).ok
            assert await here.refusal("web") == Code.SERVICE_REFUSED


async def test_another_device_at_the_address_is_noticed_before_a_byte_passes(tmp_path: Path) -> None:
    """DHCP gave the door's old address to another device."""
    async with site(tmp_path) as here:
        other = here.network.device(STRANGER, PLACES[DOOR], settings=SETTINGS)
        await asyncio.to_thread(other.until, "PageUp")
        await eventually(lambda: bool(here.ports.up))
        assert (await here.list_devices(listed())).ok
        assert await here.refusal("web") == Code.WRONG_DEVICE
        assert (await here.call("open-relay", relay=1)).body == {"error": "wrong_device"}
        assert other.count("RelayOpened") == 0


async def test_a_device_whose_address_nobody_knows_is_found_by_its_mac(tmp_path: Path) -> None:
    async with listed_door(tmp_path) as (here, _door):
        await page(here)  # now the kernel knows it
        assert (await here.list_devices(listed(address=""))).ok
        assert (await here.call("status")).ok
        assert (await here.list_devices(listed(OTHER, ""))).ok
        assert (await here.call("status", OTHER)).body == {"error": "no_address"}


@pytest.mark.slow
async def test_who_is_there_is_told_after_each_list(tmp_path: Path) -> None:
    async with listed_door(tmp_path) as (here, _door):
        assert (await here.list_devices(listed(), listed(OTHER))).ok
        await eventually(lambda: here.ports.seen() == {DOOR.text: True, OTHER.text: False})


@pytest.mark.slow
async def test_a_cut_cable_is_told_within_30_seconds(tmp_path: Path) -> None:
    async with listed_door(tmp_path) as (here, door):
        await eventually(lambda: here.ports.seen() == {DOOR.text: True})
        here.network.unplug(door)
        begun = time.monotonic()
        await eventually(lambda: here.ports.seen() == {DOOR.text: False}, 40.0)
        assert time.monotonic() - begun < 30
        here.network.plug(door)
        await eventually(lambda: here.ports.seen() == {DOOR.text: True}, 40.0)


async def test_a_fingerprint_is_enough_to_know_the_gateway(tmp_path: Path) -> None:
    async with site(tmp_path, pinned=True) as here:
        await eventually(lambda: bool(here.ports.up))
        assert "connected" in here.lines


async def test_pnp_on_the_lan_is_answered_with_what_the_gateway_says(tmp_path: Path) -> None:
    async with site(tmp_path, pnp=("lan0",)) as here:
        door = here.network.device(DOOR, PLACES[DOOR])
        await asyncio.to_thread(door.until, "PageUp")
        await eventually(lambda: bool(here.ports.up))
        url = "https://gate.example:8443/autop/enrol-0123456789abcdef0123456789abcdef/"
        discovery = asyncio.create_task(asyncio.to_thread(door.asks_lan, DOOR))
        await eventually(lambda: bool(here.ports.events))
        (event,) = here.ports.events
        assert (event.name, event.body) == ("pnp-asked", {"mac": DOOR.text})
        assert (await here.link.call("enrolment-url", {"mac": DOOR.text, "url": url}, 5.0)).ok
        assert await discovery == url


async def test_a_wrong_token_gets_nowhere_and_its_owner_is_told(tmp_path: Path) -> None:
    async with site(tmp_path, key=bytes(32)) as here:
        await eventually(lambda: any("not authorised" in line for line in here.lines))
        assert here.ports.up == []
        assert any("revoked" in line and "Next try" in line for line in here.lines)


async def test_after_a_lost_link_it_comes_back_and_reaches_nothing_until_it_is_told(tmp_path: Path) -> None:
    async with listed_door(tmp_path) as (here, _door):
        assert (await here.call("status")).ok
        here.link.close(Code.INTERNAL, "for the test")
        await eventually(lambda: len(here.ports.up) == 2, 15.0)
        assert (await here.call("status")).body == {"error": "not_listed"}
        assert (await here.list_devices(listed())).ok
        assert (await here.call("status")).ok
