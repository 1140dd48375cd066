"""A fleet: N devices in sites of 50, one process, that boot with patience, stay registered and call each other.

Fleet devices have no channel and no web page: what a fleet loads is autop, the registrar and the proxy.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.mac import MacAddress
from simulators.admin_client import AdminClient
from simulators.agent_events import Answered, DtmfReceived, Ended, NotRegistered, Refreshed, Registered
from simulators.autop_client import AutopClient, trust
from simulators.device import Device
from simulators.indoor_monitor import IndoorMonitor, Resident
from simulators.ready_file import Ready, read_ready
from simulators.seeding import SecretsFile, Seeder
from tunnel.net.agent import client_context

SITE_SIZE = 50
DOORS_PER_SITE = 5
FIRST_MAC = 0x0C1105F00000
FIRST_NUMBER = 101
AT_ONCE = 8
"""Admin API requests under way at a time while the sites are made."""
PATIENCE = 120.0
"""Seconds after the last device's turn to boot until those still without a registration count as failed."""
CALL_SECONDS = 90.0
"""Seconds a call may take in all."""
PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """How many devices, over how many seconds they boot, how many calls begin a minute (all in all), for how many minutes."""

    devices: int
    boot_seconds: float
    calls_per_minute: float
    minutes: float
    transports: tuple[str, ...] = ("udp",)
    """Dealt out in turn."""

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= 0xFFFFF:
            raise ValueError("--devices: between 1 and 1048575")
        if min(self.boot_seconds, self.calls_per_minute, self.minutes) < 0:
            raise ValueError("--boot-seconds, --calls-per-minute and --minutes: 0 or more")
        if not self.transports or not set(self.transports) <= {"udp", "tcp", "tls"}:
            raise ValueError("--transports: udp, tcp, tls, with commas between")


@dataclass(slots=True)
class Tally:
    """What happened, for the last line. Times are seconds."""

    boot_times: list[float] = field(default_factory=list)
    setup_times: list[float] = field(default_factory=list)
    calls_ok: int = 0
    calls_skipped: int = 0
    """Calls not begun because every door was in one: the fleet is too small for the rate."""
    call_failures: dict[str, int] = field(default_factory=dict)
    refreshes: int = 0
    lost_registrations: int = 0

    def call_failed(self, why: str) -> None:
        """Count a call that did not do its job."""
        self.call_failures[why] = self.call_failures.get(why, 0) + 1


def percentile(times: list[float], share: float) -> float | None:
    """The nearest-rank percentile, in milliseconds; None without times."""
    if not times:
        return None
    ranked = sorted(times)
    return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1000, 1)


@dataclass(slots=True)
class Member:
    """One device of the fleet: where it stands and, for a monitor, its apartment's number."""

    mac: MacAddress
    site: int
    is_door: bool
    number: str
    device: Device | None = None
    calling: bool = False
    """It takes part in a call that the fleet has begun. The device itself knows only once the INVITE has reached it, and on a bad
    line that takes seconds: whoever chose it again in between would hear 486 (Busy Here)."""


class FleetDoor(Device):
    """A door phone without a page: it only calls, and hears the code."""

    model = "Portico R29-SIM 29.30.1.1"


