"""`StreamPipe`: one stream as a task sees it: read, write, finish, reset, with back-pressure both ways."""

import asyncio
from collections import deque
from typing import Protocol

from tunnel.errors import Code, StreamClosed
from tunnel.mux import Mux

HIGH = 65_536
"""Bytes of one stream that may wait for credit before `write` waits."""
LOW = 16_384


class PipeLink(Protocol):
    """What a pipe needs of its link. Who counts microseconds asks the mux itself, and `flush_soon` unless it is `flushing`."""

    flushing: bool

    def flush_soon(self) -> None: ...

    def write_stream(self, stream: int, data: bytes) -> int:
        """Queue bytes; returns how many wait now."""
        ...

    def finish_stream(self, stream: int) -> None: ...

    def reset_stream(self, stream: int, code: Code) -> None: ...

    def consumed(self, stream: int, size: int) -> None: ...

    def accept_stream(self, stream: int, authority: str, spki: bytes) -> None: ...

    def wait_writable(self, end: "StreamEnd") -> None:
        """Call `end.now_writable()` once at most LOW bytes of its stream wait."""
        ...

    def hand_over(self, end: "StreamEnd") -> None:
        """Tell this one from now on what happens to its stream."""
        ...


class StreamEnd(Protocol):
    """Who is told what happens to a stream."""

    @property
    def stream(self) -> int: ...

    def now_opened(self, authority: str, spki: bytes) -> None: ...

    def now_received(self, data: bytes) -> None:
        """Bytes arrived: `consumed` must follow once they are taken."""
        ...

    def now_finished(self) -> None: ...

    def now_ended(self, code: int, clean: bool) -> None: ...

    def now_writable(self) -> None: ...


class StreamPipe:
    """One end of a stream. One task may read while another writes; not two of a kind. `device`: the MAC that the opener named, ""
    for none."""

    __slots__ = (
        "_chunks",
        "_finished",
        "_opened",
        "_reading",
        "_writing",
        "authority",
        "device",
        "ended",
        "link",
        "mux",
        "spki",
        "stream",
    )

    def __init__(self, link: PipeLink, mux: Mux, stream: int, device: str = "") -> None:
        self.link = link
        self.mux = mux
        self.device = device
        self.stream = stream
        self.authority = ""
        self.spki = b""
        """After `opened`: SHA-256 of the public key in the certificate that the service showed, empty without TLS."""
        self.ended: StreamClosed | None = None
        self._chunks: deque[bytes] = deque()
        self._finished = False
        self._opened = False
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    # ---- for the task ---------------------------------------------------------------------------------------

    async def opened(self) -> str:
        """Wait until the other end has connected the service; returns the authority it named, or empty.

        Raises StreamClosed with its reason if it does not. The protocol's OPEN deadline bounds the wait.
        """
        while not self._opened:
            if self.ended:
                raise self.ended
            await self._wait_reading()
        return self.authority

    async def read(self) -> bytes:
        """The next bytes, or b"" once the other end has finished. Raises StreamClosed if the stream was reset."""
        while not self._chunks:
            if self._finished:
                return b""
            if self.ended:
                raise self.ended
            await self._wait_reading()
        data = self._chunks.popleft()
        self.link.consumed(self.stream, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Queue bytes; waits while too many wait for the other end. Raises StreamClosed."""
        for start in range(0, len(data), HIGH):
            if self.ended:
                raise self.ended
            part = data[start : start + HIGH] if len(data) > HIGH else data
            if self.link.write_stream(self.stream, part) > HIGH:
                await self._wait_writing()
        if self.ended:
            raise self.ended

    def finish(self) -> None:
        """No more bytes from here; reading goes on. May be called again."""
        if not self.ended:
            self.link.finish_stream(self.stream)

    def reset(self, code: Code = Code.CANCELLED) -> None:
        """End both directions now. Nothing happens on a stream that is over."""
        if not self.ended:
            self.link.reset_stream(self.stream, code)
            self.now_ended(code, False)

    def accept(self, authority: str = "", spki: bytes = b"") -> None:
        """Answer an offered stream: the service is connected."""
        if not self.ended:
            self.link.accept_stream(self.stream, authority, spki)

    def hand_over(self, end: StreamEnd) -> None:
        """Let another one have the stream, from the first byte that was not read. What happened already it is told at once."""
        ended = self.ended
        if ended is None:
            self.link.hand_over(end)
        while self._chunks:
            end.now_received(self._chunks.popleft())
        if self._finished:
            end.now_finished()
        if ended is not None:
            end.now_ended(ended.code, ended.code == Code.NO_ERROR)

    # ---- for the link ---------------------------------------------------------------------------------------

    def now_opened(self, authority: str, spki: bytes = b"") -> None:
        self._opened, self.authority, self.spki = True, authority, spki
        self._wake_reader()

    def now_received(self, data: bytes) -> None:
        if self.ended is None:
            self._chunks.append(data)
            self._wake_reader()

    def now_finished(self) -> None:
        self._finished = True
        self._wake_reader()

    def now_ended(self, code: int, clean: bool) -> None:
        """The stream is over. After a clean end what was received can still be read; after a reset it is dropped."""
        if self.ended is not None:
            return  # our own reset was first
        self.ended = StreamClosed(code)
        if not clean:
            self._finished = False
            self._chunks.clear()
        self._wake_reader()
        self.now_writable()

    def now_writable(self) -> None:
        if self._writing is not None and not self._writing.done():
            self._writing.set_result(None)

    def _wake_reader(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    async def _wait_reading(self) -> None:
        self._reading = asyncio.get_running_loop().create_future()
        try:
            await self._reading
        finally:
            self._reading = None

    async def _wait_writing(self) -> None:
        self._writing = asyncio.get_running_loop().create_future()
        self.link.wait_writable(self)
        try:
            await self._writing
        finally:
            self._writing = None
