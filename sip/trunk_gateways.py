"""Whether a trunk's gateway is up, and what its answer to a call means for the next gateway.

Theory. A gateway is asked OPTIONS at intervals; any answer but "I am no use now" proves that it lives. One lost probe says
little and one answer after an outage says little, so a gateway that is up goes down after FALL failures in a row, and one
that is down comes back after RISE answers in a row (hysteresis). One that was never heard is up or down by its first probe.

    UNKNOWN --alive--> UP --dead, FALL times in a row--> DOWN --alive, RISE times in a row--> UP
    UNKNOWN --dead--> DOWN
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

UNKNOWN: Final = "unknown"
UP: Final = "up"
DOWN: Final = "down"

ALIVE: Final = "alive"
RISEN: Final = "alive often enough"
DEAD: Final = "dead"
FALLEN: Final = "dead often enough"

FALL: Final = 2
RISE: Final = 2

TABLE: Final[dict[tuple[str, str], str]] = {
    (UNKNOWN, ALIVE): UP,
    (UNKNOWN, RISEN): UP,
    (UNKNOWN, DEAD): DOWN,
    (UNKNOWN, FALLEN): DOWN,
    (UP, FALLEN): DOWN,
    (DOWN, RISEN): UP,
}
"""(state, event) -> next state. What has no row changes nothing."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. Tests shorten them; nothing else needs to."""

    up: float = 30.0
    """Between probes of a gateway that is up and answers."""
    down: float = 10.0
    """Between probes of one that is down, unknown or missed its last probe."""
    answer: float = 6.0
    """How long an OPTIONS may stay unanswered: time for four copies over UDP (RFC 3261 17.1.2.2)."""
    reconnect: float = 1.0
    """Until a connection that was closed is dialled again, so that a gateway that closes at once is not hammered."""


class Health:
    """One gateway's state. `since` is when it became so."""

    __slots__ = ("_in_a_row", "_last", "since", "state")

    def __init__(self, now: float) -> None:
        self.state: str = UNKNOWN
        self.since = now
        self._last = ""
        self._in_a_row = 0

    def heard(self, alive: bool, now: float) -> bool:
        """A probe or a call was answered, or was not. Returns whether the state has changed."""
        kind = ALIVE if alive else DEAD
        self._in_a_row = self._in_a_row + 1 if kind == self._last else 1
        self._last = kind
        enough = self._in_a_row >= (RISE if alive else FALL)
        event = (RISEN if alive else FALLEN) if enough else kind
        after = TABLE.get((self.state, event))
        if after is None or after == self.state:
            return False
        self.state = after
        self.since = now
        return True

    def interval(self, pace: Pace) -> float:
        """Seconds until the next probe."""
        return pace.up if self.state == UP and self._last == ALIVE else pace.down


class Verdict(StrEnum):
    """What a gateway's final answer to our INVITE means."""

    NEXT = "next gateway"
    CHALLENGE = "answer the challenge"
    FINAL = "final"


NO_ANSWER: Final = 408
"""The status a local timeout counts as (RFC 3261 16.9), 430 that of a flow that failed (RFC 5626)."""
_NEXT: Final = frozenset((NO_ANSWER, 430, 500, 502, 503, 504))


def proves_life(status: int) -> bool:
    """Whether a final answer to OPTIONS shows that calls may be tried: 404, 405 or a challenge do, "unavailable" does not."""
    return status not in (408, 502, 503, 504)


def verdict(status: int, rang: bool) -> Verdict:
    """Whether to try the next gateway with this call.

    Faults of the gateway (503, other 5xx that say so, silence, a dead connection) lead to the next one. Answers about the
    called number (404, 486, 480, 484, 6xx, ...) or about us (403) are the same everywhere and final; so is a redirection, which
    is never followed: only configured gateways are ever targets. Once the number has rung, a second gateway would ring it again.
    """
    if status in (401, 407):
        return Verdict.CHALLENGE
    if status in _NEXT and not rang:
        return Verdict.NEXT
    return Verdict.FINAL


def upstream_status(status: int) -> int:
    """What the caller is told of a trunk's final failure: its challenge and its redirections are between it and us."""
    if status in (401, 407) or 300 <= status < 400:
        return 500
    return status
