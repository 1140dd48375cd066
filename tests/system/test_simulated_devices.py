"""Simulated devices in this process against a gateway in its own: what devices must do, and must not, around the main job."""

import asyncio
import contextlib
import os
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.mac import MacAddress
from simulators.admin_client import AdminClient
from simulators.agent_events import Answered, DtmfSent, Ended, IncomingCall, NotRegistered, Refreshed, Registered, Ringing
from simulators.autop_client import AutopClient, trust
from simulators.device import ChannelChanged, ConfigFailed, ConfigFetched, Device
from simulators.door_phone import DoorPhone, OpeningKept, RelayClosed, RelayOpened, WrongCode
from simulators.indoor_monitor import IndoorMonitor, Resident
from simulators.ready_file import Ready, read_ready
from simulators.seeding import SecretsFile, Seeder
from tests.system.peers import RunningGateway, loopback_config, wait_until
from tunnel.net.agent import client_context

pytestmark = pytest.mark.system

DOOR = MacAddress("0C1105000001")
MONITOR = MacAddress("0C1105000002")
NOBODY = Resident(None, None, None)
WITHIN = 15.0


@dataclass
class Flat:
    """A site with a door phone and a monitor, both booted; the test is the resident."""

    gateway: RunningGateway
    ready: Ready
    admin: AdminClient
    site: str
    door: DoorPhone
    monitor: IndoorMonitor

    async def change(self, mac: MacAddress, **fields: Any) -> None:
        """PATCH a device as an operator would."""
        etag = (await self.admin.call("GET", f"/devices/{mac}")).etag
        await self.admin.call("PATCH", f"/devices/{mac}", fields, headers={"If-Match": etag or ""})

    async def talk(self) -> str:
        """Ring and answer; returns the call."""
        door, monitor = self.door.happenings, self.monitor.happenings
        since, at_monitor = door.mark(), monitor.mark()
        call = self.door.press_button()
        await monitor.next(IncomingCall, at_monitor)
        await door.next(Ringing, since)
        self.act(lambda now: self.monitor_agent.answer(call, now))
        await door.next(Answered, since)
        await monitor.next(Answered, at_monitor)
        return call

    @property
    def monitor_agent(self) -> Any:
        assert self.monitor.sip is not None
        return self.monitor.sip.agent

    def act(self, action: Any) -> None:
        assert self.monitor.sip is not None
        self.monitor.sip.do(action)

    async def press(self, call: str, keys: str) -> None:
        """Press keys at the monitor, and wait until the door phone has answered each."""
        since = self.monitor.happenings.mark()
        self.act(lambda now: self.monitor_agent.press(call, keys, now))
        for _ in keys:
            sent = await self.monitor.happenings.next(DtmfSent, since)
            since = self.monitor.happenings.mark()
            assert sent.status == 200

    async def hang_up(self, call: str) -> None:
        since = self.door.happenings.mark()
        self.act(lambda now: self.monitor_agent.hang_up(call, now))
        await self.door.happenings.next(Ended, since)

    async def door_log(self) -> list[Any]:
        return [entry async for entry in self.admin.items("/door-log", site=self.site)]


def plug_in(kind: type[Any], mac: MacAddress, ready: Ready, secrets: SecretsFile, **options: Any) -> Any:
    held = secrets.get(mac.text)
    assert held is not None
    autop = AutopClient(url=ready.autop_url(held.autop_path), mac=mac, tls=trust(ready.ca_file_text))
    return kind(mac, autop, tls=client_context(ca_file=ready.ca_file_text), entropy=os.urandom, wall=time.time, **options)