def members(count: int) -> list[Member]:
    """The fleet's devices. The first of each site's 50 are doors, at least one; a site with a door only has nobody to call."""
    found = []
    for index in range(count):
        site, place = divmod(index, SITE_SIZE)
        size = min(SITE_SIZE, count - site * SITE_SIZE)
        doors = max(1, size * DOORS_PER_SITE // SITE_SIZE)
        number = str(FIRST_NUMBER + place - doors) if place >= doors else ""
        found.append(Member(MacAddress(f"{FIRST_MAC + index:012X}"), site, place < doors, number))
    return found


class Fleet:
    """Makes the sites, boots the devices, makes the calls."""

    def __init__(self, ready: Ready, plan: FleetPlan) -> None:
        self._ready = ready
        self._plan = plan
        self._admin = AdminClient(*ready.admin, ready.admin_token_file, deadline=30.0)
        self._notes = SecretsFile(ready.folder / "fleet-devices.jsonl")
        self._chance = random.Random()  # which door calls whom: no secret
        self._tls = trust(ready.ca_file_text)
        self._channel_tls = client_context(ca_file=ready.ca_file_text, check=ready.ca_file is not None)
        self.members = members(plan.devices)
        self.tally = Tally()

    @property
    def registered(self) -> int:
        """How many are registered now."""
        return sum(member.device is not None and member.device.registered for member in self.members)

    async def seed(self) -> None:
        """Every site, user and device exists."""
        sites: dict[int, list[Member]] = {}
        for member in self.members:
            sites.setdefault(member.site, []).append(member)
        for number, here in sites.items():
            await self._seed_site(number, here)

    async def _seed_site(self, number: int, here: list[Member]) -> None:
        seeder = Seeder(self._admin, self._notes)
        site = await seeder.site(f"Fleet site {number + 1}")
        await seeder.in_library([member.mac.text for member in here], site)
        wanted = [{"first_name": "Apartment", "last_name": m.number, "number": m.number} for m in here if not m.is_door]
        users = await seeder.users(site, wanted)
        gate = asyncio.Semaphore(AT_ONCE)

        async def add(member: Member) -> None:
            async with gate:
                place = int(member.mac.text[-6:], 16) % len(self._plan.transports)
                body = _device_body(member, site, users) | {"transmission": self._plan.transports[place]}
                await seeder.device(member.mac.text, body)

        await asyncio.gather(*(add(member) for member in here))

    async def boot(self) -> None:
        """Switch all on, spread over the plan's seconds; wait until all are registered or patience ends."""
        spacing = self._plan.boot_seconds / len(self.members)
        boots = [asyncio.ensure_future(self._boot_one(member, place * spacing)) for place, member in enumerate(self.members)]
        done, late = await asyncio.wait(boots, timeout=self._plan.boot_seconds + PATIENCE)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()

    async def _boot_one(self, member: Member, after: float) -> None:
        await asyncio.sleep(after)
        secrets = self._notes.get(member.mac.text)
        assert secrets is not None
        autop = AutopClient(url=self._ready.autop_url(secrets.autop_path), mac=member.mac, tls=self._tls)
        options: dict[str, Any] = {"tls": self._channel_tls, "entropy": os.urandom, "wall": time.time, "on_each": self._notice}
        options["sip_tls"] = self._tls
        if member.is_door:
            device: Device = FleetDoor(member.mac, autop, with_channel=False, **options)
        else:
            device = IndoorMonitor(member.mac, autop, with_channel=False, resident=Resident(0.5, 0.5, 0.5), **options)
        member.device = device
        began = time.monotonic()
        await device.boot()
        await device.happenings.next(Registered, 0)
        self.tally.boot_times.append(time.monotonic() - began)

    def _notice(self, happening: object) -> None:
        self.tally.refreshes += isinstance(happening, Refreshed)
        self.tally.lost_registrations += isinstance(happening, NotRegistered)

    async def call(self) -> None:
        """Begin calls at the plan's rate for its minutes, and wait for the last ones."""
        seconds = self._plan.minutes * 60
        if self._plan.calls_per_minute <= 0:
            await asyncio.sleep(seconds)
            return
        spacing = 60 / self._plan.calls_per_minute
        loop = asyncio.get_running_loop()
        began, count, running = loop.time(), 0, set[asyncio.Task[None]]()
        while count * spacing < seconds:
            await asyncio.sleep(max(0.0, began + count * spacing - loop.time()))
            task = loop.create_task(self._one_call())
            running.add(task)
            task.add_done_callback(running.discard)
            count += 1
        await asyncio.gather(*running)

    async def _one_call(self) -> None:
        pair = self._free_pair()
        if pair is None:
            self.tally.calls_skipped += 1
            return
        for one in pair:
            one.calling = True
        try:
            await self._call_between(*pair)
        finally:
            for one in pair:
                one.calling = False

    async def _call_between(self, caller: Member, called: Member) -> None:
        """One call, counted."""
        door, number = caller.device, called.number
        assert door is not None
        assert door.sip is not None
        log, since, began = door.happenings, door.happenings.mark(), time.monotonic()
        call = door.sip.dial(number)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                ended = await log.next(Ended, since, lambda event: event.call == call)
        except TimeoutError:
            self.tally.call_failed("no end")
            return
        if log.find(Answered, since, lambda event: event.call == call) is None:
            self.tally.call_failed(f"not answered ({ended.status})")
        elif log.find(DtmfReceived, since, lambda event: event.call == call) is None:
            self.tally.call_failed("no code came")
        else:
            self.tally.calls_ok += 1
            self.tally.setup_times.append(time.monotonic() - began)

    def _free_pair(self) -> tuple[Member, Member] | None:
        """A door and a monitor of its site, neither in a call."""
        for door in self._chance.sample(self.members, len(self.members)):
            if door.is_door and _is_free(door):
                here = [m for m in self.members if m.site == door.site and not m.is_door and _is_free(m)]
                if here:
                    return door, self._chance.choice(here)
        return None

    async def stop(self) -> None:
        """Switch all off in good order."""
        await asyncio.gather(*(m.device.shut_down() for m in self.members if m.device is not None))

    def result(self) -> dict[str, Any]:
        """The last line."""
        tally = self.tally
        booted = len(tally.boot_times)
        return {
            "devices": len(self.members),
            "registered": booted,
            "failed": len(self.members) - booted,
            "registered_at_end": self.registered,
            "boot_ms": {"p50": percentile(tally.boot_times, 0.5), "p99": percentile(tally.boot_times, 0.99)},
            "refreshes": tally.refreshes,
            "registration_failures": tally.lost_registrations,
            "calls_ok": tally.calls_ok,
            "calls_skipped": tally.calls_skipped,
            "calls_failed": sum(tally.call_failures.values()),
            "call_failures": tally.call_failures,
            "call_ms": {"p50": percentile(tally.setup_times, 0.5), "p99": percentile(tally.setup_times, 0.99)},
        }


def _device_body(member: Member, site: str, users: dict[str, str]) -> dict[str, Any]:
    if member.is_door:
        relay = {"name": "Door", "dtmf_code": "#"}
        return {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": f"Door {member.mac}", "relays": [relay]}
    name = f"Apartment {member.number}"
    return {"site": site, "kind": 2, "model": "PORTICO-SIM-MONITOR", "name": name, "owner": users[member.number]}


def _is_free(member: Member) -> bool:
    device = member.device
    idle = device is not None and device.sip is not None and device.registered and not device.sip.busy
    return idle and not member.calling


async def run_fleet(ready_file: Path, plan: FleetPlan) -> int:
    """Run a fleet; progress goes to stderr, one JSON line of results to stdout. Exit status 1 if a device or call failed."""
    fleet = Fleet(read_ready(ready_file), plan)
    with _cancelled_by_signals():
        progress = asyncio.ensure_future(_progress(fleet))
        try:
            await fleet.seed()
            await fleet.boot()
            await fleet.call()
        except asyncio.CancelledError:
            sys.stderr.write("simulators: stopped early\n")
        result = fleet.result()
        progress.cancel()
        await fleet.stop()
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return 0 if result["failed"] == result["calls_failed"] == 0 else 1


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the run early, with its results so far."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _progress(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        tally = fleet.tally
        failed = sum(tally.call_failures.values())
        count = len(fleet.members)
        sys.stderr.write(f"registered {fleet.registered}/{count}, calls ok {tally.calls_ok}, failed {failed}\n")
