"""The SIP service: sockets, the core between them, and what its outputs mean outside."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from twisted.logger import Logger

from registry.location import Binding
from sip.binding import LiveBinding
from sip.core import SipCore
from sip.directory import Question
from sip.errors import MalformedMessage
from sip.events import (
    Authenticated,
    BindingsChanged,
    CallEnded,
    Fetch,
    GatewayHeard,
    KeyPressed,
    Notified,
    Output,
    Push,
    PushChanged,
    Refused,
    Send,
)
from sip.flow import Flow
from sip.media_engine import MediaAnswer, MediaDelete, MediaOffer, MediaOutcome, MediaRequest
from sip.net.deadline import DeadlineTimer
from sip.net.stream import Connection, PlainFraming, Seat, StreamLimits, Streams
from sip.net.udp import UdpSocket
from sip.net.websocket import OriginRule, WebSocketFraming


class TrunkPort(Protocol):
    """The trunks, as far as this service knows them (`trunk_service.py`)."""

    def advertise(self, transport: str, host: str, bound: tuple[str, int]) -> None:
        """A listener is up at `bound`; peers reach it at `host` and that port."""
        ...

    def takes(self, data: bytes, flow: Flow) -> bool:
        """Take a message that is a response to a request of the trunks'."""
        ...

    def closed(self, flow: Flow) -> None:
        """A connection is gone."""
        ...

    def call_heard(self, gateway: str, alive: bool) -> None:
        """A call over this gateway was answered, or went unanswered."""
        ...


FETCH_DEADLINE = 4.0
"""Seconds a fact may take to come; the core gives up by itself a little later (`SipLimits.parked_seconds`)."""
_WILDCARDS = ("0.0.0.0", "::")


class FactsSource(Protocol):
    """Where facts come from that are not in memory yet."""

    async def fetch(self, question: Question) -> None:
        """Bring the answer into the memory that the core's Directory peeks into. Raises when it cannot."""
        ...


