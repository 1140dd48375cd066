"""`UpgradeClock`: looks at the upgrades that are not over every few seconds, and writes what time and versions make of them.

Versions are read from the store too: what a device's binding says in its User-Agent, whichever node it registered at. Several
nodes may look at the same time; the versions of the records in the store keep each step single.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from autop.firmware import fits, told_version
from autop.net.upgrades import Records
from autop.rollout import DeviceFacts, advance
from autop.upgrade_commands import can_be_woken, reset_ordered, wakes
from registry.commands import Command
from registry.errors import NotFound, RegistryError, StaleVersion
from registry.firmware import MAX_UPGRADE_DEVICES, DeviceUpgrade, FirmwareUpgrade, UpgradeState
from registry.location import AorBindings
from registry.records import Device, Site
from registry.store import MAX_PAGE, Change, Put, Record, Require, Store, Stored, Write

R = TypeVar("R", bound=Record)
EVERY_SECONDS = 5.0
REST_SECONDS = 0.5
"""Between two looks, however much changes."""
RECOUNT = 12
MAX_UPGRADES = 5000
"""Upgrades that are looked at."""
_log = logging.getLogger("portico.firmware")


class UpgradeClock:
    """The one task of a node that moves upgrades on. `start` and `stop` once each."""

    def __init__(
        self, store: Store, records: Records, wall: Callable[[], float], every: float = EVERY_SECONDS, *, resets: bool = False
    ) -> None:
        """`records`: the read model, for what is read of each device at each look. `resets` as of `Upgrades`."""
        self._resets = resets
        self._store = store
        self._records = records
        self._wall = wall
        self._every = every
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._looks = 0
        self._over: Counter[UpgradeState] = Counter()
        self.states: Counter[UpgradeState] = Counter()
        """Upgrades by state, as last seen; those that are over are counted every RECOUNT looks."""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="firmware upgrades")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def changed(self, change: Change) -> None:
        """Look soon if this change may be one to an upgrade. For the change feed."""
        if change.kind in (FirmwareUpgrade.__name__, DeviceUpgrade.__name__):
            self._woken.set()

    async def look(self) -> None:
        """Look at every open upgrade once. Raises RegistryError."""
        states: Counter[UpgradeState] = Counter()
        for stored in await self._list(FirmwareUpgrade, "open", "", MAX_UPGRADES):
            states[stored.record.state] += 1
            if self._wall() < stored.record.starts:
                continue
            devices = await self._list(DeviceUpgrade, "upgrade", stored.record.id, MAX_UPGRADE_DEVICES)
            with contextlib.suppress(StaleVersion, NotFound):  # somebody else was first: the next look sees what they wrote
                await self._move(stored, devices)
        if self._looks % RECOUNT == 0:
            every = await self._list(FirmwareUpgrade, "all", "", MAX_UPGRADES)
            self._over = Counter(stored.record.state for stored in every if stored.record.state.is_over)
        self._looks += 1
        self.states = states + self._over

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except RegistryError as error:
                _log.warning("upgrades could not be looked at: %s", error)
            await asyncio.sleep(REST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._woken.wait()
            self._woken.clear()

    async def _move(self, stored: Stored[FirmwareUpgrade], devices: list[Stored[DeviceUpgrade]]) -> None:
        upgrade, now = stored.record, self._wall()
        ordered = sorted(devices, key=lambda device: device.record.place)
        before = [device.record for device in ordered]
        facts = {device.mac.text: await self._facts(device, upgrade) for device in before if not device.state.is_over}
        in_hours = await self._in_hours(upgrade, now)
        after, moved = advance(upgrade, before, facts, now, in_hours=in_hours)
        orders: list[Command] = wakes(before, moved, now) if can_be_woken(upgrade.model) else []
        for place, device in enumerate(moved):
            if self._resets and device is not before[place]:
                moved[place], reset = reset_ordered(device, now)
                orders += reset
        writes: list[Write] = [
            Put(record, expect=old.version) for old, record in zip(ordered, moved, strict=True) if record is not old.record
        ]
        if after is not upgrade:
            writes.append(Put(after, expect=stored.version))
        elif writes:
            writes.append(Require(FirmwareUpgrade, upgrade.id, stored.version))
        if writes:
            await self._store.batch([*writes, *(Put(order, expect=0) for order in orders)])

    async def _facts(self, device: DeviceUpgrade, upgrade: FirmwareUpgrade) -> DeviceFacts:
        found = await self._records.get(Device, device.mac.text)
        if found is None or found.record.site != upgrade.site or not fits(found.record.model, upgrade.model):
            return DeviceFacts(fits=False)
        bindings = await self._records.get(AorBindings, found.record.account) if found.record.account else None
        agents = (
            [one.user_agent for one in bindings.record.bindings if one.expires > self._wall()] if bindings is not None else []
        )
        versions = [version for agent in agents if (version := told_version(agent, device.version))]
        # The newest binding stands last; a binding of before the reboot may live on beside it.
        return DeviceFacts(fits=True, version=versions[-1] if versions else "")

    async def _in_hours(self, upgrade: FirmwareUpgrade, now: float) -> bool:
        if not upgrade.hours:
            return True
        site = await self._records.get(Site, upgrade.site)
        return in_hours(site.record.time_zone if site is not None else "UTC", now, upgrade.first_hour, upgrade.hours)

    async def _list(self, kind: type[R], index: str, value: str, most: int) -> list[Stored[R]]:
        found: list[Stored[R]] = []
        after: str | None = None
        while len(found) < most:
            page = await self._store.list(kind, index, value, after=after, limit=MAX_PAGE)
            found += page.items
            after = page.next
            if after is None:
                break
        return found


def in_hours(time_zone: str, now: float, first_hour: int, hours: int) -> bool:
    """Whether the clock of `time_zone` (UTC for one that nobody knows) is within `hours` hours from `first_hour`."""
    try:
        local = datetime.fromtimestamp(now, ZoneInfo(time_zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local = datetime.fromtimestamp(now, UTC)
    return (local.hour - first_hour) % 24 < hours
