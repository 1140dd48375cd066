"""Doors through a whole node: a gateway in its own process, a simulated door phone, monitor and app over real sockets."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from simulators.admin_client import AdminClient, AdminProblem
from simulators.agent_events import Answered, DtmfSent, Ended, IncomingCall, Registered, Ringing
from simulators.app import App
from simulators.device import ChannelChanged, ConfigFetched
from simulators.door_phone import DoorPhone, OpeningKept, RelayOpened
from simulators.indoor_monitor import IndoorMonitor, RelayStateKept
from simulators.line import SipAccount
from simulators.ready_file import read_ready
from simulators.relays import Switched
from simulators.seeding import SecretsFile, Seeder
from tests.system.peers import RunningGateway, loopback_config
from tests.system.test_simulated_devices import DOOR, MONITOR, NOBODY, plug_in

pytestmark = pytest.mark.system

WITHIN = 25.0
LIMIT = 3.5
"""Seconds within which an app must know what became of its wish (issue 4, point 8)."""
APP_ONLY = ["app-home", "app-talking"]
RELAYS = [
    {"name": "Door", "dtmf_code": "#", "hold_seconds": 1, "access_methods": ["dtmf", *APP_ONLY]},
    {"name": "Garage", "dtmf_code": "25", "hold_seconds": 1, "access_methods": ["app-talking"]},
]


class TerseDoor(DoorPhone):
    """A door phone that reports openings as many do: which relay and how, but neither who nor in which call."""

    async def _report_opening(self, switched: Switched, method: str, by: str, call: str, command: str, at: float) -> None:
        await super()._report_opening(switched, method, "", "", command, at)


@dataclass
class House:
    """A site with a door phone, a monitor, and a resident with an app; everything is up."""

    gateway: RunningGateway
    admin: AdminClient
    site: str
    door: DoorPhone
    monitor: IndoorMonitor
    app: App

    async def talk(self) -> str:
        """The visitor rings, the app answers; returns the call."""
        door, app = self.door.happenings, self.app.happenings
        since, at_app = door.mark(), app.mark()
        call = self.door.press_button()
        await app.next(IncomingCall, at_app)
        self.app.answer(call)
        await door.next(Answered, since)
        await app.next(Answered, at_app)
        return call

    async def hang_up(self, call: str) -> None:
        since = self.door.happenings.mark()
        self.app.hang_up(call)
        await self.door.happenings.next(Ended, since)

    async def press(self, call: str, keys: str) -> list[int]:
        """Press keys in the app; the statuses of their INFOs."""
        found, since = [], self.app.happenings.mark()
        for key in keys:
            self.app.press(call, key)
            found.append((await self.app.happenings.next(DtmfSent, since)).status)
            since = self.app.happenings.mark()
        return found

    async def door_log(self) -> list[Any]:
        return [entry async for entry in self.admin.items("/door-log", site=self.site)]

    async def behind(self, path: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """A log once it has `enough`: entries are written behind what they tell of, in another process, so it is read again."""
        while True:
            entries = [entry async for entry in self.admin.items(path, site=self.site)]
            if enough(entries):
                return entries
            await asyncio.sleep(0.05)

    async def call_logged(self, call: str) -> None:
        """Return once the call's record can be read."""
        await self.behind("/call-log", lambda entries: call in [entry["call_id"] for entry in entries])

    async def refused(self, page: str, relay: int = 1, key: str = "") -> tuple[str, float]:
        """The code with which a tap is refused, and how long that took."""
        begun = time.monotonic()
        with pytest.raises(AdminProblem) as refusal:
            await self.app.open(DOOR, relay, page, key=key)
        return refusal.value.code, time.monotonic() - begun

    def openings(self) -> int:
        """How often the door has really opened."""
        return sum(isinstance(one, RelayOpened) for one in self.door.happenings._kept)

    async def restart(self) -> None:
        """Kill -9 and start again at the same places; returns once the door's channel is back."""
        since = self.door.happenings.mark()
        config = loopback_config()
        for name in ("sip_udp", "autop_https", "channel", "admin"):
            config = config.replace(f"{name} = 0", f"{name} = {self.gateway.address(name)[1]}")
        self.gateway.kill()
        (self.gateway.folder / "portico.toml").write_text(config)
        await self.door.happenings.next(ChannelChanged, since, lambda changed: not changed.up)
        await asyncio.to_thread(self.gateway.start)
        await self.door.happenings.next(ChannelChanged, since, lambda changed: changed.up)


