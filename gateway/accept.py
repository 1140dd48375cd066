"""`Acceptor`: takes TCP connections and brings them through TLS without letting strangers tie the node up.

All that devices and visitors connect to is accepted here: SIP streams, the channel, Remote Control, auto-provisioning. They get
a connection with its *seat*, and release the seat once they know the peer. Counted are *strangers*: connections whose peer
has proven nothing yet. Bounds: all of a listener's, those of one source (an IPv4 address, an IPv6 /64), TLS handshakes at once
(of the whole node, and of one source). A connection that says nothing gets no handshake place. Where all places are taken,
whoever has held one longest beyond a short grace gives it up, so that silent or stalling peers delay an honest one by that
grace at most. Server objects of asyncio hide all this, so the listening sockets are ours. TCP_DEFER_ACCEPT is not used: it would
let silent peers outlive the deadlines, which begin at the accept.
"""

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import resource
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.handshakes import HandshakePlaces, Left

BACKLOG = 128
"""Connections that the kernel has made and we have not taken. Few: while we take none those in front lose patience, and a peer
that finds no room asks again a second later."""
AT_A_TIME = 100
"""Connections taken in one turn of the loop, so that a flood leaves others theirs."""
RETRY = 0.2
"""Seconds until accepting is tried again after the system had no descriptor left."""
_ESTABLISHED = 1
"""TCP_ESTABLISHED, the first octet of TCP_INFO (tcp(7))."""
_NO_DESCRIPTOR = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """Bounds of one listener; seconds."""

    strangers: int = 4096
    strangers_per_source: int = 1024
    """A building behind one NAT comes back all at once after a restart."""
    pressed_seconds: float = 1.0
    """How long a stranger may keep its seat without a step forward when others wait for one."""
    queued_seconds: float = 3.0
    """The same for one that waits for us, for a handshake place."""
    tls_seconds: float = 10.0
    """From the accept to the end of the TLS handshake."""
    user_timeout_seconds: float = 30.0
    """TCP_USER_TIMEOUT: how long sent octets may stay unacknowledged."""
    probe: bool = True
    """TCP keep-alive, so that a peer that vanished is known within that time. Off where the protocol itself asks."""
    unsent_octets: int = 0
    """TCP_NOTSENT_LOWAT: unsent octets that the kernel may hold, 0 as many as it likes."""


