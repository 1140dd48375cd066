"""`Sweeps`: who guesses at configurations, found by what is unproven beside what is proven, not by a mere count.

A source is an IPv4 address or an IPv6 /64; a building of 500 devices behind one NAT is one source. In each minute two things are
counted per source: different *misses* (requests that named a device and proved nothing; the same one again is the same miss, so
a device that repeats a wrong token all day is one) and different *devices* that proved themselves. A source is throttled when its
misses exceed 20 and a tenth of its devices. A device that polls in a loop counts once, so one stolen token buys no sweep.

Being throttled costs a proven device nothing, whoever its neighbours are: it only means that guesses are answered late and that
nobody enrols from there. It ends once a whole minute stayed within bounds. Devices that may enrol count as proven, so a building
that was throttled while its window was closed gets in soon after it is opened.

A sweep that is spread over sources is met by counting its network (IPv4 /24, IPv6 /48) too, with ten times the bounds; a source
that is throttled itself adds nothing to that, so ten must be at it before their neighbours have a part in the consequences.

Bounded: past the limit the source that missed longest ago is forgotten. Times are seconds of the caller's clock.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

WINDOW = 60.0
"""Seconds of one count. All sources are counted in the same windows."""
MISSES = 20
"""Misses a window that need no excuse."""
DEVICES_PER_MISS = 10
"""So many proven devices excuse one miss more: in a building that comes back after a power cut some are set up wrongly."""
MOST_DEVICES = 500
"""Devices of one source that are told apart; further ones excuse nothing."""
NETWORK_FACTOR = 10
"""A network may do so many times what a source may."""
TOLD_AGAIN = 3600.0
"""A source that is throttled (still or again) is reported once in so many seconds."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A source, or a whole network, that has become throttled. `misses` and `devices` are those of this minute so far."""

    source: str
    misses: int
    devices: int


@dataclass(slots=True)
class _Throttled:
    until: float
    told: float
    before: float = 0.0
    """`until` before this window's misses moved it."""


class Sweeps:
    """The counts of this minute, and who is throttled."""

    def __init__(self, limit: int = 8192) -> None:
        """`limit` bounds each of three tables: sources (and networks) that missed, that have proven devices, that are throttled.
        A stranger's entry takes up to 3 KB, its network's 15 KB; only proven devices make larger ones (500 of them: 60 KB)."""
        self._limit = limit
        self._window = 0
        self._misses: OrderedDict[str, set[int]] = OrderedDict()
        self._devices: dict[str, set[int]] = {}
        self._throttled: OrderedDict[str, _Throttled] = OrderedDict()

    def __len__(self) -> int:
        """Entries held."""
        return len(self._misses) + len(self._devices) + len(self._throttled)

    def throttled(self, now: float) -> int:
        """How many sources and networks are throttled."""
        return sum(now < one.until for one in self._throttled.values())

    def is_throttled(self, peer: str, now: float) -> bool:
        """Whether the source of this address, or its network, is throttled."""
        if not self._throttled:
            return False
        return any((one := self._throttled.get(name)) is not None and now < one.until for name, _ in _counted(peer))

    def missed(self, peer: str, what: int, now: float) -> tuple[Sweep, ...]:
        """A request proved nothing. `what` tells different misses apart (a keyed hash of what was tried).

        Returns who is throttled from now on and has not been reported within the hour."""
        self._turn(now)
        found = []
        for name, factor in _counted(peer):
            misses = self._misses.get(name)
            if misses is None:
                if len(self._misses) >= self._limit:
                    self._misses.popitem(last=False)
                misses = self._misses[name] = set()
            self._misses.move_to_end(name)
            excused = self._excused(name, factor)
            was_over = len(misses) > excused
            if not was_over:  # past it, more of them change nothing
                misses.add(what)
            if len(misses) > excused and self._throttle(name, now):
                found.append(Sweep(name, len(misses), len(self._devices.get(name, ()))))
            if was_over:
                break
        return tuple(found)

    def proven(self, peer: str, device: int, now: float, *challenged: int) -> None:
        """A device proved itself, or may enrol. `device` tells it apart; `challenged` were no misses after all: what it asked
        before it knew the challenge."""
        self._turn(now)
        source = _counted(peer)[0][0]
        if device in self._devices.get(source, ()) and source not in self._misses:
            return  # a re-poll
        for name, factor in _counted(peer):
            devices = self._devices.get(name)
            if devices is None:
                if len(self._devices) >= self._limit:
                    continue
                devices = self._devices[name] = set()
            if len(devices) < factor * MOST_DEVICES:
                devices.add(device)
            misses = self._misses.get(name)
            if misses is None:
                continue
            misses.difference_update(challenged)
            throttled = self._throttled.get(name)
            if throttled is not None and throttled.until == self._ends(2) and len(misses) <= self._excused(name, factor):
                throttled.until = throttled.before  # what this minute has shown since is in order

    def _excused(self, name: str, factor: int) -> int:
        return factor * MISSES + len(self._devices.get(name, ())) // DEVICES_PER_MISS

    def _throttle(self, name: str, now: float) -> bool:
        """Throttle this one to the end of the next window. Whether that is to be reported."""
        one = self._throttled.pop(name, None)
        if one is None:
            if len(self._throttled) >= self._limit:
                self._throttled.popitem(last=False)
            one = _Throttled(0.0, now - TOLD_AGAIN)
        self._throttled[name] = one
        if one.until != self._ends(2):
            one.before, one.until = one.until, self._ends(2)
        if now < one.told + TOLD_AGAIN:
            return False
        one.told = now
        return True

    def _ends(self, windows: int) -> float:
        return (self._window + windows) * WINDOW

    def _turn(self, now: float) -> None:
        """Begin to count afresh if the present window is over."""
        window = int(now // WINDOW)
        if window != self._window:
            self._window = window
            self._misses.clear()
            self._devices.clear()


@lru_cache(maxsize=4096)
def _counted(peer: str) -> tuple[tuple[str, int], ...]:
    """What an address counts for: its source, and its network with a factor. What is no IP address is a source of its own."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return ((peer, 1),)
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 4:
        return (str(address), 1), (_network(address, 24), NETWORK_FACTOR)
    return (_network(address, 64), 1), (_network(address, 48), NETWORK_FACTOR)


def _network(address: IPv4Address | IPv6Address, bits: int) -> str:
    return str(ip_network((address, bits), strict=False))
