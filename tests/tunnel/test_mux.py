"""The mux alone: what each frame does, whose fault what is, order and bounds of what goes out."""

import math

import pytest

from tunnel.codec import Decoder, encode, pack_error, pack_goaway, pack_u32, unpack_error, unpack_goaway, unpack_u32
from tunnel.errors import Code, LocalError
from tunnel.frames import ACK, FIN, HEADER_SIZE, Frame, FrameType, Limits, Side
from tunnel.messages import Call, DeviceEvent, Open, Opened, Result, pack_id, unpack_id
from tunnel.mux import Mux
from tunnel.outputs import (
    CallArrived,
    DataReceived,
    EventAcknowledged,
    EventArrived,
    LinkFailed,
    PeerLeaving,
    ResultArrived,
    StreamEnded,
    StreamFinished,
    StreamOffered,
    StreamOpened,
)

WEB = Open("web").pack()
EMPTY = Opened().pack()
ID = b"0123456789abcdef"


def made(side: Side = Side.GATEWAY, limits: Limits | None = None, peer_streams: int | None = None) -> Mux:
    """A mux whose first PING is answered already, after a tenth of a second."""
    mux = Mux(side=side, limits=limits or Limits(), entropy=lambda n: b"\x80" + bytes(n - 1), now=-0.1, peer_streams=peer_streams)
    (ping,) = sent(mux)
    give(mux, FrameType.PING, 0, ping.payload, ACK)
    mux.feed(b"", 0.0)
    return mux


def sent(mux: Mux, room: int = 10**9) -> list[Frame]:
    return list(Decoder().feed(b"".join(mux.outgoing(room))))


def give(mux: Mux, kind: FrameType, stream: int = 0, payload: bytes = b"", flags: int = 0, now: float = 0.0) -> None:
    mux.receive(Frame(kind, stream, payload, flags), now)


def fault(mux: Mux) -> Code:
    """The code with which the mux gave the link up, also told to the peer."""
    assert mux.failed is not None
    last = sent(mux)[-1]
    assert last.type is FrameType.ERROR
    assert unpack_error(last.payload)[0] == mux.failed.code
    return Code(mux.failed.code)


def opened() -> tuple[Mux, int]:
    """A gateway with one open stream, nothing left to say."""
    mux = made()
    stream = mux.open("web", 0.0)
    give(mux, FrameType.OPENED, stream, EMPTY)
    sent(mux)
    mux.take()
    return mux, stream


def offered() -> Mux:
    """An agent that was offered stream 1."""
    mux = made(Side.AGENT)
    give(mux, FrameType.OPEN, 1, WEB)
    assert mux.take() == [StreamOffered(1, "web")]
    return mux


# ---- a stream's life ------------------------------------------------------------------------------------------


def test_open_is_answered_data_flows_and_both_finish() -> None:
    gateway, agent = made(), made(Side.AGENT)
    stream = gateway.open("web", 0.0)
    gateway.write(stream, b"hello")
    gateway.finish(stream)
    for frame in sent(gateway):
        agent.receive(frame, 0.0)
    assert agent.take() == [StreamOffered(1, "web"), DataReceived(1, b"hello"), StreamFinished(1)]
    agent.accept(1, "192.168.1.20")
    agent.write(1, b"world")
    agent.finish(1)
    for frame in sent(agent):
        gateway.receive(frame, 0.0)
    assert gateway.take() == [
        StreamOpened(1, "192.168.1.20"),
        DataReceived(1, b"world"),
        StreamFinished(1),
        StreamEnded(1, 0, clean=True),
    ]
    assert agent.take() == [StreamEnded(1, 0, clean=True)]
    assert gateway.stream_count == agent.stream_count == 0


def test_ids_grow_by_two_from_each_sides_first() -> None:
    gateway, agent = made(), made(Side.AGENT)
    assert [gateway.open("web", 0.0) for _ in range(3)] == [1, 3, 5]
    assert [agent.open("web", 0.0) for _ in range(3)] == [2, 4, 6]


def test_an_open_nobody_answers_is_reset_at_its_deadline() -> None:
    mux = made()
    stream = mux.open("web", 5.0)
    sent(mux)
    assert mux.next_deadline() == 15.0
    mux.on_deadline(15.0)
    assert mux.take() == [StreamEnded(stream, Code.OPEN_TIMEOUT)]
    assert [(frame.type, unpack_u32(frame.payload)) for frame in sent(mux)] == [(FrameType.RST, Code.OPEN_TIMEOUT)]
    give(mux, FrameType.OPENED, stream, EMPTY)
    assert not mux.failed
    assert mux.late_frames == 1


