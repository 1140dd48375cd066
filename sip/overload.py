"""Overload: what is put off when more comes than can be served (RFC 3261 21.5.4, issue 3 point 8).

The node is pressed while a socket has a backlog (messages wait so long that their senders repeat them, which makes more of them),
the loop lags (whatever keeps it busy: handshakes, streams, the admin API) or the transaction table is nearly full. Then new work
of sources that have not authenticated lately is put off with 503 and a Retry-After, read no further than that answer needs.
Whatever continues (credentials, a dialog, a transaction) and whatever comes from known sources is served: devices in use do
not notice.
"""

from typing import Final

from sip.grammar import CONTROLS
from sip.headers import SPELLINGS
from sip.message import Request
from sip.parser import MAX_LINES

NEARLY_FULL: Final = 0.9
"""Share of the transaction bound past which strangers wait."""

REFUSALS_PER_SECOND: Final = 2000.0
REFUSALS_AT_ONCE: Final = 200.0
"""503s to strangers over UDP. What comes beyond is not even answered: to read and drop costs a tenth of a 503, and the sooner the
kernel's queue is empty the fewer of the known devices' messages are lost at its end."""
LATE: Final = 0.1
"""Seconds of lag that count: a fifth of T1."""
LATE_SAMPLES: Final = 2
"""Samples running that are late before it is overload: one alone is a collection or a disk."""

_BEGINS: Final = (b"REGISTER ", b"INVITE ", b"SUBSCRIBE ", b"MESSAGE ", b"OPTIONS ", b"PUBLISH ", b"NOTIFY ", b"REFER ")
"""Methods that can begin something. What is in a dialog or ends something comes with a Route, or is none of these."""
_CONTINUES: Final = (b"uthorization:", b"\nRoute:")
_ECHOED: Final = frozenset((b"via", b"from", b"to", b"call-id", b"cseq"))


class Overload:
    """Whether the node is pressed: `backlogged` and `lagging` are set by the shell, `crowded` when a transaction opens."""

    __slots__ = ("_crowd", "_late", "_refusals", "_refused_at", "backlogged", "crowded", "pressed")

    def __init__(self, transactions: int) -> None:
        self._crowd = int(transactions * NEARLY_FULL)
        self.backlogged = False
        self.crowded = False
        self.pressed = False
        """Any of them; read for every message."""
        self._late = 0
        self._refusals = REFUSALS_AT_ONCE
        self._refused_at = 0.0

    def backlog(self, waits: bool) -> None:
        """A socket has more waiting than it should, or not any more."""
        self.backlogged = waits
        self._weigh()

    def lag(self, seconds: float) -> None:
        """The loop ran a timer so late, as it is sampled four times a second or so."""
        self._late = min(self._late + 1, LATE_SAMPLES) if seconds >= LATE else 0
        self._weigh()

    @property
    def lagging(self) -> bool:
        """Whether the last samples were all late."""
        return self._late >= LATE_SAMPLES

    def held(self, transactions: int) -> None:
        """So many transactions are held now."""
        self.crowded = transactions >= self._crowd
        self._weigh()

    def answers(self, now: float) -> bool:
        """Whether one more stranger on UDP gets his 503."""
        left = min(REFUSALS_AT_ONCE, self._refusals + (now - self._refused_at) * REFUSALS_PER_SECOND)
        self._refused_at = now
        self._refusals = left - 1.0 if left >= 1.0 else left
        return left >= 1.0

    def _weigh(self) -> None:
        self.pressed = self.crowded or self.backlogged or self._late >= LATE_SAMPLES


def begins(data: bytes) -> bool:
    """Whether these octets look like a request that begins something."""
    return data.startswith(_BEGINS) and not any(mark in data for mark in _CONTINUES)


def put_off(data: bytes) -> Request | None:
    """As much of a new request as its 503 needs, or None for what must be looked at whole: responses, requests that continue
    something, and whatever is not plainly spelled."""
    if not begins(data):
        return None
    head = data.partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    if len(lines) > MAX_LINES or len(head.translate(None, CONTROLS)) != len(head) - 2 * len(lines) + 2:
        return None
    names: list[bytes] = []
    kept: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return None
        name = SPELLINGS.get(line.partition(b":")[0])
        if name in _ECHOED:
            names.append(name)
            kept.append(line)
    if len(names) - names.count(b"via") != 4 or len(set(names)) != 5:
        return None
    method, _, rest = lines[0].partition(b" ")
    return Request(method, rest.partition(b" ")[0], names, kept)
