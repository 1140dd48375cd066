"""Who else stands in a device's site: an indoor monitor must know its doors' codes, and all of them whom to dial.

Lists are read from the store once and kept until something of the site changes; `changed` is what the composition root
subscribes to the change feed with.
"""

from collections import OrderedDict
from itertools import count
from typing import TypeVar

from autop.contacts import SiteFacts
from registry.records import PUBLIC_AREA, Department, Device, Relay, SiteRoster, User
from registry.ring_plan import RingPlan
from registry.store import MAX_PAGE, Change, Record, Store

R = TypeVar("R", bound=Record)
_SERIAL = count(1)

MAX_NEIGHBOURS = 2000
"""Things of each kind that are looked at in one site; beyond the largest site the manual speaks of."""
MAX_SITES = 1000
"""Sites that are kept."""


class Neighbours:
    """What stands in one site, devices in order of their MAC. Never changed: another list is another object."""

    __slots__ = ("_by_department", "serial", "site")

    def __init__(self, site: SiteFacts) -> None:
        self.site = site
        self.serial = next(_SERIAL)
        """Tells one reading of a site from another."""
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
        doors = [door for door in self.site.devices if door.kind.is_door and door.department in (PUBLIC_AREA, department)]
        return sorted(doors, key=lambda door: (door.department != department, door.mac))


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
        """Forget what this change may have made untrue.

        Whoever adds, changes or removes a user or department of a site writes its roster too, whose key names the site, as that
        of a plan does. A device may also have left one site for another, which its change does not tell: every site is forgotten.
        """
        if change.kind == Device.__name__:
            self.clear()
        elif change.kind in (SiteRoster.__name__, RingPlan.__name__):
            self._generation += 1
            self._sites.pop(change.key.partition("/")[0], None)

    def clear(self) -> None:
        """Forget everything, as after a gap in the change feed."""
        self._generation += 1
        self._sites.clear()

    async def of(self, site: str) -> Neighbours:
        """What stands in this site. May raise StoreUnavailable."""
        known = self._sites.get(site)
        if known is not None:
            self._sites.move_to_end(site)
            return known
        generation = self._generation
        found = Neighbours(
            SiteFacts(
                await self._read(Device, site),
                await self._read(User, site),
                await self._read(Department, site),
                await self._read(RingPlan, site),
            )
        )
        if generation == self._generation:  # else something changed while we read: right for this answer, not to be kept
            self._sites[site] = found
            if len(self._sites) > MAX_SITES:
                self._sites.popitem(last=False)
        return found

    async def _read(self, kind: type[R], site: str) -> tuple[R, ...]:
        found: list[R] = []
        after: str | None = None
        while len(found) < MAX_NEIGHBOURS:
            page = await self._store.list(kind, "site", site, after=after, limit=MAX_PAGE)
            found.extend(stored.record for stored in page.items)
            after = page.next
            if after is None:
                break
        return tuple(found[:MAX_NEIGHBOURS])
