"""Which nonce counts of digest authentication were used already: the memory against replay (RFC 7616 3.4, `nc`)."""

from typing import Final


class NonceWindow:
    """Which nonce counts were used, for at most `limit` nonces, none longer than a nonce lives.

    Counts may arrive out of order within `WIDTH` (UDP reorders); older ones count as used. When the table is full the oldest
    entry goes, and every nonce issued no later than one that was forgotten counts as used up: forgetting opens no replay.
    """

    WIDTH: Final = 64

    __slots__ = ("_floor", "_lifetime", "_limit", "_used")

    def __init__(self, *, lifetime: float, limit: int = 65536, started: float = 0.0) -> None:
        self._used: dict[bytes, tuple[float, int, int]] = {}
        self._lifetime = lifetime
        self._limit = limit
        # A nonce tells its time in whole milliseconds, rounded down.
        self._floor = started - 0.002

    def __len__(self) -> int:
        return len(self._used)

    def use(self, nonce: bytes, issued: float, count: int, now: float) -> bool:
        """Mark `count` as used; False when it was used before or may have been."""
        held = self._used.get(nonce)
        if held is None:
            if issued <= self._floor:
                return False
            self._make_room(now)
            self._used[nonce] = (issued, count, 1)
            return True
        _, highest, seen = held
        ahead = count - highest
        if ahead > 0:
            seen = (seen << ahead | 1) & (1 << self.WIDTH) - 1 if ahead < self.WIDTH else 1
            self._used[nonce] = (issued, count, seen)
            return True
        if ahead <= -self.WIDTH or seen >> -ahead & 1:
            return False
        self._used[nonce] = (issued, highest, seen | 1 << -ahead)
        return True

    def _make_room(self, now: float) -> None:
        """Forget what has expired (entries stand in the order of first use), and the oldest entry when still full."""
        while self._used:
            oldest = next(iter(self._used))
            issued = self._used[oldest][0]
            if issued + self._lifetime >= now:
                if len(self._used) < self._limit:
                    return
                self._floor = max(self._floor, issued)
            del self._used[oldest]
