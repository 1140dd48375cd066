"""The accept loop: at most so many connections, at most 50 TLS handshakes at a time, and nobody can hold the places.

A server that lets the loop accept cannot bound handshakes, so this accepts by hand. A connection first waits, cheaply and
without a handshake place, until the client has said something; then it takes a place. When places run out, whoever has
held one longest beyond a short grace gives it up, so that silent or stalling clients delay an honest one by that grace at
most.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

from autop.net.limits import ListenerLimits
from autop.observer import Outcome, Reason

_BACKLOG = 1024
_AT_A_TIME = 100
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_EXHAUSTED_PAUSE = 0.2
"""Seconds without accepting after the system ran out of descriptors or memory; asyncio's own servers wait 1 s."""


class Arriving(asyncio.Protocol):
    """What the acceptor needs of a connection's protocol: whether it was connected, and so will be lost."""

    arrived: bool


class _Places:
    """So many places; a newcomer waits, and the oldest holder is put out once it has held one for `grace` seconds."""

    def __init__(self, places: int, grace: float, put_out: Callable[[], None]) -> None:
        self._free = asyncio.Semaphore(places)
        self._grace = grace
        self._put_out = put_out
        self._holders: dict[asyncio.Task[None], float] = {}
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Wait for a place for the current task."""
        self._waiting += 1
        try:
            if self._free.locked():
                self._press()
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self._holders[_this_task()] = asyncio.get_running_loop().time()
        if self._waiting:
            self._press()  # so that this one's time is watched too

    def leave(self) -> None:
        """Give the current task's place back."""
        if self._holders.pop(_this_task(), None) is not None:
            self._free.release()

    def _press(self) -> None:
        """Put out who overstayed, as many as wait; look again when the next one will have."""
        now = asyncio.get_running_loop().time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wanted = self._waiting
        for task, since in self._holders.items():  # in order of arrival
            if since + self._grace > now:
                self._timer = asyncio.get_running_loop().call_at(since + self._grace, self._press_again)
                return
            if wanted == 0:
                return
            if not task.cancelling():
                task.cancel()
                self._put_out()
            wanted -= 1

    def _press_again(self) -> None:
        self._timer = None
        if self._waiting:
            self._press()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Acceptor:
    """Owns the listening socket and every connection until its protocol has it."""

    def __init__(
        self,
        *,
        protocol_factory: Callable[[], Arriving],
        ssl_context: ssl.SSLContext | None,
        limits: ListenerLimits,
        dropped: Callable[[Outcome, Reason], None],
    ) -> None:
        """`protocol_factory()` makes the protocol of one connection, which must call `left` once when it is lost."""
        self._factory = protocol_factory
        self._ssl = ssl_context
        self._limits = limits
        self._dropped = dropped
        self._socket: socket.socket | None = None
        self._accepting = False
        self._retry: asyncio.TimerHandle | None = None
        self._arrivals: set[asyncio.Task[None]] = set()
        self._open = 0
        self._unheard = _Places(limits.unheard, limits.pressed_silence_seconds, self._pressed_out)
        self._handshakes = _Places(limits.handshakes, limits.pressed_handshake_seconds, self._pressed_out)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on an address literal; port 0 picks a free one. Returns what was bound. Raises OSError if it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        self._socket = listening
        self._resume()
        name = listening.getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Stop listening and drop what has not reached its protocol. Connections that have are their owner's."""
        self._pause()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        tasks = tuple(self._arrivals)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._unheard.close()
        self._handshakes.close()

    def left(self) -> None:
        """A connection that had reached its protocol is gone: there is room for another."""
        self._open -= 1
        self._resume()

    def _resume(self) -> None:
        """Accept (again), unless there is no room or we stopped."""
        self._retry = None
        if self._socket is not None and not self._accepting and self._open < self._limits.connections:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._accepting and self._socket is not None:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._socket)

    def _accept(self, listening: socket.socket) -> None:
        """Take what waits; a bounded number in one turn of the loop. (`loop.sock_accept` would lose one when cancelled.)"""
        for _ in range(_AT_A_TIME):
            if not self._accepting or self._retry is not None:
                return
            try:
                connection, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as failed:
                if failed.errno in _EXHAUSTED:
                    self._dropped(Outcome.LIMITED, Reason.NO_DESCRIPTORS)
                    self._pause()
                    self._retry = asyncio.get_running_loop().call_later(_EXHAUSTED_PAUSE, self._resume)
                    return
                continue  # the client gave up before we came to it
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        self._open += 1
        if self._open >= self._limits.connections:
            self._pause()
        protocol = self._factory()
        task = asyncio.get_running_loop().create_task(self._arrive(connection, protocol))
        self._arrivals.add(task)

        def done(_: asyncio.Task[None]) -> None:
            # Here and not in the task: one that is cancelled before its first step runs none of its own lines.
            self._arrivals.discard(task)
            if not protocol.arrived:  # else `left` will be called, even if the connection is lost already
                connection.close()
                self.left()

        task.add_done_callback(done)

    async def _arrive(self, connection: socket.socket, protocol: Arriving) -> None:
        """Bring one connection to its protocol."""
        try:
            self._tune(connection)
            if self._ssl is None:
                await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
                return
            async with asyncio.timeout(self._limits.handshake_seconds):
                await self._hear(connection)
                await self._shake_hands(connection, protocol, self._ssl)
        except OSError:  # also ssl.SSLError and TimeoutError
            if not protocol.arrived:
                self._dropped(Outcome.REFUSED, Reason.HANDSHAKE)

    async def _hear(self, connection: socket.socket) -> None:
        """Wait until the client has said something, without reading it."""
        await self._unheard.take()
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[None] = loop.create_future()
        loop.add_reader(connection.fileno(), _settle, heard)
        try:
            await heard
        finally:
            loop.remove_reader(connection.fileno())
            self._unheard.leave()

    async def _shake_hands(self, connection: socket.socket, protocol: Arriving, context: ssl.SSLContext) -> None:
        await self._handshakes.take()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=self._limits.handshake_seconds,
                ssl_shutdown_timeout=self._limits.linger_seconds,
            )
        finally:
            self._handshakes.leave()

    def _tune(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # not on every kernel; the deadlines hold without it
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.user_timeout_seconds * 1000))

    def _pressed_out(self) -> None:
        self._dropped(Outcome.LIMITED, Reason.PRESSURE)


def _settle(heard: asyncio.Future[None]) -> None:
    if not heard.done():
        heard.set_result(None)


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
