"""A relay without sockets: ports are numbers, packets are calls, and what would go out is kept."""

from sip.media.relay import Relay, RelayLimits
from sip.media.terminal import Socket, Terminal
from sip.media_engine import MediaAnswer, MediaDelete, MediaFailed, MediaKey, MediaOffer, MediaOutcome, MediaReady
from sip.sdp import parse_sdp

HOSTS = {False: "198.51.100.1", True: "2001:db8::1"}
DOOR, MONITOR = "203.0.113.5", "203.0.113.9"
AUDIO, VIDEO = b"audio", b"video"


def sdp(host: str, *media: tuple[bytes, int], transport: bytes = b"RTP/AVP", more: bytes = b"") -> bytes:
    """An SDP with these m= lines."""
    family = b"IP6" if ":" in host else b"IP4"
    lines = [b"v=0", b"o=- 1 1 IN IP4 192.0.2.99", b"s=-", b"c=IN %b %b" % (family, host.encode()), b"t=0 0"]
    for kind, port in media:
        lines += [b"m=%b %d %b 0 101" % (kind, port, transport), b"a=rtpmap:101 telephone-event/8000"]
    return b"\r\n".join([*lines, b""]) + more


def rtp(octets: bytes = b"voice", payload_type: int = 0) -> bytes:
    return bytes((0x80, payload_type)) + b"\0\1\0\0\0\1\0\0\0\7" + octets


def rtcp(payload_type: int = 206) -> bytes:
    return bytes((0x81, payload_type)) + b"\0\2" + b"\0" * 8


class RelayStage:
    """Plays the shell and the proxy."""

    def __init__(self, pairs: int = 100, limits: RelayLimits | None = None) -> None:
        self.free = [(ipv6, 40_000 + 2 * index) for index in range(pairs) for ipv6 in (False, True)]
        self.terminals: dict[tuple[bool, int], Terminal] = {}
        self.outcomes: list[MediaOutcome] = []
        self.number = 0
        self.relay = Relay(
            self, HOSTS, lambda host, port: host in HOSTS.values() and port >= 40_000, self.outcomes.append, limits
        )

    def open(self, ipv6: bool, rtp: Terminal, rtcp: Terminal) -> int:
        mine = [one for one in self.free if one[0] is ipv6]
        if not mine:
            return 0
        self.free.remove(mine[0])
        port = mine[0][1]
        self.terminals[ipv6, port], self.terminals[ipv6, port + 1] = rtp, rtcp
        return port

    def close(self, ipv6: bool, port: int) -> None:
        del self.terminals[ipv6, port], self.terminals[ipv6, port + 1]
        self.free.append((ipv6, port))

    def offer(
        self, body: bytes, branch: bytes = b"b1", *, key: MediaKey | None = None, source: str = DOOR, toward: str = MONITOR
    ) -> MediaReady | MediaFailed:
        self.number += 1
        self.relay.request(MediaOffer(key or MediaKey(b"call", b"door", b"", branch), self.number, body, source, toward))
        return self._outcome()

    def answer(
        self,
        body: bytes,
        branch: bytes = b"b1",
        to_tag: bytes = b"monitor",
        *,
        key: MediaKey | None = None,
        source: str = MONITOR,
        final: bool = True,
    ) -> MediaReady | MediaFailed:
        self.number += 1
        self.relay.request(MediaAnswer(key or MediaKey(b"call", b"door", to_tag, branch), self.number, body, source, final))
        return self._outcome()

    def delete(self, from_tag: bytes = b"door", to_tag: bytes = b"", branch: bytes = b"") -> None:
        self.relay.request(MediaDelete(MediaKey(b"call", from_tag, to_tag, branch)))

    def _outcome(self) -> MediaReady | MediaFailed:
        found = self.outcomes.pop()
        assert isinstance(found, MediaReady | MediaFailed)
        assert found.number == self.number
        return found

    def send(self, port: int, source: Socket, data: bytes | None = None, ipv6: bool = False) -> list[Socket | None]:
        """A packet arrives at a port of the relay; where it goes out to."""
        terminal = self.terminals[ipv6, port]
        return [sink.destination for sink in terminal.receive(rtp() if data is None else data, source)]


def ports(outcome: MediaReady | MediaFailed) -> list[int]:
    """The ports in an SDP of the relay's."""
    assert isinstance(outcome, MediaReady), outcome
    return [media.port for media in parse_sdp(outcome.sdp).media]


def failed(outcome: MediaReady | MediaFailed) -> tuple[str, int]:
    """Why it failed."""
    assert isinstance(outcome, MediaFailed), outcome
    return outcome.reason, outcome.status
