"""A stream's shell alone, over a transport that only writes down and a clock that is set: deadlines, bounds, turns."""

import asyncio
from typing import Any

from sip.errors import MalformedMessage
from sip.events import Refused
from sip.flow import Flow
from sip.net.stream import BURST, Connection, PlainFraming, StreamLimits, Streams
from tests.sip.phones import entropy

LIMITS = StreamLimits(queued_octets=1000)
PING = b"OPTIONS sip:gw.test SIP/2.0\r\nContent-Length: 0\r\n\r\n"


class Transport:
    """Keeps what is written and how it was ended."""

    def __init__(self, peer: tuple[str, int] | None = ("192.0.2.7", 5555)) -> None:
        self.peer = peer
        self.written = b""
        self.ended = ""
        self.pauses = self.resumes = 0

    def get_extra_info(self, name: str) -> Any:
        return self.peer if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == LIMITS.queued_octets

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return bool(self.ended)

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.resumes += 1

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"


class PingingFraming(PlainFraming):
    """As a WebSocket's: we ping."""

    pings = True

    def ping(self) -> bytes:
        return b"?"

    def farewell(self) -> bytes:
        return b"!"


class Site:
    """Owner, seat and clock of one connection."""

    def __init__(self, peer: tuple[str, int] | None = ("192.0.2.7", 5555), framing: type[PlainFraming] = PlainFraming) -> None:
        self.now = 1000.0
        self.messages: list[bytes] = []
        self.faults: list[int] = []
        self.closed_flows: list[Flow] = []
        self.refusals: list[str] = []
        self.released = self.drains = 0
        self.streams = Streams(self, clock=lambda: self.now, entropy=entropy(), limits=LIMITS)
        self.transport = Transport(peer)
        self.connection = Connection(self.streams, "tcp", framing(LIMITS.message_octets), self)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def release(self) -> None:
        self.released += 1

    def received(self, data: bytes, flow: Flow) -> None:
        self.messages.append(data)

    def unframed(self, error: MalformedMessage, flow: Flow) -> None:
        self.faults.append(error.status)

    def drained(self) -> None:
        self.drains += 1

    def closed(self, flow: Flow) -> None:
        self.closed_flows.append(flow)

    def noted(self, refused: Refused) -> None:
        self.refusals.append(refused.reason)

    def says(self, data: bytes, after: float = 0.0) -> None:
        self.now += after
        self.connection.data_received(data)

    def waits(self, seconds: float) -> str:
        """How the connection was ended after this time of silence, "" if it was not."""
        self.now += seconds
        self.connection._due()
        return self.refusals[-1] if self.refusals else ""


async def test_silence_and_pings_are_no_first_message() -> None:
    site = Site()
    for _ in range(3):
        site.says(b"\r\n\r\n", after=9.9)
        assert site.waits(0) == ""
    assert site.waits(0.4) == "no first message"
    assert site.transport.ended == "aborted"


async def test_a_message_that_drips_is_unfinished() -> None:
    site = Site()
    site.says(PING)
    for at in range(29):
        site.says(PING[at : at + 1], after=1.0)
    assert site.waits(1.9) == ""
    assert site.waits(0.2) == "unfinished message"


async def test_a_message_after_another_has_time_of_its_own() -> None:
    site = Site()
    site.says(PING + PING[:5])
    for _ in range(10):
        site.says(PING[5:] + PING[:5], after=20.0)
    assert site.waits(29.9) == ""
    assert site.messages == [PING] * 11


async def test_a_stranger_may_be_silent_for_a_little_and_a_known_peer_for_long() -> None:
    site = Site()
    site.says(PING)
    assert site.waits(29.9) == ""
    site.connection.known()
    site.connection.known()
    assert site.released == 1
    assert site.waits(600.0) == ""
    assert site.waits(31.0) == "idle"
    stranger = Site()
    stranger.says(PING)
    assert stranger.waits(30.1) == "idle"


