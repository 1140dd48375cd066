"""Streams: connections that carry SIP messages, each one flow (RFC 3261 18, RFC 5626), and the table of those that are open.

A connection is made by whoever accepts it (the node's acceptor), is never opened by us to a device (devices are behind NAT),
and ends when the peer leaves, breaks the framing, is silent for too long, or does not take what is sent to it.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from sip.errors import MalformedMessage
from sip.events import Refused
from sip.flow import Flow
from sip.framing import StreamFramer

BURST = 64
"""Messages of one connection in one turn of the loop, so that a peer that pipelines leaves others theirs."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Octets and seconds."""

    message_octets: int = 65536
    queued_octets: int = 65536
    """Waiting to be sent to one peer; past it the connection is aborted. TLS holds as much again below."""
    first_message_seconds: float = 30.0
    message_seconds: float = 30.0
    """From the first octet of a message to its last."""
    stranger_idle_seconds: float = 30.0
    """Silence allowed to a peer that has proven no account's password yet."""
    idle_seconds: float = 660.0
    """Silence allowed to others. Longer than two registrations: not every device pings on a stream."""
    ping_seconds: float = 30.0
    """Silence after which a browser is pinged, as it cannot ping by itself. Less than the minute that proxies before us allow."""


class Seat(Protocol):
    """The place that a stranger holds at the node's acceptor."""

    def release(self) -> None:
        """The peer is known, or gone. Further calls do nothing."""
        ...


class Framing(Protocol):
    """Cuts what arrives into messages and wraps what leaves."""

    fault: MalformedMessage | None
    """What broke the stream: it has no known place to go on."""
    pings: bool
    """A silent peer is pinged by us; else pinging is the peer's part (RFC 5626 4.4)."""

    @property
    def ended(self) -> bool:
        """The peer, or the framing itself, wants the connection closed once `replies` are written."""
        ...

    @property
    def pending(self) -> int:
        """Octets that wait for the rest of their message."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now. Does not raise: see `fault`."""
        ...

    def replies(self) -> bytes:
        """What the framing itself has to say now (a handshake's answer, a pong)."""
        ...

    def wrap(self, data: bytes) -> bytes:
        """A message as it is written."""
        ...

    def ping(self) -> bytes:
        """What makes a silent peer answer; asked for where `pings`."""
        ...

    def farewell(self) -> bytes:
        """What is said before we close."""
        ...


class PlainFraming:
    """SIP's own framing, for TCP and TLS."""

    ended = False
    pings = False

    def __init__(self, message_octets: int) -> None:
        self._framer = StreamFramer(message_octets)
        self.fault: MalformedMessage | None = None

    @property
    def pending(self) -> int:
        """Octets that wait for the rest of their message."""
        return self._framer.pending

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        try:
            pieces = self._framer.feed(data)
        except MalformedMessage:
            pieces = []
        self.fault = self._framer.fault
        return pieces

    def replies(self) -> bytes:
        """Pings are the core's to answer."""
        return b""

    def wrap(self, data: bytes) -> bytes:
        """A message says itself how long it is."""
        return data

    def ping(self) -> bytes:
        """Never asked for."""
        return b""

    def farewell(self) -> bytes:
        """SIP has none."""
        return b""


class StreamOwner(Protocol):
    """What connections tell: the SIP service."""

    def received(self, data: bytes, flow: Flow) -> None:
        """A message arrived."""
        ...

    def unframed(self, error: MalformedMessage, flow: Flow) -> None:
        """What arrived cannot be cut any further."""
        ...

    def drained(self) -> None:
        """That was all for this turn of the loop."""
        ...

    def closed(self, flow: Flow) -> None:
        """The connection is gone."""
        ...

    def noted(self, refused: Refused) -> None:
        """A connection was ended for a reason of ours."""
        ...


class Streams:
    """The open connections by the name of their flow. A name is never used twice, restarts included."""

    def __init__(
        self, owner: StreamOwner, *, clock: Callable[[], float], entropy: Callable[[int], bytes], limits: StreamLimits
    ) -> None:
        self.owner = owner
        self.clock = clock
        self.limits = limits
        self._boot = entropy(6).hex()
        self._serial = 0
        self._open: dict[str, Connection] = {}
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def find(self, flow: Flow) -> "Connection | None":
        """The connection that is this flow."""
        return self._open.get(flow.name)

    async def close_all(self, seconds: float = 1.0) -> None:
        """Close every connection, once what is queued is written. Who takes longer than this is cut off."""
        for one in list(self._open.values()):
            one.close()
        await self._empty(seconds)
        for one in list(self._open.values()):
            one.abort("shutdown")
        await self._empty(seconds)

    async def _empty(self, seconds: float) -> None:
        """Wait until no connection is open, so long at most."""
        self._emptied.clear()
        if self._open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._emptied.wait()

    def add(self, connection: "Connection", transport: str, host: str, port: int) -> Flow:
        """Name a connection that has come up."""
        self._serial += 1
        flow = Flow(transport, f"{self._boot}-{self._serial:x}", host, port)
        self._open[flow.name] = connection
        return flow

    def remove(self, flow: Flow) -> None:
        """A connection is gone."""
        del self._open[flow.name]
        self.owner.closed(flow)
        if not self._open:
            self._emptied.set()