def test_a_reset_drops_what_waits_and_is_not_answered() -> None:
    mux, stream = opened()
    mux.write(stream, bytes(1000))
    give(mux, FrameType.RST, stream, pack_u32(Code.CANCELLED))
    assert mux.take() == [StreamEnded(stream, Code.CANCELLED)]
    assert sent(mux) == []
    mux.write(stream, b"late")
    mux.finish(stream)
    mux.reset(stream, Code.CANCELLED)
    mux.consumed(stream, 1, 0.0)
    mux.accept(stream)
    assert sent(mux) == []


def test_frames_that_cross_our_reset_are_dropped() -> None:
    mux, stream = opened()
    mux.reset(stream, Code.CANCELLED)
    for kind, payload in [(FrameType.DATA, b"x"), (FrameType.WINDOW, pack_u32(1)), (FrameType.RST, pack_u32(0))]:
        give(mux, kind, stream, payload)
    assert not mux.failed
    assert mux.late_frames == 3


def test_writing_after_finish_or_before_accept_is_a_bug() -> None:
    mux, stream = opened()
    mux.finish(stream)
    with pytest.raises(LocalError):
        mux.write(stream, b"x")
    agent = offered()
    with pytest.raises(LocalError):
        agent.write(1, b"x")
    with pytest.raises(LocalError):
        agent.finish(1)


def test_finish_before_opened_is_allowed() -> None:
    mux = made()
    stream = mux.open("web", 0.0)
    mux.finish(stream)
    assert [(frame.type, frame.flags) for frame in sent(mux)] == [(FrameType.OPEN, 0), (FrameType.DATA, FIN)]
    give(mux, FrameType.OPENED, stream, EMPTY)
    give(mux, FrameType.DATA, stream, b"", FIN)
    assert mux.take()[-1] == StreamEnded(stream, 0, clean=True)


# ---- the peer's faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stream", "payload", "flags"),
    [
        (FrameType.OPEN, 3, WEB, 0),
        (FrameType.DATA, 3, b"x", 0),
        (FrameType.DATA, 2, b"x", 0),
        (FrameType.WINDOW, 3, pack_u32(1), 0),
        (FrameType.RST, 3, pack_u32(1), 0),
        (FrameType.OPENED, 1, EMPTY, 0),
        (FrameType.OPENED, 5, EMPTY, 0),
        (FrameType.OPEN, 2, b"\x80", 0),
        (FrameType.OPEN, 2, b"\x81\xa7service\xa3a b", 0),
        (FrameType.OPEN, 2, b"\x81\xa7service\x01", 0),
        (FrameType.PING, 0, bytes(8), ACK),
        (FrameType.HELLO, 0, b"\x80", 0),
        (FrameType.CHALLENGE, 0, b"\x80", 0),
        (FrameType.EVENT, 0, pack_id(ID), ACK),
        (FrameType.CALL, 0, Call(ID, "x", {}, 1).pack(), 0),
        (FrameType.EVENT, 0, b"\x80", 0),
        (FrameType.RESULT, 0, b"\x80", 0),
    ],
)
def test_a_frame_out_of_place_ends_the_link(kind: FrameType, stream: int, payload: bytes, flags: int) -> None:
    mux, open_stream = opened()
    give(mux, kind, stream, payload, flags)
    assert fault(mux) is Code.PROTOCOL
    outputs = mux.take()
    assert outputs[-1] == mux.failed
    assert StreamEnded(open_stream, Code.PROTOCOL) in outputs
    give(mux, FrameType.PING, 0, bytes(8))
    assert sent(mux) == [], "a failed link says nothing more"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (FrameType.EVENT, DeviceEvent(ID, "x", {}).pack()),
        (FrameType.RESULT, Result(ID, True, {}).pack()),
    ],
)
def test_what_only_the_agent_may_send(kind: FrameType, payload: bytes) -> None:
    mux = made(Side.AGENT)
    give(mux, kind, 0, payload)
    assert fault(mux) is Code.PROTOCOL


def test_an_id_is_never_used_again() -> None:
    agent = offered()
    agent.reset(1, Code.SERVICE_REFUSED)
    give(agent, FrameType.OPEN, 1, WEB)
    assert fault(agent) is Code.PROTOCOL


