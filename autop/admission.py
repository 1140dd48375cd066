"""`Admission`: who is served, and who is told when to come again, while more devices come than the node can serve.

    calm --handshakes wait, or the loop lags--> busy --they wait a second--> overloaded

A device is weighed once it has proven itself; by then its TLS handshake is paid for, which costs more than most answers. So an
answer that costs a look-up only is always given, and so is a door phone's configuration. While the node is busy, firmware and
phonebooks wait. While it is overloaded some indoor devices that need rendering are sent away too, so that those who heed
Retry-After leave the crowd: at most one for every four that are served, and no device twice running. So it costs little where
devices do not heed it (whether real ones do, no source says), and goodput cannot collapse by it.

When to come again is spread evenly over at least SPREAD seconds, however many are sent away at once.
"""

from collections import OrderedDict
from enum import IntEnum

from autop.identify import Asked, FirmwareFile, PhonebookFile
from registry.mac import MacAddress
from registry.records import DeviceKind

BUSY_DELAY = 0.25
"""Seconds that the first handshake in the line waits when the node is busy."""
OVERLOADED_DELAY = 1.0
BUSY_LAG = 0.1
"""Seconds that the loop is late when the node is busy."""
SAMPLES = 2
"""Samples running that must say so: one alone is a collection, or a disk."""
SHARE = 0.25
"""Indoor devices sent away for one device served."""
MAX_CREDIT = 25.0
FIRST = 30.0
"""Seconds until the first of those who were sent away come again."""
SPREAD = 60.0
"""Seconds over which they come, at least."""
RETURNS_PER_SECOND = 100.0
"""More do not come again in a second: where too many wait, they come over a longer time."""
MAX_AWAY = 50_000
"""Devices that are remembered as sent away."""
_GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, fill the interval evenly however many there are (Weyl)."""


class Rank(IntEnum):
    """What is asked for, the most important first."""

    DOOR = 0
    INDOOR = 1
    CONTACTS = 2
    FIRMWARE = 3


class Pressure(IntEnum):
    """How much more comes than can be served."""

    CALM = 0
    BUSY = 1
    OVERLOADED = 2


def rank(asked: Asked | None, kind: DeviceKind) -> Rank:
    """The rank of what a device of this kind asks for."""
    if isinstance(asked, FirmwareFile):
        return Rank.FIRMWARE
    if isinstance(asked, PhonebookFile):
        return Rank.CONTACTS
    return Rank.DOOR if kind.is_door else Rank.INDOOR


class Admission:
    """One node's. `sample` a few times a second, `weigh` for each proven request."""

    __slots__ = ("_away", "_credit", "_due", "_due_at", "_number", "_run", "_said", "pressure", "sent_away")

    def __init__(self) -> None:
        self.pressure = Pressure.CALM
        self.sent_away: dict[tuple[Rank, Pressure], int] = {}
        """How many were told to come again."""
        self._said = Pressure.CALM
        self._run = 0
        self._credit = 0.0
        self._away: OrderedDict[MacAddress, None] = OrderedDict()
        self._number = 0
        self._due = 0.0
        self._due_at = 0.0

    def sample(self, lag: float, delay: float) -> None:
        """The loop is so late, and the first handshake in the line has waited so long, in seconds."""
        said = Pressure.CALM
        if delay >= OVERLOADED_DELAY:
            said = Pressure.OVERLOADED
        elif delay >= BUSY_DELAY or lag >= BUSY_LAG:
            said = Pressure.BUSY
        self._run = self._run + 1 if said is self._said else 1
        self._said = said
        if self._run >= SAMPLES or said < self.pressure:
            self.pressure = said

    def weigh(self, wanted: Rank, mac: MacAddress, *, is_known: bool, now: float) -> int:
        """0: it is served. Else the seconds of Retry-After. `is_known`: its bytes were rendered before; `now` is monotonic."""
        if self.pressure is Pressure.CALM or wanted is Rank.DOOR or (is_known and wanted is Rank.INDOOR):
            self._earn(mac)
            return 0
        if wanted is Rank.INDOOR:
            if self.pressure is not Pressure.OVERLOADED or self._credit < 1.0 or mac in self._away:
                self._earn(mac)
                return 0
            self._credit -= 1.0
            self._away[mac] = None
            if len(self._away) > MAX_AWAY:
                self._away.popitem(last=False)
        key = wanted, self.pressure
        self.sent_away[key] = self.sent_away.get(key, 0) + 1
        return self._retry_after(now)

    def _earn(self, mac: MacAddress) -> None:
        self._away.pop(mac, None)
        self._credit = min(self._credit + SHARE, MAX_CREDIT) if self.pressure is Pressure.OVERLOADED else 0.0

    def _retry_after(self, now: float) -> int:
        self._due = max(0.0, self._due - (now - self._due_at) * RETURNS_PER_SECOND) + 1.0
        self._due_at = now
        self._number += 1
        window = max(SPREAD, self._due / RETURNS_PER_SECOND)
        return round(FIRST + window * (self._number * _GOLDEN % 1.0))
