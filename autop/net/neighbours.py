"""Who else stands in a device's site: an indoor monitor must know its doors' codes, a guard phone whom it can dial.

Lists are read from the store once and kept until a device changes; `changed` is what the composition root subscribes to the
change feed with.
"""

from collections import OrderedDict

from autop.settings import Contact
from registry.records import PUBLIC_AREA, Device, DeviceKind, Relay
from registry.store import MAX_PAGE, Change, Store

MAX_NEIGHBOURS = 2000
"""Devices of one site that are looked at; beyond the largest site the manual speaks of."""
MAX_SITES = 1000
"""Sites that are kept."""


class Neighbours:
    """The devices of one site, in order of their MAC. Never changed: another list is another object."""

    __slots__ = ("_by_department", "devices")

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self.devices = devices
        self._by_department: dict[str, tuple[Relay, ...]] = {}

    def door_relays(self, department: str) -> tuple[Relay, ...]:
        """Per relay place, the first relay with a DTMF code among the doors of `department`, then those of the public area.

        A monitor has one code per place for all doors, so a site whose doors differ gets the first door's.
        """
        found = self._by_department.get(department)
        if found is None:
            found = self._by_department[department] = _first_relays(self._doors(department))
        return found

    def _doors(self, department: str) -> list[Device]:
        doors = [door for door in self.devices if door.kind.is_door and door.department in (PUBLIC_AREA, department)]
        return sorted(doors, key=lambda door: (door.department != department, door.mac))

    def contacts(self, phone: Device) -> tuple[Contact, ...]:
        """Doors first, then monitors and phones: what a guard dials."""
        others = [device for device in self.devices if device.mac != phone.mac and device.account]
        others.sort(key=lambda device: (not device.kind.is_door, device.kind is DeviceKind.INDOOR_MONITOR, device.mac))
        return tuple(Contact(device.name, device.account) for device in others)


def _first_relays(doors: list[Device]) -> tuple[Relay, ...]:
    found = []
    for place in range(max((len(door.relays) for door in doors), default=0)):
        relays = [door.relays[place] for door in doors if len(door.relays) > place]
        found.append(next((relay for relay in relays if relay.dtmf_code), relays[0]))
    return tuple(found)


class SiteNeighbours:
    """Reads and keeps the devices of sites. Bounded: the least recently used site is forgotten first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sites: OrderedDict[str, Neighbours] = OrderedDict()
        self._generation = 0

    def changed(self, change: Change) -> None:
        """Forget every site when a device changed: it may have left one for another, which the change does not tell."""
        if change.kind == Device.__name__:
            self.clear()

    def clear(self) -> None:
        """Forget everything, as after a gap in the change feed."""
        self._generation += 1
        self._sites.clear()

    async def of(self, site: str) -> Neighbours:
        """The devices of this site. May raise StoreUnavailable."""
        known = self._sites.get(site)
        if known is not None:
            self._sites.move_to_end(site)
            return known
        generation = self._generation
        found = Neighbours(await self._read(site))
        if generation == self._generation:  # else a device changed while we read: right for this answer, not to be kept
            self._sites[site] = found
            if len(self._sites) > MAX_SITES:
                self._sites.popitem(last=False)
        return found

    async def _read(self, site: str) -> tuple[Device, ...]:
        devices: list[Device] = []
        after: str | None = None
        while len(devices) < MAX_NEIGHBOURS:
            page = await self._store.list(Device, "site", site, after=after, limit=MAX_PAGE)
            devices.extend(stored.record for stored in page.items)
            after = page.next
            if after is None:
                break
        return tuple(devices[:MAX_NEIGHBOURS])
