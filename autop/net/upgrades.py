"""`Upgrades`: what a device's requests make of its upgrade, through the store. Every step is written before it has its effect.

A device's record says all there is to know, so it does not matter which node a device asks, or whether that node was killed in
between. Two writers at once: the version in the store lets one in, and the other looks again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from autop.firmware import fits, offer_for, same, told_version
from autop.identify import FirmwareFile
from autop.net.firmware_files import FirmwareFiles, ImageReader
from autop.net.image import LiveUpgrade, OpenImage
from autop.rollout import proven
from autop.upgrade_commands import reset_ordered
from autop.upgrade_states import Event, is_offered, may_fetch, step
from registry.errors import RegistryError, StaleVersion
from registry.firmware import DeviceUpgrade, DeviceUpgradeState, FirmwareImage, FirmwareUpgrade
from registry.mac import MacAddress
from registry.records import Device
from registry.store import MAX_PAGE, Put, Record, Store, Stored

R = TypeVar("R", bound=Record)
ATTEMPTS = 8
"""Tries to write one device's record against other writers."""
MAX_NOTES = 1000
"""Writes of what devices said that may wait at a time; beyond it they are dropped, and the next request says it again."""
_log = logging.getLogger("portico.firmware")


class Records(Protocol):
    """What is asked of the read model."""

    async def get(self, kind: type[R], key: str) -> Stored[R] | None: ...

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None: ...


class Upgrades:
    """Implements `FirmwareSource` and `UpgradeEar`. `stop` once, at the end. `resets`: a device that was reset comes back by
    itself, so that a reset that is due is ordered."""

    def __init__(
        self, store: Store, records: Records, files: FirmwareFiles, wall: Callable[[], float], *, resets: bool = False
    ) -> None:
        self._store = store
        self._resets = resets
        self._records = records
        self._files = files
        self._wall = wall
        self._notes: set[asyncio.Task[None]] = set()

    async def live(self, device: Device) -> LiveUpgrade | None:
        found = await self._records.get_unique(DeviceUpgrade, "live", device.mac.text)
        if found is None:
            return None
        record = found.record
        image = await self._records.get(FirmwareImage, record.image) if is_offered(record) else None
        fitting = image is not None and fits(device.model, image.record.model)
        return LiveUpgrade(record.key, record.version, offer_for(device.model, record.image) if fitting else None)

    async def image(self, device: Device, asked: FirmwareFile) -> OpenImage | None:
        found = await self._records.get_unique(DeviceUpgrade, "live", device.mac.text)
        if found is None or found.record.image != asked.image or not may_fetch(found.record):
            return None
        image = await self._records.get(FirmwareImage, asked.image)
        offer = offer_for(device.model, asked.image)
        if image is None or offer is None or offer.extension != asked.extension or not fits(device.model, image.record.model):
            return None
        return _Image(self, found.record, image.record, ImageReader(self._files.open(asked.image)))

    def configuration_fetched(self, mac: MacAddress, live: LiveUpgrade, user_agent: str) -> None:
        version = told_version(user_agent, live.version)
        if (live.offer is None and not version) or len(self._notes) >= MAX_NOTES:
            return
        note = asyncio.get_running_loop().create_task(self._note(live, version), name="firmware note")
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def stop(self) -> None:
        """Finish what devices said."""
        await asyncio.gather(*self._notes)

    async def happened(self, key: str, change: Callable[[DeviceUpgrade], DeviceUpgrade]) -> DeviceUpgrade | None:
        """Write what `change` makes of a device's record, and return that; None if there is none. Raises RegistryError."""
        for attempt in range(ATTEMPTS):
            found = await self._store.get(DeviceUpgrade, key)
            if found is None:
                return None
            after = change(found.record)
            if after is found.record:
                return after
            after, orders = reset_ordered(after, self._wall()) if self._resets else (after, [])
            try:
                await self._store.batch([Put(after, expect=found.version), *(Put(order, expect=0) for order in orders)])
            except StaleVersion:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            return after
        return None

    def step(self, event: Event) -> Callable[[DeviceUpgrade], DeviceUpgrade]:
        """`happened`'s change for one event now."""
        return lambda device: step(device, event, self._wall())

    async def _note(self, live: LiveUpgrade, version: str) -> None:
        try:
            upgrade = await self._records.get(FirmwareUpgrade, live.key.partition("/")[0])
            resets = upgrade is not None and upgrade.record.reset_after
            await self.happened(live.key, lambda device: self._told(device, live, version, resets))
        except RegistryError as error:
            # The device asks again, and the clock reads what it registered with.
            _log.warning("what a device said of its firmware could not be kept: %s", error)

    def _told(self, device: DeviceUpgrade, live: LiveUpgrade, version: str, resets: bool) -> DeviceUpgrade:
        now = self._wall()
        if version and same(version, device.version):
            return proven(device, resets, now)
        return step(device, Event.TOLD, now) if live.offer is not None else device


class _Image:
    """One download of an image by one device."""

    def __init__(self, upgrades: Upgrades, device: DeviceUpgrade, image: FirmwareImage, reader: ImageReader) -> None:
        self._upgrades = upgrades
        self._key = device.key
        self._reader = reader
        self.mac = device.mac
        self.etag = b'"' + image.sha256.encode() + b'"'
        self.size = image.size
        if reader.size != image.size:
            reader.close()
            raise OSError("an image's file has another size than its record says")

    async def begin(self) -> bool:
        asked = await self._upgrades.happened(self._key, self._ask)
        return asked is not None and asked.state in (DeviceUpgradeState.TOLD, DeviceUpgradeState.FETCHED) and self._granted

    _granted = False

    def _ask(self, device: DeviceUpgrade) -> DeviceUpgrade:
        self._granted = may_fetch(device)
        return self._upgrades.step(Event.ASKED)(device) if self._granted else device

    async def complete(self) -> None:
        await self._upgrades.happened(self._key, self._upgrades.step(Event.SENT))

    async def read(self, start: int, count: int) -> bytes:
        return await self._reader.read(start, count)

    def close(self) -> None:
        self._reader.close()


async def stored_images(store: Store) -> frozenset[str]:
    """The images whose bytes have come. Raises StoreUnavailable."""
    found: set[str] = set()
    after: str | None = None
    while True:
        page = await store.list(FirmwareImage, "all", "", after=after, limit=MAX_PAGE)
        found.update(stored.record.id for stored in page.items if stored.record.stored is not None)
        after = page.next
        if after is None:
            return frozenset(found)
