"""The demo: a house with a door phone and an indoor monitor, and the main job once, as a transcript anybody can follow."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from registry.mac import MacAddress
from simulators.admin_client import AdminClient, AdminProblem
from simulators.agent_events import Answered, DtmfSent, Ended, IncomingCall, Registered, Ringing
from simulators.autop_client import AutopClient, trust
from simulators.device import ChannelChanged, ConfigFetched, Device
from simulators.door_phone import DoorPhone, OpeningKept, RelayOpened
from simulators.indoor_monitor import IndoorMonitor, Resident
from simulators.ready_file import Ready, read_ready
from simulators.seeding import DeviceSecrets, SecretsFile, Seeder
from simulators.transcript import Step, StepFailed, Transcript
from tunnel.net.agent import client_context

SITE = "Demo House"
DOOR_MAC = MacAddress("0C1105000001")
MONITOR_MAC = MacAddress("0C1105000002")
APARTMENT = "101"
RELAY = {"name": "Front door", "dtmf_code": "#", "hold_seconds": 5}

LOG_LINES = "the gateway's log (its stderr), and GET /metrics at its metrics address"


T = TypeVar("T")


class CallOver(Exception):
    """The call ended before it did what it was for."""


@dataclass(slots=True)
class House:
    """What the steps hand to each other."""

    ready: Ready
    admin: AdminClient
    site: str = ""
    secrets: dict[MacAddress, DeviceSecrets] = field(default_factory=dict)
    call: str = ""


class Demo:
    """Plays the steps in order; each one waits for what really happened at the devices or in the logs, under a deadline."""

    def __init__(self, transcript: Transcript, ready: Ready, resident: Resident) -> None:
        self._say = transcript
        self._resident = resident
        admin = AdminClient(*ready.admin, ready.admin_token_file)
        self._house = House(ready, admin)
        self._door: DoorPhone | None = None
        self._monitor: IndoorMonitor | None = None

    async def play(self) -> None:
        """The main job once. Raises StepFailed."""
        say = self._say
        say.heading(f"{SITE}: what a management plane sets up once, through the admin API")
        await self._seed()
        say.heading("Two devices are plugged in; all they know is the autop URL an installer typed in")
        await self._boot()
        say.heading("A visitor presses the button")
        await self._call()
        say.heading("What the gateway wrote down")
        await self._logs()
        say.heading("Maintenance from afar")
        await self._remote_control()

    async def stop(self) -> None:
        """Switch the devices off."""
        for device in (self._door, self._monitor):
            if device is not None:
                await device.shut_down()

    @property
    def door(self) -> DoorPhone:
        """The door phone, once it was made."""
        assert self._door is not None
        return self._door

    @property
    def monitor(self) -> IndoorMonitor:
        """The indoor monitor, once it was made."""
        assert self._monitor is not None
        return self._monitor

    # The steps

    async def _seed(self) -> None:
        house = self._house
        async with self._say.step(
            "seed",
            "Site, MAC library, user and devices",
            within=20,
            expected="201 or 200 from the admin API for each of them",
            look=f"http://{house.ready.admin[0]}:{house.ready.admin[1]}/api/v1, the token in {house.ready.admin_token_file}",
        ) as step:
            notes = SecretsFile(house.ready.folder / "demo-devices.jsonl")
            seeder = Seeder(house.admin, notes)
            site = house.site = await seeder.site(SITE)
            await seeder.in_library([DOOR_MAC.text, MONITOR_MAC.text], site)
            resident = {"first_name": "Apartment", "last_name": APARTMENT, "number": APARTMENT}
            users = await seeder.users(site, [resident])
            door = {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Main entrance"}
            monitor = {"site": site, "kind": 2, "model": "PORTICO-SIM-MONITOR", "name": "Apartment 101"}
            house.secrets[DOOR_MAC] = await seeder.device(DOOR_MAC.text, {**door, "button_number": APARTMENT, "relays": [RELAY]})
            house.secrets[MONITOR_MAC] = await seeder.device(MONITOR_MAC.text, {**monitor, "owner": users[APARTMENT]})
            step.note("made: " + ", ".join(seeder.made) if seeder.made else "all there already", site=site, made=len(seeder.made))

    async def _boot(self) -> None:
        self._door = self._make(DoorPhone, DOOR_MAC)
        self._monitor = self._make(IndoorMonitor, MONITOR_MAC, resident=self._resident)
        for name, device in (("door phone", self.door), ("indoor monitor", self.monitor)):
            await self._boot_one(name, device)

    def _make(self, kind: type[Any], mac: MacAddress, **options: Any) -> Any:
        ready, ca_file = self._house.ready, self._house.ready.ca_file_text
        url = ready.autop_url(self._house.secrets[mac].autop_path)
        trusted = trust(ca_file)
        autop = AutopClient(url=url, mac=mac, tls=trusted)
        tls = client_context(ca_file=ca_file, check=ca_file is not None)
        return kind(mac, autop, tls=tls, sip_tls=trusted, entropy=os.urandom, wall=time.time, **options)

    async def _boot_one(self, name: str, device: Device) -> None:
        key = name.replace(" ", "-")
        log, autop = device.happenings, self._house.ready.autop_https
        title = f"The {name} ({device.mac}) fetches its configuration"
        look = f"https://{autop[0]}:{autop[1]}/autop/, portico_autop_* metrics"
        async with self._step(f"{key}-config", title, 20, "200 with its configuration", look) as step:
            await device.boot()
            fetched = await log.next(ConfigFetched, 0)
            assert device.config is not None
            account = device.config.account
            step.note(
                f"{fetched.size} bytes by MAC over HTTPS, ETag {fetched.etag[:14]}...", bytes=fetched.size, etag=fetched.etag
            )
            if account is not None:
                step.note(f"it says: account {account.username} at {account.server}:{account.port}", account=account.username)
        title = f"The {name} registers over SIP"
        async with self._step(f"{key}-register", title, 15, "200 to REGISTER after one 401", LOG_LINES) as step:
            registered = await log.next(Registered, 0)
            step.note(f"digest proven, kept for {registered.expires} s", expires=registered.expires)
        title = f"The {name} opens its channel"
        async with self._step(f"{key}-channel", title, 15, "WELCOME on the channel", LOG_LINES) as step:
            await log.next(ChannelChanged, 0, lambda changed: changed.up)
            step.note("TLS, both ends have proven that they know the device key")

    async def _call(self) -> None:
        door, monitor = self.door.happenings, self.monitor.happenings
        since_door, since_monitor = door.mark(), monitor.mark()
        look = LOG_LINES + "; GET /api/v1/ring-plans for what 101 rings"
        async with self._step(
            "ring", f"The door phone calls {APARTMENT}; the monitor rings", 10, "180 from the monitor", look
        ) as step:
            call = self._house.call = self.door.press_button()
            incoming = await self._unless_over(monitor.next(IncomingCall, since_monitor), since_door)
            await self._unless_over(door.next(Ringing, since_door), since_door)
            step.note(f"call from {incoming.display_name or incoming.caller}", call_id=call)
        async with self._step("answer", "The resident answers", 15, "200 and ACK", LOG_LINES) as step:
            await self._unless_over(door.next(Answered, since_door), since_door)
            await monitor.next(Answered, since_monitor)
        async with self._step(
            "open", "The resident presses the unlock button", 15, "INFO with the relay's DTMF code", LOG_LINES
        ) as step:
            sent = await self._unless_over(monitor.next(DtmfSent, since_monitor), since_door)
            opened = await self._unless_over(door.next(RelayOpened, since_door), since_door)
            step.note(f"SIP INFO application/dtmf-relay, Signal={sent.key}, answered {sent.status}", status=sent.status)
            step.note(f"relay {opened.relay} ({opened.name}) is open, by account {opened.by}", relay=opened.relay, by=opened.by)
        async with self._step(
            "report", "The door phone reports the opening", 15, "EVENT acknowledged on the channel", LOG_LINES
        ) as step:
            kept = await door.next(OpeningKept, since_door)
            step.note("acknowledged once the gateway had it on disk", event_id=kept.event_id)
        async with self._step("hang-up", "Both hang up", 15, "BYE and its 200", LOG_LINES) as step:
            ended = await door.next(Ended, since_door)
            await monitor.next(Ended, since_monitor)
            step.note(f"the call is over, ended by the {'monitor' if ended.by == 'remote' else 'door phone'}", by=ended.by)

    async def _unless_over(self, waited_for: Coroutine[Any, Any, T], since: int) -> T:
        """Wait for something of the call, but no longer than the call lives. Raises CallOver."""
        wanted = asyncio.ensure_future(waited_for)
        over = asyncio.ensure_future(self.door.happenings.next(Ended, since))
        try:
            await asyncio.wait({wanted, over}, return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                return wanted.result()
            ended = over.result()
            raise CallOver(f"the call ended with {ended.status} {ended.reason}")
        finally:
            wanted.cancel()
            over.cancel()

    async def _logs(self) -> None:
        house = self._house
        async with self._step("door-log", "The door log", 10, "an entry of this call", "GET /api/v1/door-log") as step:
            entry = await self._logged("/door-log")
            step.note(
                f"{entry['at']}  {entry['mac']}  relay {entry['relay']} opened by {entry['by']} ({entry['method']})", entry=entry
            )
        async with self._step("call-log", "The call log", 10, "an entry of this call", "GET /api/v1/call-log") as step:
            entry = await self._logged("/call-log")
            talked = f"rang {entry['ring_seconds']:.1f} s, talked {entry['talk_seconds']:.1f} s"
            step.note(
                f"{entry['caller']} -> {entry['dialled']}, {entry['result']} by {entry['answered_by']}, {talked}", entry=entry
            )
        assert house.call

    async def _logged(self, path: str) -> Any:
        """The entry of our call, looked for until it is there: it is written behind the call, in another process."""
        while True:
            page = await self._house.admin.get(path, site=self._house.site, limit="20")
            for entry in page["items"]:
                if entry["call_id"] == self._house.call:
                    return entry
            await asyncio.sleep(0.05)

    async def fresh_link(self) -> str:
        """Another Remote Control link; the first one works once and for a minute only. Raises AdminProblem."""
        return str((await self._new_session())["link"])

    async def _new_session(self) -> Any:
        return (await self._house.admin.call("POST", f"/devices/{DOOR_MAC.text}/remote-sessions", {})).body

    async def _remote_control(self) -> None:
        look = "the admin API's answer above; Remote Control listens at `remote_control` of the ready file"
        async with self._step(
            "remote-control", "A Remote Control link to the door phone's own web page", 10, "201", look
        ) as step:
            session = await self._new_session()
            config = self.door.config
            assert config is not None
            step.note("open in a browser (works once, within a minute; the certificate is the gateway's own):")
            step.note(str(session["link"]), link=session["link"], session=session["id"])
            step.note(f"log in as {config.web_user} / {config.web_password}  (shown in the demo only)")
            step.facts |= {"web_user": config.web_user, "web_password": config.web_password}

    @asynccontextmanager
    async def _step(self, name: str, title: str, within: float, expected: str, look: str) -> AsyncIterator[Step]:
        async with self._say.step(name, title, within=within, expected=expected, look=look) as step:
            yield step


async def run_demo(ready_file: Path, *, once: bool, as_json: bool, resident_seconds: float) -> int:
    """Play the demo; without `once` stay until SIGINT or SIGTERM. Returns the exit status. Raises NotReady."""
    transcript = Transcript(sys.stdout, time.monotonic, as_json=as_json)
    pause = resident_seconds
    demo = Demo(transcript, read_ready(ready_file), Resident(pause, pause, pause))
    playing = asyncio.ensure_future(demo.play())
    stop = _stop_signal(playing.cancel)
    try:
        await playing
        transcript.result()
        if not once:
            await _stay(demo, transcript, stop)
    except StepFailed:
        return 1
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        await demo.stop()
    return 0


async def _stay(demo: Demo, transcript: Transcript, stop: asyncio.Event) -> None:
    """Keep the devices up until `stop`; on a terminal Enter gives a fresh link, as the first one lives for a minute only."""
    transcript.line("")
    if not sys.stdin.isatty():
        transcript.line("The devices stay up: registered, channel open. Press Ctrl-C to end.")
        await stop.wait()
        return
    transcript.line("The devices stay up: registered, channel open. Enter: a fresh Remote Control link. Ctrl-C: end.")
    entered = asyncio.Event()

    def on_input() -> None:
        if not sys.stdin.readline():
            loop.remove_reader(sys.stdin)  # Ctrl-D
        entered.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, on_input)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stopping.done():
            waiting = asyncio.ensure_future(entered.wait())
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if entered.is_set() and not stopping.done():
                entered.clear()
                try:
                    transcript.line(await demo.fresh_link())
                except (AdminProblem, TimeoutError) as problem:
                    transcript.line(f"no link: {problem}")
    finally:
        stopping.cancel()
        loop.remove_reader(sys.stdin)


def _stop_signal(also: Callable[[], object]) -> asyncio.Event:
    """An event that SIGINT and SIGTERM set; `also` is called with it."""
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        also()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    return stop