async def test_a_silent_peer_that_cannot_ping_is_pinged_and_lives_as_long_as_it_answers() -> None:
    site = Site(framing=PingingFraming)
    site.says(PING)
    site.connection.known()
    site.waits(29.9)
    assert site.transport.written == b""
    site.waits(0.2)
    site.waits(29.9)
    assert site.transport.written == b"?"
    for _ in range(30):
        site.says(b"\r\n", after=1.0)
        assert site.waits(30.1) == ""
    assert site.transport.written == b"?" * 31
    for _ in range(20):
        assert site.waits(30.0) == ""
    assert site.waits(30.0) == "idle"


async def test_a_stranger_and_a_peer_that_can_ping_are_not_pinged() -> None:
    stranger, device = Site(framing=PingingFraming), Site()
    device.connection.known()
    for site in (stranger, device):
        site.says(PING)
        site.waits(29.9)
        site.waits(0.2)
        assert site.transport.written == b""
    assert stranger.refusals == ["idle"]


async def test_before_we_close_the_peer_is_told() -> None:
    site = Site(framing=PingingFraming)
    site.connection.close()
    assert (site.transport.written, site.transport.ended) == (b"!", "closed")
    site.connection.close()
    assert site.transport.written == b"!"


async def test_the_timer_looks_again_by_itself() -> None:
    loop = asyncio.get_running_loop()
    limits = StreamLimits(first_message_seconds=0.02)
    site = Site()
    streams = Streams(site, clock=loop.time, entropy=entropy(), limits=limits)
    transport = Transport()
    transport.set_write_buffer_limits = lambda high: None  # type: ignore[method-assign]
    ended = asyncio.Event()
    transport.abort = ended.set  # type: ignore[method-assign]
    Connection(streams, "tcp", PlainFraming(100), site).connection_made(transport)  # type: ignore[arg-type]
    async with asyncio.timeout(2):
        await ended.wait()
    assert site.refusals == ["no first message"]


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    site = Site()
    assert site.connection.send(b"x" * 1000)
    assert not site.connection.send(b"x")
    assert (site.transport.ended, site.refusals) == ("aborted", ["slow peer"])
    assert not site.connection.send(b"x")
    site.says(PING)
    assert site.refusals == ["slow peer"]


async def test_a_peer_that_pipelines_gets_its_turn_only() -> None:
    site = Site()
    site.says(PING * (2 * BURST + 1))
    assert len(site.messages) == BURST
    assert (site.transport.pauses, site.transport.resumes) == (1, 0)
    site.says(PING)  # what the loop had already read
    assert len(site.messages) == BURST
    await asyncio.sleep(0)
    assert len(site.messages) == 2 * BURST
    await asyncio.sleep(0)
    assert len(site.messages) == 2 * BURST + 2
    assert (site.transport.pauses, site.transport.resumes) == (1, 1)
    assert site.drains == 3


async def test_what_came_before_a_fault_is_served_first() -> None:
    site = Site()
    site.says(PING + b"OPTIONS sip:gw.test SIP/2.0\r\n\r\n")
    assert (site.messages, site.faults, site.transport.ended) == ([PING], [0], "closed")


async def test_a_connection_that_is_lost_is_told_once_and_its_name_is_not_used_again() -> None:
    site = Site()
    flow = site.connection.flow
    assert flow is not None
    assert site.streams.find(flow) is site.connection
    site.says(PING * (BURST + 1))
    site.connection.connection_lost(None)
    assert (site.closed_flows, site.released, len(site.streams)) == ([flow], 1, 0)
    await asyncio.sleep(0)
    assert len(site.messages) == BURST  # the rest went with it
    assert site.streams.find(flow) is None
    again = Connection(site.streams, "tcp", PlainFraming(100), site)
    again.connection_made(Transport())  # type: ignore[arg-type]
    assert again.flow != flow
    again.connection_lost(None)


async def test_a_peer_that_left_before_it_was_here() -> None:
    gone = Site(peer=None)
    assert (gone.transport.ended, gone.released, len(gone.streams)) == ("aborted", 1, 0)
    gone.connection.connection_lost(None)
    assert gone.closed_flows == []
