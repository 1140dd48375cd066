"""The built-in RTP relay without its sockets: offers and answers in, rewritten SDP out (`media_engine.py` for what they mean).

Packets do not come through here: the shell gives each to its `Terminal`, which knows where it goes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sip.errors import MalformedSdp
from sip.media.places import is_ipv6, is_multicast
from sip.media.session import Party, Ports, PortsUsedUp, Session
from sip.media.terminal import Socket
from sip.media_engine import (
    Digit,
    MediaAnswer,
    MediaDelete,
    MediaEnded,
    MediaFailed,
    MediaKey,
    MediaOffer,
    MediaOutcome,
    MediaReady,
    MediaRequest,
)
from sip.sdp import Sdp, parse_sdp, rewrite

TICK = 1.0
"""Seconds between two calls of `Relay.tick`: rates are counted per tick."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Counts are objects, times are seconds."""

    calls: int = 1_000
    forks: int = 60
    """Branches of one call."""
    media: int = 4
    """m= lines of one call that are relayed."""
    silent_seconds: int = 120
    """An answered call from which nothing came for so long has ended without a BYE."""
    held_seconds: int = 3600
    """The same while a side holds the call."""
    ringing_seconds: int = 300
    """The same before the answer."""
    call_seconds: int = 4 * 3600
    """No call lives longer."""