@contextlib.asynccontextmanager
async def house(folder: Path, kind: type[DoorPhone] = DoorPhone) -> AsyncIterator[House]:
    with RunningGateway(folder) as gateway:
        ready = read_ready(folder / "ready.json")
        admin = AdminClient(*ready.admin, ready.admin_token_file)
        secrets = SecretsFile(folder / "devices.jsonl")
        seeder = Seeder(admin, secrets)
        site = await seeder.site("House")
        await seeder.in_library([DOOR.text, MONITOR.text], site)
        person = {"site": site, "first_name": "Ada", "last_name": "King", "number": "101", "app": True}
        user = (await admin.call("POST", "/users", person)).body
        door = {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate", "button_number": "101", "relays": RELAYS}
        monitor = {"site": site, "kind": 2, "model": "PORTICO-SIM-MONITOR", "name": "Flat", "owner": user["id"]}
        await seeder.device(DOOR.text, door)
        await seeder.device(MONITOR.text, monitor)
        host, port = ready.sip_udp
        account = SipAccount(user["account"]["username"], user["account"]["password"], host, port, "Ada")
        here = House(
            gateway,
            admin,
            site,
            plug_in(kind, DOOR, ready, secrets),
            plug_in(IndoorMonitor, MONITOR, ready, secrets, resident=NOBODY),
            App(account, admin, entropy=os.urandom),
        )
        try:
            async with asyncio.timeout(WITHIN):
                await here.app.start()
                await here.app.happenings.next(Registered, 0)
                for device in (here.door, here.monitor):
                    await device.boot()
                    await device.happenings.next(Registered, 0)
                    await device.happenings.next(ChannelChanged, 0)
            yield here
        finally:
            await here.app.stop()
            await here.door.shut_down()
            await here.monitor.shut_down()


async def test_the_home_page_opens_once_per_tap_and_the_log_says_who(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(WITHIN):
        answer = await here.app.open(DOOR, 1, "home", key="tap-1")
        assert here.door.is_open(1)
        again = await here.app.open(DOOR, 1, "home", key="tap-1")
        assert (answer.status, again.body, here.openings()) == (200, answer.body, 1)
        await here.door.happenings.next(OpeningKept, 0)  # the device's own report of it is the same entry
        (entry,) = await here.door_log()
        assert (entry["opened"], entry["relay"], entry["method"], entry["by"], entry["call_id"]) == (
            True,
            1,
            "app-home",
            here.app.account.username,
            "",
        )
        assert (await here.refused("home", 2))[0] == "opening-refused"
        await here.app.open(DOOR, 1, "home", key="tap-2")
        assert here.openings() == 2


async def test_the_talking_page_opens_only_while_it_talks_with_that_door(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(WITHIN):
        assert (await here.refused("talking", 2))[0] == "opening-refused"
        since, at_app = here.door.happenings.mark(), here.app.happenings.mark()
        call = here.door.press_button()
        await here.app.happenings.next(IncomingCall, at_app)
        await here.door.happenings.next(Ringing, since)
        assert (await here.refused("talking", 2))[0] == "opening-refused"  # it rings only
        here.app.answer(call)
        await here.door.happenings.next(Answered, since)
        await here.app.happenings.next(Answered, at_app)
        answer = await here.app.open(DOOR, 2, "talking")
        assert (answer.body["method"], answer.body["call_id"]) == ("app-talking", call)
        await here.hang_up(call)
        assert (await here.refused("talking", 2))[0] == "opening-refused"
        await here.call_logged(call)
        (entry,) = await here.door_log()  # and none that says the door stayed shut
        assert (entry["relay"], entry["method"], entry["call_id"], entry["by"]) == (
            2,
            "app-talking",
            call,
            here.app.account.username,
        )
        assert here.openings() == 1


async def test_a_door_that_refuses_is_away_or_dead_is_an_error_in_time_and_no_entry(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(WITHIN):
        here.door.fault = "relay_jammed"
        code, seconds = await here.refused("home")
        assert (code, seconds < LIMIT) == ("device-refused", True)
        here.door.fault = ""
        # Dead: the connection is up, and nothing that is sent over it is read.
        assert here.door.agent is not None
        link = here.door.agent._link
        assert link is not None
        assert link._transport is not None
        link._transport.pause_reading()
        code, seconds = await here.refused("home", key="tap")
        assert (code, seconds < LIMIT) == ("device-silent", True)
        assert seconds > 2.5
        # Nobody waits for the dead link any more: the next tap is told so at once.
        code, seconds = await here.refused("home", key="tap")
        assert (code, seconds < 1.0) == ("device-unreachable", True)
        assert (here.openings(), await here.door_log()) == (0, [])
        await here.behind("/audit", lambda entries: [one["action"] for one in entries].count("relay.refused") == 3)
        # A new power-on, and the same tap opens.
        config = here.door.config
        assert config is not None
        since = here.door.happenings.mark()
        await here.door._start_channel(config.channel)
        await here.door.happenings.next(ChannelChanged, since, lambda changed: changed.up)
        await here.app.open(DOOR, 1, "home", key="tap")
        assert (here.openings(), len(await here.door_log())) == (1, 1)


async def test_a_gateway_killed_between_the_opening_and_the_answer_opens_once(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(40):
        obey = here.door._commanded

        async def opens_and_says_nothing(body: Mapping[str, Any]) -> Mapping[str, Any]:
            await obey(body)
            await asyncio.Event().wait()
            return {}

        assert here.door.agent is not None
        here.door.agent._call_targets["open-relay"] = opens_and_says_nothing
        tap = asyncio.create_task(here.app.open(DOOR, 1, "home", key="tap"))
        await here.door.happenings.next(RelayOpened, 0)
        await here.restart()
        with pytest.raises(AdminProblem):
            await tap
        await here.door.happenings.next(OpeningKept, 0)
        answer = await here.app.open(DOOR, 1, "home", key="tap")
        assert (answer.status, answer.body["by"], here.openings()) == (200, here.app.account.username, 1)
        (entry,) = await here.door_log()
        assert (entry["method"], entry["by"]) == ("app-home", here.app.account.username)


async def test_a_code_by_info_says_who_in_which_call_though_the_door_does_not(tmp_path: Path) -> None:
    async with house(tmp_path, TerseDoor) as here, asyncio.timeout(WITHIN):
        call = await here.talk()
        assert await here.press(call, "#") == [200]
        await here.door.happenings.next(OpeningKept, 0)
        await here.hang_up(call)
        await here.call_logged(call)
        (entry,) = await here.door_log()
        assert (entry["method"], entry["by"], entry["call_id"]) == ("dtmf", here.app.account.username, call)


async def test_a_device_in_a_call_asks_for_its_configuration_when_the_call_is_over(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        call = await home.talk()
        log, since = home.door.happenings, home.door.happenings.mark()
        polling = asyncio.ensure_future(home.door.poll())
        for key in "12345":  # each goes through the gateway and back, as a fetch would
            await home.press(call, key)
            assert log.find(ConfigFetched, since) is None
        await home.hang_up(call)
        async with asyncio.timeout(WITHIN):
            await polling
        assert log.find(ConfigFetched, since) is not None


async def test_a_relay_that_dtmf_may_not_trigger_stays_shut(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(WITHIN):
        call = await here.talk()
        assert await here.press(call, "25") == [200, 403]
        await here.hang_up(call)
        assert here.openings() == 0


@pytest.mark.parametrize("switch", [True, False])
async def test_a_call_before_a_shut_door_is_an_entry_where_the_site_wants_it_and_survives_kill_9(
    tmp_path: Path, switch: bool
) -> None:
    async with house(tmp_path) as here, asyncio.timeout(40):
        if not switch:
            await here.admin.call("PATCH", f"/sites/{here.site}", {"log_unopened_calls": False}, headers={"If-Match": "*"})
        call = await here.talk()
        await here.hang_up(call)
        await here.call_logged(call)
        await here.restart()
        (record,) = [one async for one in here.admin.items("/call-log", site=here.site)]
        assert (record["call_id"], record["answered_by"], record["result"]) == (call, here.app.account.username, "answered")
        entries = await here.door_log()
        assert [(one["opened"], one["method"], one["call_id"], one["detail"]) for one in entries] == (
            [(False, "call", call, "called 101: answered")] if switch else []
        )


async def test_an_opening_reported_after_the_call_replaces_the_entry(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(WITHIN):
        await here.door._stop_channel()
        call = await here.talk()
        assert await here.press(call, "#") == [200]
        await here.hang_up(call)
        (entry,) = await here.behind("/door-log", lambda entries: len(entries) == 1)
        assert not entry["opened"]
        assert here.door.config is not None
        await here.door._start_channel(here.door.config.channel)
        await here.door.happenings.next(OpeningKept, 0)
        (entry,) = await here.door_log()
        assert (entry["opened"], entry["method"], entry["by"]) == (True, "dtmf", here.app.account.username)


async def test_the_state_of_a_monitors_relay_is_shown(tmp_path: Path) -> None:
    async with house(tmp_path) as here, asyncio.timeout(WITHIN):
        for on in (True, False, True):
            here.monitor.switch_relay(1, on)
        await here.monitor.happenings.next(RelayStateKept, 0, lambda kept: kept.on)
        status = await here.admin.get(f"/devices/{MONITOR}/status")
        assert [(one["relay"], one["on"]) for one in status["relays"]] == [(1, True)]
