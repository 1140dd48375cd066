"""`Acceptor`: takes TCP connections and brings them through TLS without letting strangers tie the node up.

Counted are *strangers*: connections whose peer has proven nothing yet. Bounds: all of them, those of one address, TLS
handshakes at once (all, and of one address). A connection that says nothing waits in the kernel (TCP_DEFER_ACCEPT), and
where a bound is reached, accepting stops or the newcomer is closed and counted. Server objects of asyncio hide
all this, so the listening socket is ours.
"""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

TLS_DEADLINE = 10.0
BACKLOG = 1024
AT_A_TIME = 100
RETRY = 0.2
"""Seconds until accepting is tried again after the system had no descriptor left."""
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """Bounds on strangers and their handshakes."""

    strangers: int = 2_048
    strangers_per_address: int = 256
    handshakes: int = 50
    handshakes_per_address: int = 25
    tls_deadline: float = TLS_DEADLINE


class _Address:
    __slots__ = ("handshakes", "strangers")

    def __init__(self, handshakes: int) -> None:
        self.strangers = 0
        self.handshakes = asyncio.Semaphore(handshakes)


class Seat:
    """A stranger's place. `release` it as soon as the peer is known; the acceptor does so at the end in any case."""

    __slots__ = ("_give_back", "address")

    def __init__(self, address: str, give_back: Callable[[], None]) -> None:
        self.address = address
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class Acceptor:
    """One listening TCP socket. `serve(sock, seat)` runs as a task per connection and owns the socket from then on.

    `refused(reason)` counts: "strangers-per-address", "no-descriptor". An exception out of `serve` goes to the loop's
    exception handler, as it is a bug.
    """

    def __init__(
        self,
        *,
        serve: Callable[[socket.socket, Seat], Awaitable[None]],
        refused: Callable[[str], None],
        limits: AcceptLimits,
        tune: Callable[[socket.socket], None],
    ) -> None:
        self._serve = serve
        self._refused = refused
        self._limits = limits
        self._tune = tune
        self._handshakes = asyncio.Semaphore(limits.handshakes)
        self._addresses: dict[str, _Address] = {}
        self._strangers = 0
        self._listener: socket.socket | None = None
        self._listening = False
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def strangers(self) -> int:
        return self._strangers

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the bound address. `host` is an IP address. Raises OSError (port taken) and ValueError."""
        address = ipaddress.ip_address(host)
        sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(self._limits.tls_deadline) or 1)
            sock.setblocking(False)
            sock.bind((host, port))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        self._listener = sock
        self._listen()
        bound = sock.getsockname()
        return str(bound[0]), int(bound[1])

    def stop_accepting(self) -> None:
        """Close the listening socket. Connections live on."""
        self._pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def idle(self) -> None:
        """Wait until no task of `serve` runs."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def stop(self) -> None:
        """Close the listening socket and end every task of `serve`."""
        self.stop_accepting()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def handshake(
        self, sock: socket.socket, seat: Seat, factory: Callable[[], P], context: ssl.SSLContext
    ) -> tuple[asyncio.Transport, P]:
        """TLS on an accepted socket, when its turn comes. Raises OSError (ssl.SSLError included) and TimeoutError."""
        loop = asyncio.get_running_loop()
        address = self._addresses[seat.address]
        async with address.handshakes, self._handshakes:
            transport, protocol = await loop.connect_accepted_socket(
                factory,
                sock,
                ssl=context,
                ssl_handshake_timeout=self._limits.tls_deadline,
                ssl_shutdown_timeout=self._limits.tls_deadline,
            )
        return transport, protocol

    def _listen(self) -> None:
        """Accept (again), unless a bound or a lack of descriptors stands against it."""
        self._retry = None
        if self._listener is not None and not self._listening and self._strangers < self._limits.strangers:
            self._listening = True
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listening and self._listener is not None:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """The listening socket is readable. A bounded number at a time, so that a flood leaves others their turn."""
        for _ in range(AT_A_TIME):
            if not self._listening:
                return
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR:
                    self._refused("no-descriptor")
                    self._pause()
                    self._retry = asyncio.get_running_loop().call_later(RETRY, self._listen)
                    return
                continue  # the peer gave up before we came to it
            self._take(sock, str(peer[0]))

    def _take(self, sock: socket.socket, peer: str) -> None:
        seat = self._seat(peer)
        if seat is None:
            self._refused("strangers-per-address")
            sock.close()
            return

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            seat.release()
            sock.close()  # where a transport holds it, it stays open until the transport closes

        task = asyncio.get_running_loop().create_task(self._run(sock, seat))
        self._tasks.add(task)
        task.add_done_callback(done)

    async def _run(self, sock: socket.socket, seat: Seat) -> None:
        try:
            sock.setblocking(False)
            self._tune(sock)
        except OSError:
            return  # gone already
        await self._serve(sock, seat)

    def _seat(self, peer: str) -> Seat | None:
        address = self._addresses.setdefault(peer, _Address(self._limits.handshakes_per_address))
        if address.strangers >= self._limits.strangers_per_address:
            return None
        address.strangers += 1
        self._strangers += 1
        if self._strangers >= self._limits.strangers:
            self._pause()
        return Seat(peer, lambda: self._leave(peer))

    def _leave(self, peer: str) -> None:
        self._strangers -= 1
        if self._retry is None:
            self._listen()
        address = self._addresses[peer]
        address.strangers -= 1
        if not address.strangers:
            del self._addresses[peer]