class SipService:
    """Runs one SipCore on UDP sockets, and on the streams that whoever accepts them makes with `connect`.

    `on_bindings(aor, bindings)` gets an AOR's new bindings; `on_call(ended, wall)` the wall time of the end;
    `observe` every output, in order, before it is carried out; `on_push` what is to wake an app, to be answered with `pushed`;
    `on_push_changed` how an app wants to be woken; `on_key` the keys passed on to door phones; `on_media` what the media engine
    is to do, to be answered with `media_told`, also before it returns. All are called in the loop and must not block or raise.
    `clock` is monotonic, `wall` the wall clock, both in seconds.
    """

    log = Logger()

    def __init__(
        self,
        core: SipCore,
        *,
        facts: FactsSource,
        on_bindings: Callable[[str, tuple[LiveBinding, ...]], None],
        on_call: Callable[[CallEnded, float], None],
        observe: Callable[[Output], None],
        on_push: Callable[[Push], None] = lambda _push: None,
        on_push_changed: Callable[[PushChanged], None] = lambda _changed: None,
        clock: Callable[[], float],
        wall: Callable[[], float],
        entropy: Callable[[int], bytes],
        stream_limits: StreamLimits | None = None,
        websocket_origins: Iterable[str] = (),
        on_key: Callable[[KeyPressed], None] = lambda pressed: None,
        on_media: Callable[[MediaRequest], None] = lambda _request: None,
    ) -> None:
        self._core = core
        self._facts = facts
        self._on_bindings = on_bindings
        self._on_call = on_call
        self._on_key = on_key
        self._on_media = on_media
        self._pumping = False
        self._observe = observe
        self._on_push = on_push
        self._on_push_changed = on_push_changed
        self._clock = clock
        self._wall = wall
        self._sockets: list[UdpSocket] = []
        self._udp: dict[tuple[str, str], UdpSocket] = {}
        """By address family and `Flow.local`; "" is for flows from before a restart on another port: any socket of their
        family reaches them."""
        self._behind = 0
        self._stream_limits = stream_limits or StreamLimits()
        self._origins = OriginRule(websocket_origins)
        self._streams = Streams(self, clock=clock, entropy=entropy, limits=self._stream_limits)
        self._timer: DeadlineTimer | None = None
        self._trunks: TrunkPort | None = None
        self._trunk_hosts: frozenset[str] = frozenset()
        self._fetches: set[asyncio.Task[None]] = set()
        self._notices: dict[int, asyncio.Future[int]] = {}
        self._notice = 0
        self.unhandled = 0
        """Inputs that raised inside the core. Each is a bug of ours: it is logged, and costs that message only."""

    async def start(self, host: str, port: int, advertise: str = "") -> tuple[str, int]:
        """Open a UDP socket (port 0 picks a free one) and return its address. May be called once for IPv4 and once for IPv6.

        `advertise` is the host that devices reach it at, where that is not `host` itself (a wildcard, a NAT); an address of the
        other family says nothing. Raises OSError.
        """
        opened = UdpSocket(self.received, self.drained, self._backlog)
        bound = opened.open(asyncio.get_running_loop(), host, port)
        self._sockets.append(opened)
        family = "udp6" if opened.ipv6 else "udp"
        self._udp[(family, opened.local)] = opened
        self._udp.setdefault((family, ""), opened)
        self.listening("udp", bound, advertise)
        return bound

    @contextmanager
    def sharing_ports(self) -> Iterator[None]:
        """Inside, other sockets can be bound beside our UDP sockets, to addresses of their own."""
        for opened in self._sockets:
            opened.share(True)
        try:
            yield
        finally:
            for opened in self._sockets:
                opened.share(False)

    def listening(self, transport: str, bound: tuple[str, int], advertise: str = "") -> None:
        """Streams of this transport ("tcp", "tls", "ws", "wss") are accepted at this address; `advertise` as for `start`."""
        ipv6 = ":" in bound[0]
        shown = advertise if _may_name(advertise, ipv6) else _reachable(bound[0])
        self._core.advertise(transport, shown, bound[1], ipv6=ipv6)
        if self._trunks is not None:
            self._trunks.advertise(transport, shown, bound)
        if self._timer is None:
            self._timer = DeadlineTimer(asyncio.get_running_loop(), self._clock, self._on_deadline)
        self._timer.arm(self._core.next_deadline())

    def connect(self, transport: str, seat: Seat) -> Connection:
        """The protocol of one accepted connection. It releases the seat once its peer has proven an account, or has left."""
        octets = self._stream_limits.message_octets
        framing = WebSocketFraming(octets, self._origins) if transport.startswith("ws") else PlainFraming(octets)
        return Connection(self._streams, transport, framing, seat)

    def serve_trunks(self, trunks: TrunkPort) -> None:
        """Carry these trunks' messages. Call it before any listener is opened."""
        self._trunks = trunks

    def listen_to(self, hosts: frozenset[str]) -> None:
        """The addresses whose messages the trunks are asked about."""
        self._trunk_hosts = hosts

    def transmit(self, output: Send) -> None:
        """Put a message of the trunks' on its flow."""
        self._observe(output)
        self._send(output)

    def hang_up(self, flow: Flow) -> None:
        """Close a stream once what is queued is written."""
        stream = self._streams.find(flow)
        if stream is not None:
            stream.close()

    async def stop(self) -> None:
        """Close the sockets, end the timer and the fetches. What the core still had to say about bindings is passed on."""
        for opened in self._sockets:
            opened.close()
        await self._streams.close_all()
        if self._timer is not None:
            self._timer.stop()
        for task in list(self._fetches):
            task.cancel()
        if self._fetches:
            await asyncio.wait(self._fetches)
        self._pump()

    def load_bindings(self, aor: str, bindings: tuple[Binding, ...]) -> None:
        """Take over stored bindings (wall-clock expiry), before `start`."""
        wall = self._wall()
        self._core.load_bindings(aor, [replace(one, expires=one.expires - wall) for one in bindings], self._clock())

    def bindings(self, aor: str) -> tuple[Binding, ...]:
        """The live bindings of an AOR, with wall-clock expiry."""
        wall = self._wall()
        return tuple(replace(one, expires=one.expires + wall) for one in self._core.bindings(aor, self._clock()))

    def forget_account(self, username: str) -> None:
        """The account was removed, disabled or moved to another site: drop its bindings."""
        self._core.forget_account(username, self._clock())
        self._pump()

    async def notify(self, account: str, event: str) -> int:
        """Send a NOTIFY out of dialog to the newest binding of an account; `event` is an Event header of ours ("check-sync").

        Returns the final status, within 32 s: 408 where no answer came, 430 and 480 where it could not be sent.
        """
        self._notice += 1
        serial = self._notice
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._notices[serial] = answered
        try:
            self._core.notify(serial, account, event, self._clock())
            self._pump()
            return await answered
        finally:
            self._notices.pop(serial, None)

    def pushed(self, serial: int, accepted: bool, reason: str) -> None:
        """What became of `Push` number `serial`; `reason` is one of a fixed set, "" if it was accepted."""
        try:
            self._core.pushed(serial, accepted, reason, self._clock())
        except Exception:
            self._bug("push")
        self._pump()

    def media_told(self, outcome: MediaOutcome) -> None:
        """What the media engine says of what `on_media` asked, and of the keys it hears."""
        try:
            self._core.media_told(outcome, self._clock())
        except Exception:
            self._bug("media outcome")
        if not self._pumping:
            self._pump()

    @property
    def receive_buffers(self) -> tuple[int, ...]:
        """Octets of receive buffer the kernel gave to each socket."""
        return tuple(one.receive_buffer for one in self._sockets)

    @property
    def send_errors(self) -> int:
        """Datagrams the kernel would not take."""
        return sum(one.send_errors for one in self._sockets)

    @property
    def streams(self) -> int:
        """Stream connections that are open."""
        return len(self._streams)

    # What sockets and streams tell (StreamOwner)

    def received(self, data: bytes, flow: Flow) -> None:
        """A message arrived."""
        if flow.host in self._trunk_hosts and self._trunks is not None and self._trunks.takes(data, flow):
            return
        try:
            self._core.receive(data, flow, self._clock())
        except Exception:
            self._bug("message")

    def unframed(self, error: MalformedMessage, flow: Flow) -> None:
        """A stream cannot be cut into messages any further."""
        self._core.unframed(error, flow)

    def drained(self) -> None:
        """That was all for this turn of the loop: carry out what came of it."""
        self._pump()

    def closed(self, flow: Flow) -> None:
        """A stream is gone: its bindings go at once, requests on it fail."""
        self._core.flow_closed(flow, self._clock())
        if self._trunks is not None:
            self._trunks.closed(flow)
        self._pump()

    def noted(self, refused: Refused) -> None:
        """A stream was ended for a reason of ours."""
        self._observe(refused)

    def _backlog(self, waits: bool) -> None:
        """A socket is behind, or not any more: the node is while one of them is."""
        self._behind += 1 if waits else -1
        self._core.backlog(self._behind > 0)

    # Carrying out

    def _on_deadline(self) -> None:
        try:
            self._core.on_deadline(self._clock())
        except Exception:
            self._bug("deadline")
        self._pump()

    def _answered(self, question: Question) -> None:
        try:
            self._core.answered(question, self._clock())
        except Exception:
            self._bug("fact")
        self._pump()

    def _bug(self, what: str) -> None:
        """The core raised, which it never should: the node goes on without that one message."""
        self.unhandled += 1
        self.log.failure("the SIP core did not handle a {what}", what=what)

    def _pump(self) -> None:
        """Carry out what the core has to say, then arm the timer for what it waits for."""
        self._pumping = True
        try:
            # To send on a stream that is gone makes further outputs, and so does a media engine that answers at once.
            while outputs := self._core.take():
                for output in outputs:
                    self._observe(output)
                    if type(output) is Send:
                        self._send(output)
                    else:
                        self._carry_out(output)
        finally:
            self._pumping = False
        if self._timer is not None:
            self._timer.arm(self._core.next_deadline())

    def _send(self, output: Send) -> None:
        flow = output.flow
        if flow.transport != "udp":
            stream = self._streams.find(flow)
            # A dialog token may name a stream that is gone. It cannot come back, and devices are not dialled.
            if stream is None or not stream.send(output.data):
                self._core.flow_closed(flow, self._clock())
            return
        opened = self._udp.get((flow.address_key, flow.local)) or self._udp.get((flow.address_key, ""))
        if opened is not None:
            opened.send(output.data, flow.host, flow.port)

    def _carry_out(self, output: Output) -> None:
        if isinstance(output, BindingsChanged):
            self._on_bindings(output.aor, output.bindings)
        elif isinstance(output, CallEnded):
            self._on_call(output, self._wall())
        elif isinstance(output, (MediaOffer, MediaAnswer, MediaDelete)):
            self._on_media(output)
        elif isinstance(output, Notified):
            waiting = self._notices.get(output.serial)
            if waiting is not None and not waiting.done():
                waiting.set_result(output.status)
        elif isinstance(output, KeyPressed):
            self._on_key(output)
        elif isinstance(output, Authenticated):
            stream = self._streams.find(output.flow)
            if stream is not None:
                stream.known()
        elif isinstance(output, Push):
            self._on_push(output)
        elif isinstance(output, PushChanged):
            self._on_push_changed(output)
        elif isinstance(output, GatewayHeard):
            if self._trunks is not None:
                self._trunks.call_heard(output.gateway, output.alive)
        elif isinstance(output, Fetch):
            task = asyncio.get_running_loop().create_task(self._fetch(output.question))
            self._fetches.add(task)
            task.add_done_callback(self._fetches.discard)

    async def _fetch(self, question: Question) -> None:
        """Ask for a fact. Whether it came is seen by the core when it peeks again: it refuses what is still unknown."""
        try:
            async with asyncio.timeout(FETCH_DEADLINE):
                await self._facts.fetch(question)
        except Exception as error:
            self.log.warn("a fact for SIP could not be fetched: {error}", error=type(error).__name__)
        self._answered(question)


def _may_name(host: str, ipv6: bool) -> bool:
    """Whether this is a host name, or an address of this family."""
    try:
        return ipaddress.ip_address(host).version == (6 if ipv6 else 4)
    except ValueError:
        return host != ""


def _reachable(host: str) -> str:
    """An address of ours for peers, where the socket is bound to all: the one that packets to the outside leave from."""
    if host not in _WILDCARDS:
        return host
    family, outside, loopback = (
        (socket.AF_INET, "192.0.2.1", "127.0.0.1") if host == "0.0.0.0" else (socket.AF_INET6, "2001:db8::1", "::1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((outside, 9))  # sends nothing: it only asks the routing table
            found: str = probe.getsockname()[0]
        except OSError:
            return loopback
    return found