@contextlib.asynccontextmanager
async def flat(folder: Path) -> AsyncIterator[Flat]:
    """Everything up, and everything down again."""
    with RunningGateway(folder) as gateway:
        ready = read_ready(folder / "ready.json")
        admin = AdminClient(*ready.admin, ready.admin_token_file)
        secrets = SecretsFile(folder / "devices.jsonl")
        seeder = Seeder(admin, secrets)
        site = await seeder.site("House")
        await seeder.in_library([DOOR.text, MONITOR.text], site)
        users = await seeder.users(site, [{"first_name": "Ada", "last_name": "King", "number": "101"}])
        relays = [{"name": "Door", "dtmf_code": "#", "hold_seconds": 1}, {"name": "Garage", "dtmf_code": "25", "hold_seconds": 1}]
        door = {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate", "button_number": "101", "relays": relays}
        monitor = {"site": site, "kind": 2, "model": "PORTICO-SIM-MONITOR", "name": "Flat", "owner": users["101"]}
        await seeder.device(DOOR.text, door)
        await seeder.device(MONITOR.text, monitor)
        here = Flat(
            gateway,
            ready,
            admin,
            site,
            plug_in(DoorPhone, DOOR, ready, secrets),
            plug_in(IndoorMonitor, MONITOR, ready, secrets, resident=NOBODY),
        )
        try:
            async with asyncio.timeout(WITHIN):
                for device in (here.door, here.monitor):
                    await device.boot()
                    await device.happenings.next(Registered, 0)
                    await device.happenings.next(ChannelChanged, 0)
            yield here
        finally:
            await here.door.shut_down()
            await here.monitor.shut_down()


async def test_only_the_right_code_opens_and_only_an_opening_is_reported(tmp_path: Path) -> None:
    async with flat(tmp_path) as house, asyncio.timeout(WITHIN):
        since = house.door.happenings.mark()
        call = await house.talk()
        await house.press(call, "13*")
        assert [house.door.happenings.find(WrongCode, since) is not None, house.door.is_open(1)] == [True, False]
        assert house.door.happenings.find(RelayOpened, since) is None
        await house.press(call, "25")
        opened = await house.door.happenings.next(RelayOpened, since)
        assert house.monitor.config is not None
        assert house.monitor.config.account is not None
        assert (opened.relay, opened.name, opened.by) == (2, "Relay B", house.monitor.config.account.username)
        assert house.door.is_open(2)
        await house.door.happenings.next(OpeningKept, since)
        assert (await house.door.happenings.next(RelayClosed, since)).relay == 2
        assert not house.door.is_open(2)
        await house.hang_up(call)
        (entry,) = await house.door_log()
        assert (entry["relay"], entry["method"], entry["by"], entry["call_id"]) == (2, "dtmf", opened.by, call)


async def test_an_unchanged_configuration_is_not_applied_again_and_a_change_is(tmp_path: Path) -> None:
    async with flat(tmp_path) as house, asyncio.timeout(WITHIN):
        since = house.door.happenings.mark()
        assert not await house.door.poll()
        fetched = house.door.happenings.find(ConfigFetched, since)
        assert fetched is not None
        assert (fetched.size, fetched.applied) == (0, False)

        await house.change(DOOR, relays=[{"name": "Door", "dtmf_code": "7", "hold_seconds": 1}])
        since = house.door.happenings.mark()
        assert await house.door.poll()
        assert await house.monitor.poll()
        call = await house.talk()
        await house.press(call, "#")
        assert house.door.happenings.find(RelayOpened, since) is None
        await house.press(call, "7")
        await house.door.happenings.next(RelayOpened, since)
        await house.hang_up(call)
        # The account and the channel are the same, so neither was touched.
        assert house.door.happenings.find(Registered, since) is None
        assert house.door.happenings.find(ChannelChanged, since) is None


async def test_a_phone_that_is_rung_by_hand_and_a_second_press_of_the_button(tmp_path: Path) -> None:
    async with flat(tmp_path) as house, asyncio.timeout(WITHIN):
        since = house.door.happenings.mark()
        call = house.door.press_button()
        with pytest.raises(RuntimeError, match="in a call"):
            house.door.press_button()
        await house.door.happenings.next(Ringing, since)
        assert house.door.sip is not None
        sip = house.door.sip
        sip.do(lambda now: sip.agent.hang_up(call, now))
        ended = await house.monitor.happenings.next(Ended, 0)
        assert (ended.status, ended.reason) == (487, "the caller gave up")
        # A resident calls the door, once that is allowed: it answers by itself, and the code opens it.
        await house.change(DOOR, users_may_monitor=True)
        assert house.door.config is not None
        assert house.door.config.account is not None
        assert house.monitor.sip is not None
        at_monitor, since = house.monitor.happenings.mark(), house.door.happenings.mark()
        back = house.monitor.sip.dial(house.door.config.account.username)
        await house.monitor.happenings.next(Answered, at_monitor)
        await house.press(back, "#")
        await house.door.happenings.next(RelayOpened, since)
        await house.hang_up(back)


def pending_writes(gateway: RunningGateway) -> float:
    """Bindings that are not in the gateway's store yet."""
    with urllib.request.urlopen("http://{}:{}/metrics".format(*gateway.address("metrics")), timeout=10) as answer:
        (line,) = [line for line in answer.read().decode().split("\n") if line.startswith("portico_store_pending_writes ")]
    return float(line.split(" ")[1])


@pytest.mark.parametrize("how", ["stop", "kill -9"])
async def test_devices_come_through_a_restart_of_the_gateway(tmp_path: Path, how: str) -> None:
    async with flat(tmp_path) as house:
        gateway, door, monitor = house.gateway, house.door.happenings, house.monitor.happenings
        since, at_monitor = door.mark(), monitor.mark()
        config = loopback_config()
        for name in ("sip_udp", "autop_https", "channel", "admin"):
            config = config.replace(f"{name} = 0", f"{name} = {gateway.address(name)[1]}")
        if how == "stop":
            await asyncio.to_thread(gateway.stop)
        else:
            # Bindings are soft state: what came in the last half second may still be on its way to the disk.
            await asyncio.to_thread(wait_until, "bindings on disk", lambda: pending_writes(gateway) == 0, WITHIN)
            gateway.kill()
        (tmp_path / "portico.toml").write_text(config)
        async with asyncio.timeout(WITHIN):
            await door.next(ChannelChanged, since, lambda changed: not changed.up)
            await monitor.next(ChannelChanged, at_monitor, lambda changed: not changed.up)
        await asyncio.to_thread(gateway.start)
        async with asyncio.timeout(40):
            # UDP bindings outlive the gateway: the phones can call at once, without having registered anew.
            call = await house.talk()
            assert door.find(Registered, since) is None
            assert monitor.find(Registered, at_monitor) is None
            assert monitor.find(Refreshed, at_monitor) is None
            await house.press(call, "#")
            await door.next(ChannelChanged, since, lambda changed: changed.up)
            await door.next(OpeningKept, since)
            await house.hang_up(call)
        (entry,) = await house.door_log()
        assert entry["call_id"] == call


async def test_an_opening_without_a_channel_is_reported_once_it_is_back(tmp_path: Path) -> None:
    async with flat(tmp_path) as house, asyncio.timeout(WITHIN):
        since = house.door.happenings.mark()
        await house.door._stop_channel()
        assert house.door.open_relay(1, method="exit-button", by="")
        await house.door.happenings.next(RelayClosed, since)
        assert await house.door_log() == []
        assert house.door.config is not None
        await house.door._start_channel(house.door.config.channel)
        await house.door.happenings.next(OpeningKept, since)
        (entry,) = await house.door_log()
        assert (entry["method"], entry["relay"]) == ("exit-button", 1)


async def test_a_deleted_device_gets_nothing_any_more(tmp_path: Path) -> None:
    async with flat(tmp_path) as house, asyncio.timeout(40):
        etag = (await house.admin.call("GET", f"/devices/{MONITOR}")).etag
        since, at_door = house.monitor.happenings.mark(), house.door.happenings.mark()
        await house.admin.call("DELETE", f"/devices/{MONITOR}", headers={"If-Match": etag or ""})
        await house.monitor.happenings.next(ChannelChanged, since, lambda changed: not changed.up)
        with pytest.raises(ValueError, match="404"):
            await house.monitor.poll()
        house.door.press_button()
        ended = await house.door.happenings.next(Ended, at_door)
        assert ended.status in (404, 480)
        # Its registration, tried again, is refused like that of a stranger.
        house.act(lambda now: house.monitor_agent.unregister(now))
        await asyncio.wait_for(house.monitor.happenings.next(object, house.monitor.happenings.mark()), 5)
        house.act(lambda now: house.monitor_agent.register(now))
        refused = await house.monitor.happenings.next(NotRegistered, since)
        assert refused.status in (401, 403)


async def test_boot_has_patience_while_nobody_answers(tmp_path: Path) -> None:
    device = Device(
        DOOR,
        AutopClient(url="https://127.0.0.1:1/autop/token/", mac=DOOR, tls=trust(None)),
        tls=client_context(check=False),
        entropy=os.urandom,
        wall=time.time,
    )
    booting = asyncio.ensure_future(device.boot())
    async with asyncio.timeout(WITHIN):
        first = await device.happenings.next(ConfigFailed, 0)
        second = await device.happenings.next(ConfigFailed, device.happenings.mark())
    booting.cancel()
    await asyncio.gather(booting, return_exceptions=True)
    assert 0.5 <= first.retry_in <= 1.0
    assert 1.0 <= second.retry_in <= 2.0
    assert "token" not in first.why
