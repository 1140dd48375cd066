"""The timers of RFC 3261 table 4 with their letters, as one value. All figures are seconds."""

from dataclasses import dataclass

NEVER = float("inf")
"""The deadline of something that waits for nothing."""


@dataclass(frozen=True, slots=True)
class Timers:
    """T1, T2, T4 and what RFC 3261 table 4, RFC 6026 and RFC 4320 derive from them. Tests shorten T1; nothing else needs to.

    Timers D, I, J and K are zero on a reliable transport; the transactions apply that themselves.
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    c: float = 185.0
    """Timer C, larger than 3 minutes (16.6 step 11): how long a proxied INVITE may ring without news."""

    @property
    def lifetime(self) -> float:
        """64*T1: timers B, F, H, J (17) and L, M (RFC 6026); also how long a cancelled INVITE may stay unanswered (9.1)."""
        return 64 * self.t1

    @property
    def d(self) -> float:
        """Timer D: how long a client absorbs repeated non-2xx finals over UDP. At least 32 s (17.1.1.2)."""
        return max(32.0, 64 * self.t1) if self.t1 >= 0.5 else 64 * self.t1

    @property
    def e_reaches_t2(self) -> float:
        """When Timer E of a client first reaches T2 (RFC 4320 4.1): no 100 to a non-INVITE over UDP before, one then."""
        elapsed, interval = 0.0, self.t1
        while interval < self.t2:
            elapsed += interval
            interval = min(2 * interval, self.t2)
        return elapsed