def within_descriptors(limits: AcceptLimits, listeners: int) -> AcceptLimits:
    """The same limits, but such that the strangers of so many listeners never hold more than a quarter of our descriptors."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4 // listeners
    return replace(limits, strangers=min(limits.strangers, most), strangers_per_source=min(limits.strangers_per_source, most))


class Seat:
    """A stranger's place. Its connection must `release` it as soon as the peer is known, and when it is lost."""

    __slots__ = ("_acceptor", "end", "host", "since", "source")

    def __init__(self, host: str, since: float, acceptor: "Acceptor") -> None:
        self.host = host
        """The peer's address."""
        self.source = source_of(host)
        self.since = since
        self._acceptor: Acceptor | None = acceptor
        self.end: Callable[[], None] = lambda: None
        """Puts the stranger out."""

    def release(self) -> None:
        """Give the seat back; the connection may go on. Further calls do nothing."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.left(self)


class Acceptor:
    """One listener's TCP sockets. `connect(seat)` makes the asyncio protocol of a connection, which owns it from then on.

    `tls` None: plain TCP. `refused(reason)` counts: "strangers-per-source", "strangers" (put out for
    a newcomer), "pressed" (put out of its handshake), "left" (gone while it waited for one), "handshake", "no-descriptor".
    """

    def __init__(
        self,
        *,
        connect: Callable[[Seat], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        handshakes: HandshakePlaces,
        refused: Callable[[str], None],
        limits: AcceptLimits | None = None,
    ) -> None:
        self._connect = connect
        self._tls = tls
        self._handshakes = handshakes
        self._refused = refused
        self._limits = limits or AcceptLimits()
        self._owing: dict[Seat, None] = {}
        """Strangers whose next step is theirs, in order of their last one."""
        self._queued: dict[Seat, None] = {}
        """Strangers who wait for a handshake place, in order of arrival."""
        self._sources: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []
        self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._full = False
        """Paused because every seat is taken, not for want of descriptors."""

    @property
    def strangers(self) -> int:
        """Connections whose peer has proven nothing yet."""
        return len(self._owing) + len(self._queued)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on an IP literal; port 0 picks a free one. Returns what was bound. May be called for several addresses.

        Raises OSError and ValueError.
        """
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((host, port))
            opened.listen(BACKLOG)
        except OSError:
            opened.close()
            raise
        self._pause()
        self._listeners.append(opened)
        self._again()
        name = opened.getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Stop listening and drop what has not reached its protocol. Connections that have are their owner's."""
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def left(self, seat: Seat) -> None:
        """A seat is free again (`Seat.release`)."""
        self._owing.pop(seat, None)
        self._queued.pop(seat, None)
        self._sources[seat.source] -= 1
        if not self._sources[seat.source]:
            del self._sources[seat.source]
        if self._full:
            self._again()

    def _resume(self) -> None:
        """Accept (again), unless we stopped or wait for descriptors."""
        if self._listeners and not self._reading and self._timer is None:
            self._reading = True
            for listener in self._listeners:
                asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _pause(self, until: float | None = None) -> None:
        """Accept nothing until this time of the loop (None: for good)."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if until is None else loop.call_at(until, self._again)
        if self._reading:
            self._reading = False
            for listener in self._listeners:
                loop.remove_reader(listener)

    def _again(self) -> None:
        self._full = False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._resume()

    def _accept(self, listener: socket.socket) -> None:
        """The listening socket is readable."""
        for turn in range(AT_A_TIME):
            if self._tls is not None and self._reading and self._handshakes.is_crowded:
                self._pause()
                self._handshakes.when_room(self._again)
                return
            full = self.strangers >= self._limits.strangers
            # That somebody waits is certain in the first turn only.
            if not self._reading or (full and (turn or not self._make_room())):
                return
            try:
                connection, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as failed:
                if failed.errno in _NO_DESCRIPTOR:
                    self._refused("no-descriptor")
                    self._pause(asyncio.get_running_loop().time() + RETRY)
                    return
                continue  # the peer gave up before we came to it
            if _gone(connection):  # its patience ended in the kernel's queue
                self._refused("left")
                connection.close()
                continue
            self._admit(connection, str(peer[0]))

    def _make_room(self) -> bool:
        """Put out the stranger who has kept us waiting longest, if its grace is over; else wait until one's is."""
        limits = self._limits
        ends = [
            (seat.since + grace, seat)
            for seats, grace in ((self._owing, limits.pressed_seconds), (self._queued, limits.queued_seconds))
            for seat in itertools.islice(seats, 1)
        ]
        until, first = min(ends, key=lambda end: end[0])
        if until > asyncio.get_running_loop().time():
            self._pause(until)
            self._full = True
            return False
        self._refused("strangers")
        first.end()
        first.release()
        return True

    def _step(self, seat: Seat, *, queued: bool = False) -> None:
        """A stranger has come a step further: its time begins anew."""
        if self._owing.pop(seat, seat) is None or self._queued.pop(seat, seat) is None:
            seat.since = asyncio.get_running_loop().time()
            (self._queued if queued else self._owing)[seat] = None

    def _admit(self, connection: socket.socket, host: str) -> None:
        loop = asyncio.get_running_loop()
        seat = Seat(host, loop.time(), self)
        held = self._sources.get(seat.source, 0)
        if held >= self._limits.strangers_per_source:
            self._refused("strangers-per-source")
            connection.close()
            return
        self._sources[seat.source] = held + 1
        self._owing[seat] = None
        task = loop.create_task(self._bring(connection, seat))
        seat.end = task.cancel  # type: ignore[assignment]
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            # Here and not in the task: one that is cancelled before its first step runs none of its own lines.
            self._tasks.discard(task)
            if task.cancelled():
                self._refused("pressed")
                seat.release()
            connection.close()  # where a transport holds it, it stays open until the transport closes

        task.add_done_callback(done)

    async def _bring(self, connection: socket.socket, seat: Seat) -> None:
        """Bring one connection to its protocol."""
        loop = asyncio.get_running_loop()
        try:
            _tune(connection, self._limits)
            if self._tls is None:
                transport, _ = await loop.connect_accepted_socket(lambda: self._connect(seat), connection)
            else:
                async with asyncio.timeout(self._limits.tls_seconds):
                    await _heard(connection)
                    self._step(seat, queued=True)
                    async with self._handshakes.place(seat.source, lambda: _gone(connection)):
                        self._step(seat)
                        transport, _ = await loop.connect_accepted_socket(
                            lambda: self._connect(seat),
                            connection,
                            ssl=self._tls,
                            ssl_handshake_timeout=self._limits.tls_seconds,
                            ssl_shutdown_timeout=self._limits.tls_seconds,
                        )
        except Left:
            self._refused("left")
            seat.release()
            return
        except OSError:  # also ssl.SSLError and TimeoutError
            self._refused("handshake")
            seat.release()
            return
        seat.end = transport.abort
        self._step(seat)


def source_of(host: str) -> str:
    """Whom an address counts for: itself, or for IPv6 its /64, which one host has whole."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False).network_address)


def _tune(connection: socket.socket, limits: AcceptLimits) -> None:
    tcp, timeout = socket.IPPROTO_TCP, limits.user_timeout_seconds
    connection.setblocking(False)
    connection.setsockopt(tcp, socket.TCP_NODELAY, 1)
    if limits.probe:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(tcp, socket.TCP_KEEPIDLE, max(1, int(timeout / 2)))
        connection.setsockopt(tcp, socket.TCP_KEEPINTVL, max(1, int(timeout / 6)))
    if limits.unsent_octets:
        connection.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, limits.unsent_octets)
    with contextlib.suppress(OSError):  # not on every kernel; the deadlines hold without it
        connection.setsockopt(tcp, socket.TCP_USER_TIMEOUT, int(timeout * 1000))


def _gone(connection: socket.socket) -> bool:
    """Whether the peer has closed or reset: what it said before is not worth an answer. TLS has no half-close."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED


async def _heard(connection: socket.socket) -> None:
    """Wait until the peer has said something, without reading it."""
    with contextlib.suppress(BlockingIOError):
        connection.recv(1, socket.MSG_PEEK)
        return
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection.fileno(), _settle, heard)
    try:
        await heard
    finally:
        loop.remove_reader(connection.fileno())


def _settle(heard: asyncio.Future[None]) -> None:
    if not heard.done():
        heard.set_result(None)
