"""`TftpServer`: TFTP over UDP sockets, read-only. Used by a node and by the connector on a site.

One socket listens; each transfer has a socket of its own, whose port is the server's transfer identifier (RFC 1350 section 4).
Refusals go out from the listening socket, all the same and at the same instant after their request. To a source that has
acknowledged nothing goes one block or one OACK, and that again at most three times; to one that names no file of its own a few
octets.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from autop.tftp_packets import ErrorCode, PeerError, ReadRequest, Rejected, error, parse_reply, parse_request
from autop.tftp_transfer import TftpTransfer, TransferLimits

Address = tuple[str, int]
NOT_FOUND = error(ErrorCode.NOT_FOUND, "File not found")
UNKNOWN_TRANSFER = error(ErrorCode.UNKNOWN_TRANSFER, "Unknown transfer ID")
_READ = 1024
"""Octets read of a datagram: more than any that a client may send."""
_BURST = 64
"""Datagrams of the listening socket taken in one turn of the loop."""
_RECEIVE_BUFFER = 1024 * 1024
_IP_PKTINFO = 8  # linux/in.h; the socket module has no name for it in Python 3.11
_ANCILLARY = 128


def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class TftpFile:
    """A file to send. `complete` is called once the client has acknowledged every octet."""

    body: bytes = field(repr=False)
    complete: Callable[[], None] = _nothing


class TftpFiles(Protocol):
    """Where files come from."""

    async def find(self, name: bytes, source: str) -> TftpFile | None:
        """The file of this name (at most 512 octets, as the client sent them) for the address `source`; None refuses.

        Must not raise.
        """
        ...


@dataclass(frozen=True, slots=True)
class TftpLimits:
    """`transfers` at a time, look-ups and refusals that wait included; `per_source` of them of one source.

    `refusal_seconds`: every refusal leaves exactly this long after its request, so it must be above the usual look-up, which
    may take `find_seconds` at most.
    """

    transfers: int = 256
    per_source: int = 16
    refusal_seconds: float = 0.05
    find_seconds: float = 10.0
    transfer: TransferLimits = field(default_factory=TransferLimits)


class TftpServer:
    """`start` at one or more addresses, then `stop`.

    `allows(host)` says whether an address is answered at all, `source_of(host)` whom it counts for. `count(what)`: "complete",
    "failed", "not-found"; and not served: "network", "busy", "write", "mode", "malformed", "stranger" (another
    port than the client's spoke to a transfer).
    """

    def __init__(
        self,
        files: TftpFiles,
        *,
        allows: Callable[[str], bool],
        source_of: Callable[[str], str],
        count: Callable[[str], None],
        limits: TftpLimits | None = None,
    ) -> None:
        self._files = files
        self._allows = allows
        self._source_of = source_of
        self._count = count
        self._limits = limits or TftpLimits()
        self._sockets: list[socket.socket] = []
        self._running: dict[Address, _Running] = {}
        self._sources: dict[str, int] = {}

    @property
    def transfers(self) -> int:
        """How many go on, look-ups included."""
        return len(self._running)

    async def start(self, host: str, port: int) -> Address:
        """Listen at an IP literal; port 0 picks a free one. Raises OSError."""
        opened = _udp_socket(host, port)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if opened.family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._sockets.append(opened)
        asyncio.get_running_loop().add_reader(opened.fileno(), self._readable, opened)
        bound = opened.getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self, grace: float) -> None:
        """Take no new request; give what goes on `grace` seconds, then drop it."""
        loop = asyncio.get_running_loop()
        for opened in self._sockets:
            loop.remove_reader(opened.fileno())
        tasks = [running.task for running in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for opened in self._sockets:
            opened.close()
        self._sockets.clear()

    def _readable(self, opened: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                datagram, ancillary, _, peer = opened.recvmsg(_READ, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier answer
            self._asked(opened, datagram, peer, _local(ancillary))

    def _asked(self, opened: socket.socket, datagram: bytes, peer: Address, local: tuple[str, int]) -> None:
        host = peer[0].partition("%")[0]
        if not self._allows(host):
            self._count("network")
            return
        request = parse_request(datagram)
        if isinstance(request, Rejected):
            self._count(request.why)
            _send(opened, error(request.code, request.text), peer)
        elif request is not None:
            self._begin(opened, request, peer, host, local)

    def _begin(self, opened: socket.socket, request: ReadRequest, peer: Address, host: str, local: tuple[str, int]) -> None:
        earlier = self._running.get(peer)
        if earlier is not None:
            if earlier.request == request and not earlier.is_proven:
                return  # the client repeats itself; its answer is under way
            self._forget(earlier)  # it has begun anew
            earlier.task.cancel()
        source = self._source_of(host)
        held = self._sources.get(source, 0)
        if len(self._running) >= self._limits.transfers or held >= self._limits.per_source:
            self._count("busy")
            return
        self._sources[source] = held + 1
        running = self._running[peer] = _Running(request, peer, source)
        loop = asyncio.get_running_loop()
        running.task = loop.create_task(self._serve(running, opened, host, local), name="tftp transfer")
        # Here and not in the task: one that is cancelled before its first step runs none of its own lines.
        running.task.add_done_callback(lambda _: self._forget(running))

    def _forget(self, running: "_Running") -> None:
        if self._running.get(running.peer) is not running:
            return
        del self._running[running.peer]
        self._sources[running.source] -= 1
        if not self._sources[running.source]:
            del self._sources[running.source]

    async def _serve(self, running: "_Running", opened: socket.socket, host: str, local: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        try:
            async with asyncio.timeout(self._limits.find_seconds):
                file = await self._files.find(running.request.name, host)
        except TimeoutError:
            file = None
        if file is None:
            # The same instant for every refusal: what the look-up cost must not show.
            await asyncio.sleep(asked_at + self._limits.refusal_seconds - loop.time())
            self._count("not-found")
            _send(opened, NOT_FOUND, running.peer)
            return
        try:
            own = _udp_socket(local[0] or opened.getsockname()[0], 0, local[1])
        except OSError:  # no descriptor left, or the address is gone
            self._count("busy")
            return
        try:
            transfer = running.transfer = TftpTransfer(running.request, file.body, loop.time(), self._limits.transfer)
            await _Conversation(own, running.peer, transfer, self._count).over()
        finally:
            own.close()
        self._count("complete" if transfer.is_complete else "failed")
        if transfer.is_complete:
            file.complete()


class _Running:
    """One request and what became of it."""

    __slots__ = ("peer", "request", "source", "task", "transfer")
    task: asyncio.Task[None]

    def __init__(self, request: ReadRequest, peer: Address, source: str) -> None:
        self.request = request
        self.peer = peer
        self.source = source
        self.transfer: TftpTransfer | None = None

    @property
    def is_proven(self) -> bool:
        return self.transfer is not None and self.transfer.is_proven


class _Conversation:
    """Carries one transfer over its own socket."""

    def __init__(self, own: socket.socket, peer: Address, transfer: TftpTransfer, count: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._own = own
        self._peer = peer
        self._transfer = transfer
        self._count = count
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._strangers = 0

    async def over(self) -> None:
        """Talk until the transfer is over."""
        self._loop.add_reader(self._own.fileno(), self._readable)
        try:
            self._go_on()
            await self._over
        finally:
            self._loop.remove_reader(self._own.fileno())
            if self._timer is not None:
                self._timer.cancel()

    def _readable(self) -> None:
        try:
            datagram, peer = self._own.recvfrom(_READ)
        except OSError:
            return
        if peer[:2] == self._peer[:2]:
            self._transfer.receive(datagram, self._loop.time())
            self._go_on()
            return
        # RFC 1350 section 4: the stranger is told, this transfer goes on. An ERROR is never answered, nor a flood.
        self._strangers += 1
        if self._strangers <= 3:
            self._count("stranger")
            if not isinstance(parse_reply(datagram), PeerError):
                _send(self._own, UNKNOWN_TRANSFER, peer)

    def _go_on(self) -> None:
        for datagram in self._transfer.take():
            _send(self._own, datagram, self._peer)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._transfer.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._due)
        elif not self._over.done():
            self._over.set_result(None)

    def _due(self) -> None:
        self._timer = None
        self._transfer.on_deadline(self._loop.time())
        self._go_on()


def _udp_socket(host: str, port: int, interface: int = 0) -> socket.socket:
    """`interface`: its index, without which a link-local IPv6 address is none."""
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((host, port, 0, interface if host.startswith("fe80:") else 0))
        else:
            opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


def _send(opened: socket.socket, datagram: bytes, peer: Address) -> None:
    with contextlib.suppress(OSError):  # as good as lost: the timers know what to do
        opened.sendto(datagram, peer)


def _local(ancillary: list[tuple[int, int, bytes]]) -> tuple[str, int]:
    """Which of our addresses a request came to, so that the answer comes from there, and for IPv6 over which interface.

    ("", 0) where the kernel did not say.
    """
    for level, kind, packed in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(packed) >= 12:
            # struct in_pktinfo: the interface, the local address, the address in the header (which may be broadcast).
            return socket.inet_ntop(socket.AF_INET, struct.unpack("=I4s4s", packed[:12])[1]), 0
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(packed) >= 20:
            # struct in6_pktinfo: the address, the interface, without which a link-local one is none.
            host, interface = struct.unpack("=16sI", packed[:20])
            return socket.inet_ntop(socket.AF_INET6, host), interface
    return "", 0
