"""Password guessing, limited per (source, user) (S02): after `FAILURES` within `WINDOW` seconds no digest is computed for that
pair for `PAUSE` seconds, and the answer is the plain challenge it would have been anyway.

The real device elsewhere has another source. Behind the same NAT as the guesser it is known by its flow: a request over the flow
of a live binding of that very user is counted apart from the rest of its source (`over_binding`), so strangers there cannot use
up its tries. Users that exist and users that do not are counted alike.

The table is bounded: past `limit` pairs the one that failed longest ago is forgotten. Whoever pushes his own entry out that way
has paid `limit` other failures for ten more guesses.
"""

from typing import Final

FAILURES: Final = 10
WINDOW: Final = 60.0
PAUSE: Final = 300.0
_LONGEST_USER: Final = 64
"""Octets of a user name that tell entries apart."""


class Guessing:
    """Which pairs have failed lately. Times are seconds of the clock that is passed in as `now`."""

    __slots__ = ("_failed", "_limit")

    def __init__(self, limit: int = 65_536) -> None:
        self._failed: dict[bytes, tuple[float, ...]] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._failed)

    def is_limited(self, source: bytes, user: bytes, now: float) -> bool:
        """Whether no digest is to be computed for this pair now."""
        failed = self._failed
        if not failed:
            return False
        key = _key(source, user)
        times = failed.get(key)
        if times is None or len(times) < FAILURES:
            return False
        if now < times[-1] + PAUSE:
            return True
        del failed[key]
        return False

    def wrong(self, source: bytes, user: bytes, now: float) -> None:
        """The pair has failed once more."""
        key = _key(source, user)
        failed = self._failed
        times = failed.pop(key, ())
        if not times and len(failed) >= self._limit:
            del failed[next(iter(failed))]
        failed[key] = (*(one for one in times if one > now - WINDOW), now)

    def right(self, source: bytes, user: bytes) -> None:
        """The pair has proven itself: what failed before was a slip."""
        if self._failed:
            self._failed.pop(_key(source, user), None)


def _key(source: bytes, user: bytes) -> bytes:
    return b"%b\0%b" % (source, user[:_LONGEST_USER])
