"""The link's shell alone, over a transport that only writes down: timers, back-pressure, ends."""

import asyncio
from typing import cast

import pytest

from tunnel.codec import Decoder, encode
from tunnel.errors import Code, PeerError, StreamClosed
from tunnel.frames import ACK, Frame, FrameType, Limits, Side
from tunnel.messages import Call, DeviceEvent, Open, Opened, Result
from tunnel.mux import Mux
from tunnel.net.link import Link
from tunnel.net.pipe import HIGH, StreamPipe
from tunnel.outputs import LinkFailed, PeerLeaving


class Written:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closing = False

    def write(self, data: bytes) -> None:
        self.data += data

    def frames(self) -> list[Frame]:
        data, self.data = bytes(self.data), bytearray()
        return list(Decoder().feed(data))

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert high > low

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


class Owner:
    """A LinkOwner that keeps how the link ended."""

    def __init__(self) -> None:
        self.ends: list[LinkFailed] = []

    def stream_offered(self, link: Link, pipe: StreamPipe, service: str) -> None:
        pipe.reset(Code.SERVICE_REFUSED)

    def event_arrived(self, link: Link, event: DeviceEvent) -> None: ...

    def event_acknowledged(self, link: Link, event_id: bytes) -> None: ...

    def call_arrived(self, link: Link, call: Call) -> None: ...

    def result_arrived(self, link: Link, result: Result) -> None: ...

    def peer_leaving(self, link: Link, leaving: PeerLeaving) -> None: ...

    def link_ended(self, link: Link, failure: LinkFailed) -> None:
        self.ends.append(failure)


def up(age: float = 0.0, limits: Limits | None = None) -> tuple[Link, Written, Owner]:
    """A running gateway link whose peer was last heard `age` seconds ago."""
    now = asyncio.get_running_loop().time()
    link, transport, owner = Link(lambda _frame: None, lambda _error: None), Written(), Owner()
    link.connection_made(cast(asyncio.Transport, transport))
    mux = Mux(side=Side.GATEWAY, limits=limits or Limits(), entropy=bytes, now=now - age)
    mux.outgoing(0)  # the first PING
    assert link.start(mux, owner)
    return link, transport, owner


async def turn() -> None:
    """Let everything that is due now happen: callbacks, then what they scheduled."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_deadline_that_is_now_may_be_armed_again_before_it_fires() -> None:
    link, transport, _ = up(age=30.0)
    link._arm()
    link.data_received(b"")
    await turn()
    link.connection_lost(None)
    assert [frame.type for frame in transport.frames()] in ([FrameType.PING], [])


async def test_silence_beyond_the_limit_ends_the_link() -> None:
    link, transport, owner = up(age=61.0)
    await turn()
    assert [end.text for end in owner.ends] == ["silence"]
    assert [frame.type for frame in transport.frames()] == [FrameType.ERROR]
    assert transport.closing
    link.connection_lost(None)
    assert len(owner.ends) == 1


async def test_small_writes_of_one_turn_leave_together() -> None:
    link, transport, _ = up()
    pipe = link.open("web")
    await pipe.write(b"a")
    await pipe.write(b"b")
    assert not transport.data
    await turn()
    assert [(frame.type, frame.payload) for frame in transport.frames()][1:] == [(FrameType.DATA, b"ab")]
    link.connection_lost(None)


async def test_nothing_is_written_while_the_transport_is_full_and_all_of_it_later() -> None:
    link, transport, _ = up()
    link.pause_writing()
    pipe = link.open("web")
    writing = asyncio.create_task(pipe.write(bytes(HIGH + 1)))
    await turn()
    assert not transport.data
    assert not writing.done()
    link.resume_writing()
    await turn()
    assert writing.done()
    assert sum(len(frame.payload) for frame in transport.frames() if frame.type is FrameType.DATA) == 65_536
    link.connection_lost(None)
    with pytest.raises(StreamClosed):
        await pipe.write(b"late")


async def test_a_peer_that_takes_nothing_for_the_write_deadline_is_dropped() -> None:
    link, transport, owner = up()
    link.pause_writing()
    link._paused_at = asyncio.get_running_loop().time() - 31.0
    link._arm()
    await turn()
    assert [end.text for end in owner.ends] == ["the peer does not read"]
    assert transport.closing
    link.connection_lost(None)


async def test_received_bytes_after_a_reset_wait_for_nobody() -> None:
    link, transport, _ = up()
    pipe = link.open("web")
    await turn()
    transport.frames()
    link.data_received(encode(FrameType.OPENED, 1, Opened("h").pack()) + encode(FrameType.DATA, 1, b"x"))
    assert await pipe.opened() == "h"
    pipe.reset()
    with pytest.raises(StreamClosed):
        await pipe.read()
    link.data_received(encode(FrameType.DATA, 1, b"late"))
    await turn()
    assert [frame.type for frame in transport.frames()] == [FrameType.RST]
    assert link.open_streams == 0
    link.connection_lost(None)


async def test_before_the_handshake_ends_a_fault_is_told_to_the_one_who_waits() -> None:
    lost: list[PeerError | None] = []
    link, transport = Link(lambda _frame: None, lost.append), Written()
    link.connection_made(cast(asyncio.Transport, transport))
    link.data_received(b"\xff" * 12)
    assert [error.code for error in lost if error] == [Code.PROTOCOL]
    assert [frame.type for frame in transport.frames()] == [FrameType.ERROR]
    mux = Mux(side=Side.GATEWAY, limits=Limits(), entropy=bytes, now=0.0)
    assert not link.start(mux, Owner()), "too late: it has ended"
    link.connection_lost(None)


async def test_frames_that_come_with_the_last_of_the_handshake_are_the_muxs() -> None:
    now = asyncio.get_running_loop().time()
    seen: list[FrameType] = []
    owner, transport = Owner(), Written()

    def on_frame(frame: Frame) -> None:
        seen.append(frame.type)
        assert link.start(Mux(side=Side.AGENT, limits=Limits(), entropy=bytes, now=now), owner)

    link = Link(on_frame, lambda _error: None)
    link.connection_made(cast(asyncio.Transport, transport))
    rest = encode(FrameType.PING, 0, b"question") + encode(FrameType.OPEN, 1, Open("web").pack())
    link.data_received(encode(FrameType.WELCOME, 0, b"\x80") + rest[:-3])
    link.data_received(rest[-3:])
    await turn()
    assert seen == [FrameType.WELCOME]
    answers = [(frame.type, frame.flags) for frame in transport.frames()]
    assert answers == [(FrameType.PING, 0), (FrameType.PING, ACK), (FrameType.RST, 0)]
    link.connection_lost(None)


@pytest.mark.parametrize("broken", [encode(FrameType.PING, 0, bytes(8), ACK), b"\xff" * 12])
async def test_a_fault_right_behind_the_handshake_ends_the_link(broken: bytes) -> None:
    now = asyncio.get_running_loop().time()
    owner, transport = Owner(), Written()

    def on_frame(_frame: Frame) -> None:
        link.start(Mux(side=Side.AGENT, limits=Limits(), entropy=bytes, now=now), owner)

    link = Link(on_frame, lambda _error: None)
    link.connection_made(cast(asyncio.Transport, transport))
    link.data_received(encode(FrameType.WELCOME, 0, b"\x80") + broken)
    await turn()
    assert [end.code for end in owner.ends] == [Code.PROTOCOL]
    assert transport.frames()[-1].type is FrameType.ERROR
    link.connection_lost(None)
