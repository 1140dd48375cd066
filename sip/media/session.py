"""One relayed call: the side that offered, the forks that it rings, and which ports send where."""

from typing import Protocol

from sip.media.places import allowed_hosts, is_ipv6, target
from sip.media.terminal import AUDIO_RATE, RTCP_RATE, VIDEO_RATE, Socket, Terminal, is_rtcp
from sip.sdp import PLAIN, MediaLine, Sdp


class PortsUsedUp(Exception):
    """No pair of ports is free."""


class Ports(Protocol):
    """The shell's sockets."""

    def open(self, ipv6: bool, rtp: Terminal, rtcp: Terminal) -> int:
        """Give both terminals a socket each, on an even port and the next. Returns the even one, or 0 if none is free."""

    def close(self, ipv6: bool, port: int) -> None:
        """Close both sockets of a pair."""


class Told(Protocol):
    """Whom a session tells what happens to it: the relay."""

    def reflects(self, source: Socket) -> bool:
        """Whether an address is one of the relay's own."""

    def key_pressed(self, session: "Session", by: "Party", digit: str, milliseconds: int) -> None:
        """A key was pressed in the relayed media."""

    def packet_refused(self, reason: str) -> None:
        """A packet was dropped."""


class Stream:
    """The two ports that face one party for one m= line."""

    __slots__ = ("port", "rtcp", "rtp")

    def __init__(self, rtp: Terminal, rtcp: Terminal, port: int) -> None:
        self.rtp = rtp
        self.rtcp = rtcp
        self.port = port


class Party:
    """One end of a call, with a `Stream` for each m= line that is on. `tag` is b"" until it has answered."""

    __slots__ = ("_ports", "branch", "ipv6", "is_held", "offered", "places", "session", "streams", "tag")

    def __init__(self, session: "Session", ports: Ports, tag: bytes, branch: bytes, ipv6: bool) -> None:
        self._ports = ports
        self.session = session
        self.tag = tag
        self.branch = branch
        self.ipv6 = ipv6
        self.is_held = False
        self.offered = 0
        """m= lines of the newest offer that went to it: its answer has as many (RFC 3264 6)."""
        self.streams: list[Stream | None] = []
        self.places: list[tuple[str, int]] = []
        """Address and port of each m= line in its newest SDP."""

    def open(self, sdp: Sdp) -> None:
        """See that every m= line that is on and can be relayed has its ports. Raises PortsUsedUp."""
        for index, media in enumerate(sdp.media):
            if index == len(self.streams):
                self.streams.append(None)
            if media.port and media.is_rtp and self.streams[index] is None:
                rtp = Terminal(self, VIDEO_RATE if media.kind == b"video" else AUDIO_RATE, rtcp=False)
                rtcp = Terminal(self, RTCP_RATE, rtcp=True)
                port = self._ports.open(self.ipv6, rtp, rtcp)
                if not port:
                    raise PortsUsedUp
                self.streams[index] = Stream(rtp, rtcp, port)

    def stream(self, index: int) -> Stream | None:
        """The ports for an m= line, by its place in the SDP."""
        return self.streams[index] if index < len(self.streams) else None

    def use_family(self, ipv6: bool) -> None:
        """The party is reached by this family from now on: ports of the other one are closed."""
        if ipv6 is not self.ipv6:
            self.close()
            self.ipv6 = ipv6

    def close(self, index: int | None = None) -> None:
        """Close all ports, or those of one m= line."""
        for at, stream in enumerate(self.streams):
            if stream is not None and index in (None, at):
                self._ports.close(self.ipv6, stream.port)
                self.streams[at] = None

    def ports(self, sdp: Sdp) -> list[tuple[int, int]]:
        """The ports that face this party, for `rewrite`: 0 for what is not relayed."""
        found = [self.stream(index) if media.is_rtp else None for index, media in enumerate(sdp.media)]
        return [(0, 0) if one is None else (one.port, one.port + 1) for one in found]

    def awaits(self, source: str) -> None:
        """Its signalling goes to this host, and no SDP of it has come yet: it may send all the same."""
        for stream in self.streams:
            if stream is not None and not stream.rtp.allowed:
                stream.rtp.allowed = stream.rtcp.allowed = allowed_hosts("", source)

    def said(self, sdp: Sdp, source: str) -> None:
        """An SDP of this party came: this is where it is."""
        self.is_held = all(media.is_held or not media.port for media in sdp.media)
        for index, media in enumerate(sdp.media):
            place = (media.host, media.port)
            moved = index >= len(self.places) or self.places[index] != place
            if index >= len(self.places):
                self.places.append(place)
            self.places[index] = place
            stream = self.stream(index)
            if stream is None or not media.port:
                continue
            allowed = allowed_hosts(media.host, source)
            stream.rtp.expect(allowed, self._target(media, media.port, source), moved)
            stream.rtcp.expect(allowed, self._target(media, media.rtcp_port, source), moved)
            stream.rtp.events = media.telephone_events if media.transport in PLAIN else {}

    def _target(self, media: MediaLine, port: int, source: str) -> Socket | None:
        found = target(media.host, port, source)
        if found is None or is_ipv6(found[0]) is not self.ipv6 or self.reflects(found):
            return None
        return found

    def terminals(self) -> list[Terminal]:
        """Every port that faces this party."""
        return [one for stream in self.streams if stream is not None for one in (stream.rtp, stream.rtcp)]

    # What a Terminal asks (Owner)

    def reflects(self, source: Socket) -> bool:
        return self.session.told.reflects(source)

    def sinks_for(self, terminal: Terminal, data: bytes) -> tuple[Terminal, ...]:
        return self.session.sinks_for(self, terminal, data)

    def pressed(self, digit: str, milliseconds: int) -> None:
        self.session.told.key_pressed(self.session, self, digit, milliseconds)

    def refused(self, _terminal: Terminal, reason: str) -> None:
        self.session.told.packet_refused(reason)


