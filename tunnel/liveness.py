"""Whether the other end is alive, and how far away it is (docs/tunnel-protocol.md section 6).

Any received byte is life. One PING of ours is unanswered at most, so an answer is matched to its question by the counter
in it; PINGs sent while data flows measure the round trip that windows follow (`tunnel.pacing`).
"""

import struct
from enum import Enum

from tunnel.errors import Code, PeerError

_COUNTER = struct.Struct("!Q")
PROBE_EVERY = 0.1
"""Least seconds between two PINGs that only measure."""


class Verdict(Enum):
    """What a passed deadline means."""

    NOTHING = "nothing"
    PING = "ping"
    DEAD = "dead"


class Liveness:
    """Silence and round trip of one link. `chance` in [0, 1) spreads the ping times of many links."""

    __slots__ = ("_asked_at", "_counter", "_dead_after", "_heard_at", "_ping_after", "_waiting", "round_trip")

    def __init__(self, now: float, ping_after: float, dead_after: float, spread: float, chance: float) -> None:
        self._heard_at = now
        self._ping_after = ping_after * (1 + spread * (2 * chance - 1))
        self._dead_after = dead_after
        self._counter = 0
        self._waiting = False
        self._asked_at = float("-inf")
        self.round_trip: float | None = None

    @property
    def heard_at(self) -> float:
        """When the last byte arrived."""
        return self._heard_at

    def heard(self, now: float) -> None:
        """A byte arrived."""
        self._heard_at = now

    def next_deadline(self) -> float:
        return self._heard_at + (self._dead_after if self._waiting else min(self._ping_after, self._dead_after))

    def on_deadline(self, now: float) -> Verdict:
        """PING means: send `ping(now)`. DEAD is final."""
        silence = now - self._heard_at
        if silence >= self._dead_after:
            return Verdict.DEAD
        return Verdict.PING if silence >= self._ping_after and not self._waiting else Verdict.NOTHING

    def ping(self, now: float) -> bytes:
        """The payload of the PING that is sent now."""
        self._counter += 1
        self._waiting = True
        self._asked_at = now
        return _COUNTER.pack(self._counter)

    @property
    def waiting(self) -> bool:
        """Whether a PING is unanswered."""
        return self._waiting

    def may_probe(self, now: float) -> bool:
        """Whether a measuring PING is due."""
        return not self._waiting and now - self._asked_at >= PROBE_EVERY

    def answered(self, payload: bytes, now: float) -> float:
        """PING+ACK arrived: the round trip in seconds. Raises PeerError unless it answers the PING that waits."""
        if not self._waiting or payload != _COUNTER.pack(self._counter):
            raise PeerError(Code.PROTOCOL, "PING answer that nobody waits for")
        self._waiting = False
        trip = max(now - self._asked_at, 1e-6)
        self.round_trip = trip
        return trip