class Connection(asyncio.Protocol):
    """One connection: `transport_name` is "tcp", "tls", "ws" or "wss"."""

    __slots__ = (
        "_framing",
        "_heard",
        "_inbox",
        "_known",
        "_limits",
        "_message_since",
        "_opened",
        "_pinged",
        "_seat",
        "_spoke",
        "_streams",
        "_timer",
        "_transport",
        "_transport_name",
        "_working",
        "flow",
    )

    def __init__(self, streams: Streams, transport_name: str, framing: Framing, seat: Seat) -> None:
        self.flow: Flow | None = None
        self._streams = streams
        self._limits = streams.limits
        self._transport_name = transport_name
        self._framing = framing
        self._seat = seat
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: deque[bytes] = deque()
        self._opened = self._heard = self._pinged = 0.0
        self._message_since: float | None = None
        self._spoke = False
        self._known = False
        self._working = False

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if not peer:  # it has left already
            self._seat.release()
            stream.abort()
            return
        self._transport = stream
        stream.set_write_buffer_limits(high=self._limits.queued_octets)
        self._opened = self._heard = self._streams.clock()
        self.flow = self._streams.add(self, self._transport_name, str(peer[0]).partition("%")[0], int(peer[1]))
        self._arm()

    def data_received(self, data: bytes) -> None:
        self._heard = self._streams.clock()
        pieces = self._framing.feed(data)
        self._inbox.extend(pieces)
        self._spoke = self._spoke or any(len(piece) > 4 for piece in pieces)  # a ping is no message
        if not self._framing.pending:
            self._message_since = None
        elif pieces or self._message_since is None:
            self._message_since = self._heard
            self._arm()
        if replies := self._framing.replies():
            self._write(replies)
        if not self._working:
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._seat.release()
        self._inbox.clear()
        self._transport = None
        if self.flow is not None:
            self._streams.remove(self.flow)

    # What the service does

    def send(self, data: bytes) -> bool:
        """Write a message; False: the connection is closing, or was aborted because its peer does not read."""
        return self._write(self._framing.wrap(data))

    def known(self) -> None:
        """The peer has proven an account's password."""
        if not self._known:
            self._known = True
            self._seat.release()

    def close(self) -> None:
        """Say farewell, and close once what is queued is written."""
        self._write(self._framing.farewell())
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """End it now, for this reason."""
        if self._transport is not None and self.flow is not None:
            self._streams.owner.noted(Refused(why, 0, self.flow))
            self._transport.abort()

    def _write(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        if transport.get_write_buffer_size() > self._limits.queued_octets:
            self.abort("slow peer")
            return False
        return True

    def _work(self) -> None:
        """Pass on what has arrived, a bounded part of it in one turn of the loop; meanwhile nothing more is read."""
        transport, flow, owner = self._transport, self.flow, self._streams.owner
        if transport is None or flow is None:
            return
        for _ in range(min(BURST, len(self._inbox))):
            owner.received(self._inbox.popleft(), flow)
        more = bool(self._inbox)
        if not more and self._framing.fault is not None:
            owner.unframed(self._framing.fault, flow)
        owner.drained()
        if transport.is_closing():
            self._inbox.clear()
        elif more:
            if not self._working:
                self._working = True
                transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._work)
        elif self._framing.fault is not None or self._framing.ended:
            transport.close()
        elif self._working:
            self._working = False
            transport.resume_reading()

    # Deadlines

    def _deadline(self) -> tuple[float, str]:
        """When this connection is to end if nothing happens, and why."""
        limits = self._limits
        deadlines = [(self._heard + (limits.idle_seconds if self._known else limits.stranger_idle_seconds), "idle")]
        if not self._spoke:
            deadlines.append((self._opened + limits.first_message_seconds, "no first message"))
        if self._message_since is not None:
            deadlines.append((self._message_since + limits.message_seconds, "unfinished message"))
        return min(deadlines)

    def _ping_at(self) -> float:
        """When a silent peer is pinged. Strangers are not: their silence ends the connection."""
        if not self._known or not self._framing.pings:
            return math.inf
        return max(self._heard, self._pinged) + self._limits.ping_seconds

    def _arm(self) -> None:
        """One timer. It is not moved when the peer is heard, it looks again when it fires."""
        delay = max(0.0, min(self._deadline()[0], self._ping_at()) - self._streams.clock())
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._transport is None:
            return
        deadline, why = self._deadline()
        now = self._streams.clock()
        if deadline <= now:
            self.abort(why)
            return
        if self._ping_at() <= now:
            self._pinged = now
            self._write(self._framing.ping())
        self._arm()
