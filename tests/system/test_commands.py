"""Commands through a whole node: ordered over the admin API, obeyed by simulated devices over their channels, or over SIP."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from simulators.admin_client import AdminProblem
from simulators.agent_events import Registered
from simulators.autop_client import AutopClient
from simulators.device import ChannelChanged, ConfigFetched
from simulators.door_phone import OpeningKept, RelayOpened
from simulators.maintenance import Ordered, Rebooted
from sip.message import Request
from tests.system.fleet import add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config
from tests.system.test_simulated_devices import DOOR, MONITOR, Flat, flat
from tests.system.udp_phone import UdpPhone

pytestmark = pytest.mark.system

WITHIN = 25.0


async def order(here: Flat, mac: Any = DOOR, name: str = "reboot", **body: Any) -> str:
    made = await here.admin.call("POST", f"/devices/{mac}/commands", {"name": name, **body})
    return str(made.body["id"])


async def ended(here: Flat, command: str) -> Any:
    """The command once it is over: another process writes that, so it is read again."""
    while True:
        found = await here.admin.get(f"/commands/{command}")
        if found["state"] not in ("pending", "processing"):
            return found
        await asyncio.sleep(0.03)


async def up(here: Flat, since: int) -> None:
    """The door's channel is back and it is registered, both after `since`."""
    await here.door.happenings.next(ChannelChanged, since, lambda changed: changed.up)
    await here.door.happenings.next(Registered, since)


async def test_a_device_reboots_fetches_and_hands_over_its_log(tmp_path: Path) -> None:
    async with flat(tmp_path) as here, asyncio.timeout(WITHIN):
        since = here.door.happenings.mark()
        found = await ended(here, await order(here))
        assert (found["state"], found["way"], found["result"], found["attempts"]) == ("executed", "channel", "done", 1)
        await here.door.happenings.next(Rebooted, since)
        await up(here, since)
        status = await here.admin.get(f"/devices/{DOOR}/status")
        assert (status["online"], status["ways"]) == (True, ["channel", "sip"])

        # Fetch, transmission type, log.
        since = here.door.happenings.mark()
        assert (await ended(here, await order(here, name="provision")))["state"] == "executed"
        await here.door.happenings.next(ConfigFetched, since)
        since = here.door.happenings.mark()
        changed = await ended(here, await order(here, name="transmission-type", transmission="tcp"))
        assert (changed["state"], changed["transmission"]) == ("executed", "tcp")
        await here.door.happenings.next(Registered, since)
        assert (await here.admin.get(f"/devices/{DOOR}"))["transmission"] == "tcp"

        for number in range(300):
            here.door.maintenance.note(f"line {number} of the log, with an ümlaut")
        logged = await ended(here, await order(here, name="collect-log"))
        assert logged["state"] == "executed"
        log = await here.admin.get(f"/commands/{logged['id']}/log")
        assert log["text"].splitlines() == [f"line {number} of the log, with an ümlaut" for number in range(300)]
        assert logged["result"] == f"{log['size']} bytes"


async def test_an_opening_is_one_entry_a_lockdown_holds_and_a_reset_device_enrols(tmp_path: Path) -> None:
    async with flat(tmp_path) as here, asyncio.timeout(WITHIN):
        assert (await ended(here, await order(here, name="open-relay", relay=2)))["result"] == "opened"
        await here.door.happenings.next(OpeningKept, 0)
        (entry,) = await here.door_log()
        assert (entry["opened"], entry["relay"], entry["method"]) == (True, 2, "command")
        assert entry["by"].startswith("token:")

        group = {"site": here.site, "name": "lockdown", "emergency": True}
        locked = (await here.admin.call("POST", "/command-groups", group)).body
        (member,) = (await here.admin.get(f"/command-groups/{locked['id']}/commands"))["items"]
        assert (await ended(here, member["id"]))["state"] == "executed"
        locked = await here.admin.get(f"/command-groups/{locked['id']}")
        assert (locked["progress"], locked["over"]) == ({"executed": 1}, True)
        assert (await ended(here, await order(here, name="open-relay")))["result"] == "lockdown"
        assert (await ended(here, await order(here, name="lockdown", on=False)))["state"] == "executed"
        opened = {"site": here.site, "name": "open-relay", "emergency": True}
        made = (await here.admin.call("POST", "/command-groups", opened)).body
        (member,) = (await here.admin.get(f"/command-groups/{made['id']}/commands"))["items"]
        assert (await ended(here, member["id"]))["result"] == "opened"
        assert sum(isinstance(one, RelayOpened) for one in here.door.happenings._kept) == 2

        # A reset device has nothing until its network says where to ask, and a window to enrol in.
        autop = here.door._provisioning
        assert isinstance(autop, AutopClient)
        before = autop.url
        window = (await here.admin.call("POST", "/enrolment-windows", {"mac": DOOR.text, "minutes": 60})).body
        here.door._enrolment_url = window["enrolment_url"]
        since = here.door.happenings.mark()
        assert (await ended(here, await order(here, name="reset")))["state"] == "executed"
        assert (await here.door.happenings.next(Rebooted, since)).reset
        await here.door.happenings.next(ConfigFetched, since)
        while here.door.config is None or here.door.config.account is None:
            await here.door.poll()  # it does so hourly by itself after a bootstrap
        await up(here, since)
        assert autop.url not in (before, window["enrolment_url"])
        items = (await here.admin.get("/enrolment-windows", site=here.site))["items"]
        assert [item["id"] for item in items] == [window["id"]]  # the open one did, its URL is still good

        since = here.monitor.happenings.mark()
        assert (await ended(here, await order(here, MONITOR, name="reset")))["state"] == "executed"
        await here.monitor.happenings.next(Rebooted, since)
        assert here.monitor.config is None
        items = (await here.admin.get("/enrolment-windows", site=here.site))["items"]
        assert sorted(item["mac"] for item in items) == [DOOR.text, MONITOR.text]