class Session:
    """Everything the first offerer sends goes to every fork, so that all who ring see the visitor. It hears one fork only: the
    one that answered, before that the first that sends. RTCP of all forks reaches it: a picture begins with their request."""

    __slots__ = ("age", "answered", "call_id", "forks", "heard", "offerer", "packets", "silence", "told")

    def __init__(self, call_id: bytes, ports: Ports, told: Told, tag: bytes, ipv6: bool) -> None:
        self.call_id = call_id
        self.told = told
        self.offerer = Party(self, ports, tag, b"", ipv6)
        self.forks: list[Party] = []
        self.heard: Party | None = None
        self.answered = False
        self.packets = 0
        self.silence = 0
        self.age = 0

    def answer(self, fork: Party) -> None:
        """This fork has answered: the others are dropped."""
        for other in self.forks:
            if other is not fork:
                other.close()
        self.forks = [fork]
        self.heard = fork
        self.answered = True

    def drop(self, fork: Party) -> None:
        """A fork has ended."""
        self.forks.remove(fork)
        fork.close()
        if self.heard is fork:
            self.heard = None
        self.wire()

    def close(self) -> None:
        """Everything ends."""
        for party in self.parties():
            party.close()

    def parties(self) -> list[Party]:
        return [self.offerer, *self.forks]

    def wire(self) -> None:
        """Say for each port where its packets go."""
        for index, stream in enumerate(self.offerer.streams):
            present = [one for fork in self.forks if (one := fork.stream(index)) is not None]
            if stream is not None:
                stream.rtp.sinks = tuple(one.rtp for one in present)
                stream.rtcp.sinks = tuple(one.rtcp for one in present)
        for fork in self.forks:
            for index, stream in enumerate(fork.streams):
                back = self.offerer.stream(index)
                if stream is not None:
                    stream.rtp.sinks = (back.rtp,) if back is not None and fork is self.heard else ()
                    stream.rtcp.sinks = (back.rtcp,) if back is not None else ()

    def sinks_for(self, party: Party, terminal: Terminal, data: bytes) -> tuple[Terminal, ...]:
        """A packet of a fork that is not heard: it is now if nobody else is. RTCP on the RTP port passes in any case."""
        if party is self.offerer:
            return ()
        if self.heard is None and not is_rtcp(data):
            self.heard = party
            self.wire()
            return terminal.sinks
        if is_rtcp(data):
            for index, stream in enumerate(party.streams):
                back = self.offerer.stream(index)
                if stream is not None and stream.rtp is terminal and back is not None:
                    return (back.rtp,)
        return ()

    def tick(self) -> int:
        """A second has passed. Returns the packets that came in it."""
        packets = 0
        for party in self.parties():
            for terminal in party.terminals():
                terminal.tick()
                packets += terminal.packets
                terminal.packets = 0
        self.packets += packets
        self.age += 1
        self.silence = 0 if packets else self.silence + 1
        return packets
