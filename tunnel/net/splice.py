"""`SocketSplice`: a stream of the channel joined to a TCP connection, both ways, until both are finished. No task and no wait in
between: bytes go on in the callback they come in.

Back-pressure: bytes that the connection does not take are not granted again, so the peer's credit runs out; a connection whose
bytes wait for credit is not read.
"""

import asyncio
import socket
from typing import cast

from tunnel.errors import Code, LocalError
from tunnel.net.pipe import HIGH, StreamPipe

CHUNK = 65_536
"""Bytes read from a connection at a time."""
SOCKET_BUFFER = 65_536
"""Bytes that may wait for a connection before its stream gets no more credit."""
_chunk = memoryview(bytearray(CHUNK))  # of all connections: what is read is passed on in the same callback


class SocketSplice(asyncio.BufferedProtocol):
    """The protocol of a TCP connection whose bytes are a stream's. Give it to `create_connection` or to an acceptor, or to a
    connection that exists by `take_over`. `pipe` is a stream nobody reads or writes from then on; resetting it ends both.

    `authority` not None: the stream was offered and is accepted, under this name, once the connection stands.
    """

    __slots__ = ("_authority", "_finished", "_full", "_held", "_link", "_mux", "_pipe", "_stream", "_time", "_transport", "lost")

    def __init__(self, pipe: StreamPipe, authority: str | None = None) -> None:
        self._pipe = pipe
        self._link = pipe.link
        self._mux = pipe.mux
        self._stream = pipe.stream
        self._time = asyncio.get_running_loop().time
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._full = False
        self._held = 0
        """Bytes the full connection has not taken."""
        self._finished = False
        """Whether the connection has sent its last byte."""
        self.lost: asyncio.Future[None] | None = None
        """Done once the connection is over, if somebody wants to know."""

    # ---- of the connection ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit asyncio's
        self._transport.set_write_buffer_limits(high=SOCKET_BUFFER)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._authority is not None:
            self._pipe.accept(self._authority)
        self._pipe.hand_over(self)

    def take_over(self, transport: asyncio.Transport, early: bytes = b"") -> None:
        """Become the protocol of a connection of which `early` was read and not used."""
        transport.set_protocol(self)
        self.connection_made(transport)
        if early:
            self._write(early)

    def get_buffer(self, _hint: int) -> memoryview:
        return _chunk

    def buffer_updated(self, size: int) -> None:
        self._write(bytes(_chunk[:size]))

    def _write(self, data: bytes) -> None:
        link = self._link
        if self._mux.write(self._stream, data) > HIGH and self._transport is not None:
            self._transport.pause_reading()
            link.wait_writable(self)
        if not link.flushing:
            link.flush_soon()

    def eof_received(self) -> bool:
        self._finished = True
        self._pipe.finish()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._consume_held()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.lost is not None and not self.lost.done():
            self.lost.set_result(None)
        if self._finished:
            # A server that answers early and hangs up (413): its answer still goes through, what comes for it is dropped.
            self._full = False
            self._consume_held()
        else:
            self._pipe.reset(Code.NO_ERROR if error is not None or self._pipe.ended else Code.CANCELLED)

    def _consume_held(self) -> None:
        held, self._held = self._held, 0
        if held:
            self._link.consumed(self._stream, held)

    # ---- of the stream --------------------------------------------------------------------------------------

    @property
    def stream(self) -> int:
        return self._stream

    def now_opened(self, _authority: str, _spki: bytes) -> None:
        """The other end has connected; bytes may have gone before."""

    def now_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            if self._full:
                self._held += len(data)
                return
        link = self._link
        if self._mux.consumed(self._stream, len(data), self._time()) and not link.flushing:
            link.flush_soon()

    def now_finished(self) -> None:
        if self._transport is not None and self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except (OSError, RuntimeError):  # it is closing already
                return

    def now_ended(self, code: int, clean: bool) -> None:
        self._pipe.now_ended(code, clean)
        transport = self._transport
        if transport is None:
            return
        if clean or code == Code.NO_ERROR:
            transport.close()
        else:
            transport.abort()  # a reset is passed on as a reset

    def now_writable(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


async def connect(pipe: StreamPipe, host: str, port: int, authority: str, deadline: float) -> None:
    """Join an offered stream to a TCP service, or reset it if the service does not take the connection in `deadline` seconds."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(deadline):
            await loop.create_connection(lambda: SocketSplice(pipe, authority), host, port)
    except (OSError, LocalError):  # TimeoutError is an OSError
        pipe.reset(Code.TARGET_UNREACHABLE)
    except asyncio.CancelledError:
        pipe.reset(Code.CANCELLED)
        raise