async def test_what_waits_survives_a_kill_and_reaches_the_device_when_it_comes_unless_it_expired(tmp_path: Path) -> None:
    async with flat(tmp_path) as here, asyncio.timeout(WITHIN):
        await here.door.cut_power()
        reboot = await order(here, seconds=600)
        opening = await order(here, name="open-relay", seconds=1)
        cancelled = await order(here, name="reset")
        etag = (await here.admin.call("GET", f"/commands/{cancelled}")).etag or ""
        await here.admin.call("DELETE", f"/commands/{cancelled}", headers={"If-Match": etag})
        config = loopback_config()
        for name in ("sip_udp", "autop_https", "channel", "admin"):
            config = config.replace(f"{name} = 0", f"{name} = {here.gateway.address(name)[1]}")
        here.gateway.kill()
        (here.gateway.folder / "portico.toml").write_text(config)
        await asyncio.to_thread(here.gateway.start)
        assert (await ended(here, opening))["state"] == "expired"
        assert (await here.admin.get(f"/commands/{reboot}"))["state"] == "pending"
        since = here.door.happenings.mark()
        booting = asyncio.ensure_future(here.door.restart())
        assert (await ended(here, reboot))["state"] == "executed"
        await here.door.happenings.next(Rebooted, since, lambda _one: here.door.happenings.find(Ordered, since) is not None)
        await booting
        orders = [one.name for one in here.door.happenings._kept if isinstance(one, Ordered)]
        assert orders == ["reboot"]
        with pytest.raises(AdminProblem) as refusal:
            await here.admin.call("DELETE", f"/commands/{reboot}", headers={"If-Match": "*"})
        assert refusal.value.code == "command-over"


def test_over_sip_the_api_says_what_is_known(tmp_path: Path) -> None:
    """A monitor without a channel, of a model that obeys check-sync: the device's answer is all that is claimed."""
    with RunningGateway(tmp_path, loopback_config(more='[sip]\ndomains = ["gw.test"]\n')) as gateway:
        site = add_site(gateway, "House")
        (door,) = add_devices(gateway, site, 1)
        mac = "0C1105000077"
        gateway.ask("POST", "/mac-library", {"mac": mac, "site": site})
        monitor = gateway.ask("PUT", f"/devices/{mac}", {"site": site, "kind": 2, "model": "C313", "name": "Kitchen"})
        account = monitor["account"]
        phone = UdpPhone(gateway.address("sip_udp"), "M", account["username"], account["password"])
        other = UdpPhone(gateway.address("sip_udp"), "D", door.username, door.password)

        provision = gateway.ask("POST", f"/devices/{mac}/commands", {"name": "provision"})
        _register(phone)
        request = phone.next()
        assert isinstance(request, Request)
        assert (request.method, request.get(b"event")) == (b"NOTIFY", b"check-sync")
        phone.send(phone.reply(request, 200))
        found = _over(gateway, provision["id"])
        assert (found["state"], found["way"], found["result"]) == ("accepted", "sip", "the device answered 200")

        reboot = gateway.ask("POST", f"/devices/{mac}/commands", {"name": "reboot"})
        request = phone.next()
        assert isinstance(request, Request)
        assert request.get(b"event") == b"check-sync;reboot=true"
        phone.send(phone.reply(request, 401))
        found = _over(gateway, reboot["id"])
        assert (found["state"], found["result"]) == ("failed", "the device answered 401")

        _register(other)
        unable = gateway.ask("POST", f"/devices/{door.mac}/commands", {"name": "reboot", "seconds": 1})
        assert _over(gateway, unable["id"])["state"] == "expired"
        assert other.arrivals() == []
        status = gateway.ask("GET", f"/devices/{mac}/status")
        assert (status["ways"], status["since"] is not None) == (["sip"], True)
        for one in (phone, other):
            one.socket.close()


def _register(phone: UdpPhone) -> None:
    data = phone.register()
    phone.send(data)
    challenge = phone.next()
    assert not isinstance(challenge, Request)
    phone.send(phone.with_credentials(data, challenge))
    answer = phone.next()
    assert not isinstance(answer, Request)
    assert answer.status == 200


def _over(gateway: RunningGateway, command: str) -> Any:
    end = time.monotonic() + WITHIN
    while (found := gateway.ask("GET", f"/commands/{command}"))["state"] in ("pending", "processing"):
        assert time.monotonic() < end, found
        time.sleep(0.03)
    return found