class Refusal(Exception):
    """Why an offer or answer cannot be relayed."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status


class Relay:
    """All relayed calls. `hosts` maps IPv4 (False) and IPv6 (True) to the address that peers reach the ports at; a family without
    one is not served. `own_ports(host, port)` says whether that is one of our own. `emit` is called with what comes of it all."""

    def __init__(
        self,
        ports: Ports,
        hosts: Mapping[bool, str],
        own_ports: Callable[[str, int], bool],
        emit: Callable[[MediaOutcome], None],
        limits: RelayLimits | None = None,
    ) -> None:
        self._ports = ports
        self._hosts = hosts
        self._own_ports = own_ports
        self._emit = emit
        self._limits = limits or RelayLimits()
        self._sessions: dict[tuple[bytes, bytes], Session] = {}
        """By Call-ID and the tag of who made the first offer."""
        self.refused: Counter[str] = Counter()
        """Packets dropped, and offers and answers not carried out, by reason."""
        self.packets = 0
        """Packets relayed, brought up to date by each tick."""

    def __len__(self) -> int:
        """Calls now."""
        return len(self._sessions)

    def request(self, request: MediaRequest) -> None:
        """Carry out a request; for an offer or answer, exactly one outcome with its number is emitted before this returns."""
        if isinstance(request, MediaDelete):
            self._delete(request.key)
            return
        try:
            sdp = self._parsed(request)
            text = self._offer(request, sdp) if isinstance(request, MediaOffer) else self._answer(request, sdp)
        except Refusal as refusal:
            self.refused[refusal.reason] += 1
            self._emit(MediaFailed(request.number, request.key, refusal.reason, refusal.status))
            return
        self._emit(MediaReady(request.number, request.key, text))

    def tick(self) -> None:
        """Call this every `TICK` seconds."""
        limits = self._limits
        for key, session in list(self._sessions.items()):
            self.packets += session.tick()
            held = any(party.is_held for party in session.parties())
            patience = limits.held_seconds if held else limits.silent_seconds if session.answered else limits.ringing_seconds
            if session.silence >= patience or session.age >= limits.call_seconds:
                self._end(key, session)
                tag = session.forks[0].tag if session.answered and session.forks else b""
                self._emit(MediaEnded(session.call_id, session.offerer.tag, tag))

    def close(self) -> None:
        """Every call ends, silently."""
        for key, session in list(self._sessions.items()):
            self._end(key, session)

    # What sessions tell (Told)

    def reflects(self, source: Socket) -> bool:
        return self._own_ports(source[0], source[1])

    def key_pressed(self, session: Session, by: Party, digit: str, milliseconds: int) -> None:
        other = session.heard.tag if session.heard is not None else b""
        to_tag = other if by is session.offerer else session.offerer.tag
        self._emit(Digit(session.call_id, by.tag, to_tag, digit, milliseconds))

    def packet_refused(self, reason: str) -> None:
        self.refused[reason] += 1

    # Offer, answer, delete

    def _parsed(self, request: MediaOffer | MediaAnswer) -> Sdp:
        try:
            sdp = parse_sdp(request.sdp)
        except MalformedSdp:
            raise Refusal("garbage", 488) from None
        on = [media for media in sdp.media if media.port]
        for media in on:
            foreign = media.kind in (b"audio", b"video") and not media.is_rtp
            if foreign or media.port_count > 1 or is_multicast(media.host):
                raise Refusal("unsupported", 488)
            if isinstance(request, MediaOffer) and request.transport not in (b"", media.transport):
                raise Refusal("unsupported", 488)
        relayed = sum(media.is_rtp for media in on)
        if relayed > self._limits.media or (isinstance(request, MediaOffer) and on and not relayed):
            raise Refusal("unsupported", 488)
        return sdp

    def _offer(self, offer: MediaOffer, sdp: Sdp) -> bytes:
        ours = next((is_ipv6(media.host) for media in sdp.media if media.port and media.host), is_ipv6(offer.source))
        theirs = is_ipv6(offer.toward)
        if ours not in self._hosts or theirs not in self._hosts:
            raise Refusal("unsupported", 488)
        found = self._find(offer.key)
        session, offerer, receiver = found or self._begin(offer, ours, theirs)
        offerer.use_family(ours)
        receiver.use_family(theirs)
        try:
            offerer.open(sdp)
            receiver.open(sdp)
        except PortsUsedUp:
            if found is None:
                session.drop(receiver)
                self._forget_if_idle(session)
            session.wire()
            raise Refusal("ports used up", 503) from None
        receiver.offered = len(sdp.media)
        offerer.said(sdp, offer.source)
        receiver.awaits(offer.toward)
        session.wire()
        return rewrite(sdp, self._hosts[theirs], receiver.ports(sdp))

    def _answer(self, answer: MediaAnswer, sdp: Sdp) -> bytes:
        found = self._find(answer.key)
        if found is None:
            raise Refusal("unknown call", 488)
        session, offerer, answerer = found
        if len(sdp.media) != answerer.offered:
            raise Refusal("garbage", 488)
        if answerer.tag == b"" or answerer is not session.offerer:
            answerer.tag = answer.key.to_tag
        answerer.said(sdp, answer.source)
        ports = offerer.ports(sdp)
        if answer.final:
            session.answer(offerer if answerer is session.offerer else answerer)
            for index, media in enumerate(sdp.media):
                if not media.port:
                    offerer.close(index)
                    answerer.close(index)
        session.wire()
        return rewrite(sdp, self._hosts[offerer.ipv6], ports)

    def _begin(self, offer: MediaOffer, ours: bool, theirs: bool) -> tuple[Session, Party, Party]:
        """A new call, or a new fork of one. An offer inside a dialog that is not known here begins it anew: we were restarted."""
        key = offer.key
        session = self._sessions.get((key.call_id, key.from_tag))
        if session is None:
            if len(self._sessions) >= self._limits.calls:
                raise Refusal("sessions used up", 503)
            session = Session(key.call_id, self._ports, self, key.from_tag, ours)
            self._sessions[(key.call_id, key.from_tag)] = session
        if session.answered or len(session.forks) >= self._limits.forks:
            raise Refusal("sessions used up", 503)
        fork = Party(session, self._ports, key.to_tag, key.branch, theirs)
        session.forks.append(fork)
        return session, session.offerer, fork

    def _find(self, key: MediaKey) -> tuple[Session, Party, Party] | None:
        """The session, whoever made this offer, and the other side."""
        session = self._sessions.get((key.call_id, key.from_tag))
        if session is not None:
            # By branch first: it is ours, and two phones of one make may draw the same tag.
            for fork in session.forks:
                if key.branch and fork.branch == key.branch:
                    return session, session.offerer, fork
            for fork in session.forks:
                if key.to_tag and fork.tag == key.to_tag:
                    return session, session.offerer, fork
        session = self._sessions.get((key.call_id, key.to_tag)) if key.to_tag else None
        if session is not None:
            for fork in session.forks:
                if fork.tag == key.from_tag:
                    return session, fork, session.offerer
        return None

    def _delete(self, key: MediaKey) -> None:
        found = self._find(key) if key.branch or key.to_tag else None
        if found is not None and not found[0].answered:
            session, offerer, receiver = found
            session.drop(offerer if receiver is session.offerer else receiver)
        elif found is not None:
            self._end((key.call_id, found[0].offerer.tag), found[0])
        elif not key.branch and not key.to_tag:
            whole = self._sessions.get((key.call_id, key.from_tag))
            if whole is not None:
                self._end((key.call_id, key.from_tag), whole)

    def _forget_if_idle(self, session: Session) -> None:
        if not session.forks:
            self._end((session.call_id, session.offerer.tag), session)

    def _end(self, key: tuple[bytes, bytes], session: Session) -> None:
        session.close()
        del self._sessions[key]