def test_window_frames_before_opened_are_against_the_table() -> None:
    mux = made()
    stream = mux.open("web", 0.0)
    give(mux, FrameType.WINDOW, stream, pack_u32(1))
    assert fault(mux) is Code.PROTOCOL


@pytest.mark.parametrize("grant", [0, 2**31 - 1, 2**32 - 1])
def test_a_grant_outside_the_bounds(grant: int) -> None:
    mux, stream = opened()
    give(mux, FrameType.WINDOW, stream, pack_u32(grant))
    assert fault(mux) is Code.FLOW_CONTROL


def test_more_data_than_credit() -> None:
    mux, stream = opened()
    give(mux, FrameType.DATA, stream, bytes(65_536))
    assert not mux.failed
    give(mux, FrameType.DATA, stream, b"x")
    assert fault(mux) is Code.FLOW_CONTROL


def test_data_after_fin() -> None:
    mux, stream = opened()
    give(mux, FrameType.DATA, stream, b"", FIN)
    give(mux, FrameType.DATA, stream, b"x")
    assert fault(mux) is Code.PROTOCOL


def test_a_peer_that_asks_and_does_not_read() -> None:
    mux = made(limits=Limits(max_control_frames=10))
    for _ in range(10):
        give(mux, FrameType.PING, 0, bytes(8))
    assert not mux.failed
    give(mux, FrameType.PING, 0, bytes(8))
    assert fault(mux) is Code.TOO_MUCH


def test_more_streams_than_allowed_are_refused_one_by_one() -> None:
    agent = made(Side.AGENT, Limits(max_streams=2))
    for stream in (1, 3, 5):
        give(agent, FrameType.OPEN, stream, WEB)
    assert agent.take() == [StreamOffered(1, "web"), StreamOffered(3, "web")]
    assert [(frame.type, frame.stream, unpack_u32(frame.payload)) for frame in sent(agent)] == [
        (FrameType.RST, 5, Code.TOO_MANY_STREAMS)
    ]
    agent.reset(1, Code.NO_ERROR)
    give(agent, FrameType.OPEN, 7, WEB)
    assert agent.take()[-1] == StreamOffered(7, "web")


def test_the_peers_own_word_on_streams_binds_us() -> None:
    mux = made(peer_streams=1)
    mux.open("web", 0.0)
    with pytest.raises(LocalError):
        mux.open("web", 0.0)


def test_the_peers_error_ends_the_link_without_an_answer() -> None:
    mux, stream = opened()
    give(mux, FrameType.ERROR, 0, pack_error(Code.REPLACED, "newer"))
    assert mux.take() == [StreamEnded(stream, Code.REPLACED), LinkFailed(Code.REPLACED, "newer", by_peer=True)]
    assert sent(mux) == []


def test_a_lost_transport_ends_every_stream_once() -> None:
    mux, stream = opened()
    mux.lost()
    mux.lost()
    assert mux.take() == [StreamEnded(stream, 0), LinkFailed(0, "connection lost", by_peer=True)]
    assert mux.next_deadline() == math.inf
    mux.on_deadline(100.0)
    assert mux.take() == []
    with pytest.raises(LocalError):
        mux.open("web", 0.0)


# ---- order and size of what goes out --------------------------------------------------------------------------


def test_control_goes_first_and_streams_take_turns() -> None:
    mux = made()
    first, second = mux.open("web", 0.0), mux.open("web", 0.0)
    sent(mux)
    mux.write(first, bytes(40_000))
    mux.write(second, bytes(40_000))
    give(mux, FrameType.PING, 0, b"question")
    frames = sent(mux)
    assert [(frame.type, frame.stream, len(frame.payload)) for frame in frames] == [
        (FrameType.PING, 0, 8),
        (FrameType.DATA, first, 16_384),
        (FrameType.DATA, second, 16_384),
        (FrameType.DATA, first, 16_384),
        (FrameType.DATA, second, 16_384),
        (FrameType.DATA, first, 7_232),
        (FrameType.DATA, second, 7_232),
    ]


def test_a_stream_alone_uses_large_frames_up_to_its_credit() -> None:
    mux, stream = opened()
    mux.write(stream, bytes(100_000))
    assert [len(frame.payload) for frame in sent(mux)] == [65_536]
    assert mux.queued(stream) == 34_464
    assert sent(mux) == [], "no credit left"
    give(mux, FrameType.WINDOW, stream, pack_u32(10))
    assert [len(frame.payload) for frame in sent(mux)] == [10]


