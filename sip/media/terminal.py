"""One port of the relay: who may send to it, and where that goes. `receive` runs for every packet, so it does little."""

from collections.abc import Callable
from typing import Final, Protocol

from sip.media.telephone_event import KeyPresses

MAX_PACKET: Final = 1500
"""Octets of UDP payload. Real-time media fits a packet of its network; larger is refused."""
AUDIO_RATE: Final = 500
VIDEO_RATE: Final = 4_000
RTCP_RATE: Final = 100
"""Packets a second that one stream may send. Voice has 50 (100 with RFC 4733 or short frames), 1080p video some 500."""
PATIENCE: Final = 2_000
"""Refused packets in a second after which a port is not read until the next."""
RELEARN_TICKS: Final = 10
"""Seconds after a new SDP in which the party may move to another of its addresses."""

Socket = tuple[str, int] | tuple[str, int, int, int]
"""An address as the socket gives it: two parts for IPv4, four for IPv6."""


class Owner(Protocol):
    """Whose port it is: asked and told only when something is out of the ordinary."""

    def reflects(self, source: Socket) -> bool:
        """Whether this address is one of the relay's own ports: it must never be a peer, or packets would go in circles."""

    def sinks_for(self, terminal: "Terminal", data: bytes) -> "tuple[Terminal, ...]":
        """A good packet came and there are no sinks: where does it go?"""

    def pressed(self, digit: str, milliseconds: int) -> None:
        """A key was pressed."""

    def refused(self, terminal: "Terminal", reason: str) -> None:
        """A packet was dropped, for one of `REFUSALS`."""


REFUSALS: Final = ("foreign source", "no RTP", "rate")


class Terminal:
    """Symmetric RTP: what comes from `peer`, and from nobody else, goes to all `sinks`.

    `peer` is learned from the first packet that comes from one of the `allowed` hosts. `destination` is where packets to this
    party go: to the peer, or before it is known to what its SDP said, or nowhere (None). `send` is the shell's.
    """

    __slots__ = (
        "_keys",
        "_owner",
        "_rate",
        "_relearns",
        "allowance",
        "allowed",
        "destination",
        "events",
        "least",
        "packets",
        "patience",
        "peer",
        "send",
        "sinks",
    )

    def __init__(self, owner: Owner, rate: int, rtcp: bool) -> None:
        self._owner = owner
        self._rate = rate
        self._keys: KeyPresses | None = None
        self._relearns = 0
        self.least = 8 if rtcp else 12
        self.allowance = rate
        self.patience = PATIENCE
        self.allowed: tuple[str, ...] = ()
        self.peer: Socket | None = None
        self.destination: Socket | None = None
        self.sinks: tuple[Terminal, ...] = ()
        self.events: dict[int, int] = {}
        """Payload types of telephone-event and their clock rates, as the party's SDP has them."""
        self.packets = 0
        self.send: Callable[[bytes, Socket], object] = _nowhere

    def receive(self, data: bytes, source: Socket) -> "tuple[Terminal, ...]":
        """A packet arrived (cut off at `MAX_PACKET` + 1 octets). Returns the terminals to send it through."""
        if source != self.peer and not self._learn(data, source):
            return ()
        self.allowance -= 1
        if self.allowance < 0:
            return self._refuse("rate")
        if not self.least <= len(data) <= MAX_PACKET or data[0] & 0xC0 != 0x80:
            return self._refuse("no RTP")
        self.packets += 1
        sinks = self.sinks or self._owner.sinks_for(self, data)
        if data[1] & 0x7F in self.events and sinks:
            self._telephone_event(data)
        return sinks

    def expect(self, allowed: tuple[str, ...], target: Socket | None, moved: bool) -> None:
        """An SDP of this party came: these hosts may send, and packets go to `target` until one of them does.

        `moved`: it names another place than the SDP before. The known peer stays until a packet comes from elsewhere, but only if
        its host is still allowed.
        """
        self.allowed = allowed
        if self.peer is not None and _host(self.peer) not in allowed:
            self.peer = None
            self.destination = target
        elif moved:
            self.destination = target or self.destination
        self._relearns = RELEARN_TICKS if self.peer is not None else 0

    def tick(self) -> None:
        """A second has passed."""
        self.allowance = self._rate
        self.patience = PATIENCE
        if self._relearns:
            self._relearns -= 1
        if self._keys is not None:
            found = self._keys.tick()
            if found is not None:
                self._owner.pressed(*found)

    def _learn(self, data: bytes, source: Socket) -> bool:
        """Whether the sender of this packet is (from now on) the peer."""
        if _host(source) not in self.allowed or (self.peer is not None and not self._relearns) or self._owner.reflects(source):
            self._refuse("foreign source")
            return False
        if len(data) < self.least or data[0] & 0xC0 != 0x80:
            self._refuse("no RTP")
            return False
        self.peer = self.destination = source
        self._relearns = 0
        return True

    def _refuse(self, reason: str) -> "tuple[Terminal, ...]":
        self.patience -= 1
        self._owner.refused(self, reason)
        return ()

    def _telephone_event(self, data: bytes) -> None:
        if self._keys is None:
            self._keys = KeyPresses()
        found = self._keys.packet(data, self.events[data[1] & 0x7F])
        if found is not None:
            self._owner.pressed(*found)


def is_rtcp(data: bytes) -> bool:
    """Whether a packet on a port shared by RTP and RTCP is RTCP (RFC 5761 4)."""
    return 192 <= data[1] <= 223


def _host(address: Socket) -> str:
    return address[0].partition("%")[0]


def _nowhere(_data: bytes, _to: Socket) -> object:
    return None
