"""How many unauthenticated requests a source may make (S03, S04): a bucket of credit per source, bigger once somebody behind
that source has authenticated.

A source is an IPv4 address or an IPv6 /64 (`Flow.source`). Every challenge costs one credit and every
right password gives it back, so a building full of devices behind one NAT pays nothing however many they are; only requests that
are never followed by a right password add up. A source without credit is not answered (on UDP an honest device repeats its
request, and meets the credit that the devices before it have earned), but requests with credentials are still looked at.

Two tables, both bounded: strangers push only strangers out, and only a right password gets into the other.
"""

from typing import Final

STRANGER_CREDIT: Final = 300.0
STRANGER_PER_SECOND: Final = 2.0
"""500 requests a minute, the rate at which a large building re-registers, run a stranger dry within that minute."""
KNOWN_CREDIT: Final = 1000.0
KNOWN_PER_SECOND: Final = 50.0
KNOWN_SECONDS: Final = 7200.0
"""How long a right password speaks for its source: the longest registration."""


class _Credit:
    __slots__ = ("authenticated", "left", "updated")

    def __init__(self, left: float, now: float) -> None:
        self.left = left
        self.updated = now
        self.authenticated = now


class SourceLimits:
    """The credit of every source seen lately. Times are seconds of the clock that is passed in as `now`."""

    __slots__ = ("_known", "_limit", "_strangers")

    def __init__(self, limit: int = 65_536) -> None:
        """`limit` bounds each of the two tables; an entry costs about 250 octets."""
        self._strangers: dict[bytes, _Credit] = {}
        self._known: dict[bytes, _Credit] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def is_known(self, source: bytes, now: float) -> bool:
        """Whether somebody at this source has authenticated lately."""
        held = self._known.get(source)
        return held is not None and now - held.authenticated <= KNOWN_SECONDS

    def spend(self, source: bytes, now: float, cost: float = 1.0) -> bool:
        """Pay for one unauthenticated request. False: there is not so much credit left."""
        held = self._known.get(source)
        if held is not None and now - held.authenticated <= KNOWN_SECONDS:
            left = min(KNOWN_CREDIT, held.left + (now - held.updated) * KNOWN_PER_SECOND)
        else:
            held = self._strangers.get(source)
            if held is None:
                held = self._enter(self._strangers, source, STRANGER_CREDIT, now)
            left = min(STRANGER_CREDIT, held.left + (now - held.updated) * STRANGER_PER_SECOND)
        held.updated = now
        held.left = left - cost if left >= cost else left
        return left >= cost

    def authenticated(self, source: bytes, now: float) -> None:
        """Somebody at this source has given a right password: the source is known, and its challenge is paid back."""
        held = self._known.get(source)
        if held is None:
            self._strangers.pop(source, None)
            self._enter(self._known, source, KNOWN_CREDIT, now)
            return
        held.authenticated = now
        if held.left < KNOWN_CREDIT:
            held.left += 1.0

    def _enter(self, table: dict[bytes, _Credit], source: bytes, credit: float, now: float) -> _Credit:
        if len(table) >= self._limit:
            del table[next(iter(table))]
        made = table[source] = _Credit(credit, now)
        return made