@pytest.mark.parametrize("room", [1, 16_384, 20_000, 32_768, 65_536])
def test_what_is_taken_passes_the_room_by_one_small_frame_at_most(room: int) -> None:
    mux = made(limits=Limits(initial_window=10**6))
    stream = mux.open("web", 0.0)
    sent(mux)
    mux.write(stream, bytes(500_000))
    total = 0
    while pieces := mux.outgoing(room):
        size = sum(map(len, pieces))
        assert size <= room + 16_384 + HEADER_SIZE
        total += size
    assert mux.queued(stream) == 0
    assert total >= 500_000


def test_a_stream_without_credit_stops_only_itself() -> None:
    mux = made()
    stalled, lively = mux.open("web", 0.0), mux.open("web", 0.0)
    mux.write(stalled, bytes(200_000))
    sent(mux)
    mux.write(lively, b"hello")
    assert [(frame.stream, frame.payload) for frame in sent(mux)] == [(lively, b"hello")]


def test_fin_travels_on_the_last_data() -> None:
    mux, stream = opened()
    mux.write(stream, b"last")
    mux.finish(stream)
    mux.finish(stream)
    assert [(frame.payload, frame.flags) for frame in sent(mux)] == [(b"last", FIN)]


# ---- windows, time, goodbye ----------------------------------------------------------------------------------


def grants(mux: Mux) -> dict[int, int]:
    return {frame.stream: unpack_u32(frame.payload) for frame in sent(mux) if frame.type is FrameType.WINDOW}


def test_consumed_bytes_are_granted_again_at_a_quarter() -> None:
    mux, stream = opened()
    give(mux, FrameType.DATA, stream, bytes(40_000))
    assert not mux.consumed(stream, 16_000, 1.0)
    assert grants(mux) == {}
    assert mux.consumed(stream, 384, 1.0)
    assert grants(mux) == {stream: 16_384}


def test_a_peer_that_windows_hold_back_gets_larger_ones_and_a_path_that_queues_smaller_ones() -> None:
    mux, stream = opened()
    now, sizes = 0.0, []
    for trip in (0.1, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3):
        may_send = mux.credits(stream)[1]
        for start in range(0, may_send, 65_536):
            give(mux, FrameType.DATA, stream, bytes(min(65_536, may_send - start)))
        mux.consumed(stream, may_send, now)
        ping = next(frame for frame in sent(mux) if frame.type is FrameType.PING)
        now += trip
        give(mux, FrameType.PING, 0, ping.payload, ACK, now=now)
        sizes.append(mux.credits(stream)[1])
        now += 0.1
    assert sizes[0] == 65_536
    assert sizes[0] < sizes[2] < sizes[4] > sizes[8]
    assert not mux.failed


def test_windows_of_a_link_grow_together_only_so_far() -> None:
    mux = made(limits=Limits(initial_window=10_000, max_window=30_000, most_together=35_000))
    streams = [mux.open("web", 0.0) for _ in range(4)]
    for stream in streams:
        give(mux, FrameType.OPENED, stream, EMPTY)
    now = 0.0
    for stream in streams:  # one after the other, so that each has the link to itself
        for _ in range(12):
            may_send = mux.credits(stream)[1]
            give(mux, FrameType.DATA, stream, bytes(may_send))
            mux.consumed(stream, may_send, now)
            pings = [frame for frame in sent(mux) if frame.type is FrameType.PING]
            now += 0.1
            for ping in pings:
                give(mux, FrameType.PING, 0, ping.payload, ACK, now=now)
    sizes = [mux.credits(stream)[1] for stream in streams]
    assert sizes == [30_000, 25_000, 10_000, 10_000]
    mux.reset(streams[0], Code.NO_ERROR)
    give(mux, FrameType.DATA, streams[3], bytes(10_000))
    mux.consumed(streams[3], 10_000, now)
    assert mux.credits(streams[3])[1] == 30_000, "what an ended stream had grown is free again"


def test_silence_is_asked_then_ended() -> None:
    mux, stream = opened()
    assert mux.next_deadline() == pytest.approx(25.0, abs=0.1)
    mux.on_deadline(25.1)
    assert [frame.type for frame in sent(mux)] == [FrameType.PING]
    mux.feed(b"", 40.0)
    assert mux.next_deadline() == 100.0
    mux.on_deadline(100.0)
    assert fault(mux) is Code.TIMEOUT
    assert mux.take() == [StreamEnded(stream, Code.TIMEOUT), LinkFailed(Code.TIMEOUT, "silence")]


def test_a_ping_is_answered_with_its_own_bytes() -> None:
    mux = made()
    give(mux, FrameType.PING, 0, b"whatever")
    assert sent(mux) == [Frame(FrameType.PING, 0, b"whatever", ACK)]


def test_goaway_refuses_new_streams_lets_old_ones_run_and_ends() -> None:
    agent = offered()
    agent.go_away(Code.SHUTDOWN, 1.5, 30.0, 100.0)
    goaway = sent(agent)[0]
    assert unpack_goaway(goaway.payload) == (Code.SHUTDOWN, 1, 1500, 30_000)
    give(agent, FrameType.OPEN, 3, WEB)
    give(agent, FrameType.DATA, 3, b"early")
    assert agent.take() == []
    assert not agent.failed
    with pytest.raises(LocalError):
        agent.open("web", 0.0)
    agent.accept(1)
    assert [frame.type for frame in sent(agent)] == [FrameType.OPENED]
    agent.feed(b"", 120.0)
    assert agent.next_deadline() == 130.0
    agent.on_deadline(130.0)
    assert fault(agent) is Code.SHUTDOWN


def test_the_peers_goaway_ends_streams_it_never_saw() -> None:
    mux = made()
    seen, unseen = mux.open("web", 0.0), mux.open("web", 0.0)
    give(mux, FrameType.GOAWAY, 0, pack_goaway(Code.SHUTDOWN, seen, 2000, 500))
    assert mux.take() == [PeerLeaving(Code.SHUTDOWN, 2.0, 0.5), StreamEnded(unseen, Code.SHUTDOWN)]
    assert mux.leaving
    with pytest.raises(LocalError):
        mux.open("web", 0.0)


# ---- events and calls -----------------------------------------------------------------------------------------


def test_an_event_is_acknowledged_once_it_is_kept() -> None:
    gateway, agent = made(), made(Side.AGENT)
    event = DeviceEvent(ID, "relay.opened", {"relay": 1})
    agent.talk.send_event(event)
    for frame in sent(agent):
        gateway.receive(frame, 0.0)
        gateway.receive(frame, 0.0)
    assert gateway.take() == [EventArrived(event)], "a repeat of one that waits is no second event"
    gateway.talk.acknowledge(ID)
    gateway.talk.acknowledge(ID)
    acks = sent(gateway)
    assert [(frame.type, frame.flags, unpack_id(frame.payload)) for frame in acks] == [(FrameType.EVENT, ACK, ID)]
    agent.receive(acks[0], 0.0)
    assert agent.take() == [EventAcknowledged(ID)]


def test_an_event_that_was_not_kept_may_come_again() -> None:
    gateway = made()
    payload = DeviceEvent(ID, "x", {}).pack()
    give(gateway, FrameType.EVENT, 0, payload)
    gateway.talk.forget_event(ID)
    give(gateway, FrameType.EVENT, 0, payload)
    assert len(gateway.take()) == 2
    assert sent(gateway) == []


def test_too_many_events_unacknowledged() -> None:
    gateway = made()
    for number in range(17):
        give(gateway, FrameType.EVENT, 0, DeviceEvent(bytes([number]) * 16, "x", {}).pack())
    assert fault(gateway) is Code.TOO_MUCH


def test_a_call_and_its_result() -> None:
    gateway, agent = made(), made(Side.AGENT)
    call = Call(ID, "reboot", {"delay": 1}, 5000)
    gateway.talk.send_call(call)
    for frame in sent(gateway):
        agent.receive(frame, 0.0)
    assert agent.take() == [CallArrived(call)]
    result = Result(ID, False, {"error": "busy"})
    agent.talk.send_result(result)
    agent.talk.send_result(result)
    frames = sent(agent)
    assert len(frames) == 1
    gateway.receive(frames[0], 0.0)
    assert gateway.take() == [ResultArrived(result)]


def test_encode_and_mux_agree_on_the_header() -> None:
    mux, stream = opened()
    mux.write(stream, b"abc")
    assert b"".join(mux.outgoing(100)) == encode(FrameType.DATA, stream, b"abc")
