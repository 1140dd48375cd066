"""Every rule of docs/tunnel-protocol.md that a peer can break on a running link: its code, and that nothing is left of it.

The rows are bytes, as a peer sends them. `test_codec.py` has the rules of headers one by one, `test_handshake.py` those before
WELCOME, `test_stream.py` the whole table of states.
"""

import struct

import pytest

from tunnel.codec import Decoder, encode, pack_map, pack_u32, unpack_error
from tunnel.errors import Code
from tunnel.frames import ACK, FIN, FrameType, Limits, Side
from tunnel.messages import Call, DeviceEvent, Open, Opened, Result, pack_id
from tunnel.mux import Mux
from tunnel.outputs import LinkFailed, StreamEnded

ID = b"0123456789abcdef"
WEB, OPENED = Open("web").pack(), Opened().pack()
DATA, WINDOW, PING = FrameType.DATA, FrameType.WINDOW, FrameType.PING


def header(kind: int, flags: int = 0, reserved: int = 0, stream: int = 0, length: int = 0) -> bytes:
    return struct.pack("!BBHII", kind, flags, reserved, stream, length)


# At the gateway: stream 1 is open, 3 is opening, 5 is over (we reset it); the device opened none.
AT_THE_GATEWAY = {
    "unknown type": (header(0x7F), Code.PROTOCOL),
    "unknown flag": (header(PING, 0x80, length=8), Code.PROTOCOL),
    "reserved bits": (header(PING, reserved=1, length=8), Code.PROTOCOL),
    "a stream id where none belongs": (header(PING, stream=1, length=8), Code.PROTOCOL),
    "no stream id where one belongs": (header(DATA, length=1), Code.PROTOCOL),
    "a stream id above 2^31-1": (header(DATA, stream=2**31, length=1), Code.PROTOCOL),
    "DATA too long": (header(DATA, stream=1, length=65_537), Code.TOO_MUCH),
    "DATA of 4 GiB": (header(DATA, stream=1, length=2**32 - 1), Code.TOO_MUCH),
    "PING too short": (header(PING, length=7), Code.PROTOCOL),
    "EVENT too long": (header(FrameType.EVENT, length=16_385), Code.TOO_MUCH),
    "DATA without bytes or FIN": (header(DATA, stream=1), Code.PROTOCOL),
    "the handshake again": (encode(FrameType.HELLO, 0, pack_map({})), Code.PROTOCOL),
    "a WELCOME": (encode(FrameType.WELCOME, 0, pack_map({})), Code.PROTOCOL),
    "DATA for a stream never opened by us": (encode(DATA, 7, b"x"), Code.PROTOCOL),
    "DATA for a stream never opened by the device": (encode(DATA, 2, b"x"), Code.PROTOCOL),
    "WINDOW for a stream never opened": (encode(WINDOW, 7, pack_u32(1)), Code.PROTOCOL),
    "RST for a stream never opened": (encode(FrameType.RST, 7, pack_u32(0)), Code.PROTOCOL),
    "OPEN with our parity": (encode(FrameType.OPEN, 9, WEB), Code.PROTOCOL),
    "OPEN twice": (encode(FrameType.OPEN, 2, WEB) * 2, Code.PROTOCOL),
    "OPEN below the last id": (encode(FrameType.OPEN, 4, WEB) + encode(FrameType.OPEN, 2, WEB), Code.PROTOCOL),
    "OPEN of no service": (encode(FrameType.OPEN, 2, pack_map({})), Code.PROTOCOL),
    "OPEN of an address": (encode(FrameType.OPEN, 2, pack_map({"service": "10.0.0.1:22"})), Code.PROTOCOL),
    "OPENED twice": (encode(FrameType.OPENED, 1, OPENED), Code.PROTOCOL),
    "OPENED for what we never opened": (encode(FrameType.OPENED, 7, OPENED), Code.PROTOCOL),
    "DATA before OPENED": (encode(DATA, 3, b"x"), Code.PROTOCOL),
    "WINDOW before OPENED": (encode(WINDOW, 3, pack_u32(1)), Code.PROTOCOL),
    "DATA after FIN": (encode(DATA, 1, b"x", FIN) + encode(DATA, 1, b"x"), Code.PROTOCOL),
    "FIN twice": (encode(DATA, 1, b"", FIN) * 2, Code.PROTOCOL),
    "more DATA than credit": (encode(DATA, 1, bytes(65_536)) + encode(DATA, 1, b"x"), Code.FLOW_CONTROL),
    "a WINDOW of nothing": (encode(WINDOW, 1, pack_u32(0)), Code.FLOW_CONTROL),
    "a WINDOW beyond 2^31-1": (encode(WINDOW, 1, pack_u32(2**31 - 1)), Code.FLOW_CONTROL),
    "a PING answer nobody asked for": (encode(PING, 0, bytes(8), ACK), Code.PROTOCOL),
    "PINGs faster than it reads": (encode(PING, 0, bytes(8)) * 1_025, Code.TOO_MUCH),
    "an EVENT's acknowledgement from a device": (encode(FrameType.EVENT, 0, pack_id(ID), ACK), Code.PROTOCOL),
    "a CALL from a device": (encode(FrameType.CALL, 0, Call(ID, "x", {}, 1).pack()), Code.PROTOCOL),
    "17 EVENTs unacknowledged": (
        b"".join(encode(FrameType.EVENT, 0, DeviceEvent(bytes([n]) * 16, "x", {}).pack()) for n in range(17)),
        Code.TOO_MUCH,
    ),
    "a map that is none": (encode(FrameType.EVENT, 0, b"\x01"), Code.PROTOCOL),
    "a map cut short": (encode(FrameType.EVENT, 0, b"\xdf\xff\xff\xff\xff"), Code.PROTOCOL),
    "a map with a key twice": (encode(FrameType.EVENT, 0, b"\x82\xa1a\x01\xa1a\x02"), Code.PROTOCOL),
    "a map with something behind it": (encode(FrameType.RESULT, 0, pack_map({"ok": True}) + b"\x00"), Code.PROTOCOL),
    "a map nine deep": (encode(FrameType.EVENT, 0, b"\x81\xa1a" * 9 + b"\x01"), Code.PROTOCOL),
    "an extension type": (encode(FrameType.EVENT, 0, b"\x81\xa1a\xd4\x01\x00"), Code.PROTOCOL),
    "a known key of a wrong type": (encode(FrameType.RESULT, 0, pack_map({"id": ID, "ok": 1, "body": {}})), Code.PROTOCOL),
}
AT_THE_AGENT = {
    "an EVENT from the gateway": (encode(FrameType.EVENT, 0, DeviceEvent(ID, "x", {}).pack()), Code.PROTOCOL),
    "a RESULT from the gateway": (encode(FrameType.RESULT, 0, Result(ID, True, {}).pack()), Code.PROTOCOL),
    "17 CALLs unanswered": (
        b"".join(encode(FrameType.CALL, 0, Call(bytes([n]) * 16, "x", {}, 1).pack()) for n in range(17)),
        Code.TOO_MUCH,
    ),
    "OPEN with our parity": (encode(FrameType.OPEN, 2, WEB), Code.PROTOCOL),
}


def answered(mux: Mux) -> None:
    """Read what it said so far, and answer its PING."""
    for frame in Decoder().feed(b"".join(mux.outgoing(10**6))):
        if frame.type is PING:
            mux.feed(encode(PING, 0, frame.payload, ACK), 0.0)


def ended_by(mux: Mux, raw: bytes, cut: int) -> Code:
    """Feed it, cut in pieces; the code it ends with. Nothing must be left, and more of the same do nothing."""
    streams = mux.stream_count
    mux.take()
    for start in range(0, len(raw), cut):
        mux.feed(raw[start : start + cut], 0.0)
    outputs = mux.take()
    assert isinstance(outputs[-1], LinkFailed)
    assert [type(output) for output in outputs].count(LinkFailed) == 1
    assert [type(output) for output in outputs].count(StreamEnded) >= streams
    assert mux.stream_count == 0
    frames = list(Decoder().feed(b"".join(mux.outgoing(10**6))))
    assert [frame.type for frame in frames] == [FrameType.ERROR]
    mux.feed(raw, 1.0)
    mux.on_deadline(1e9)
    assert not mux.pending
    assert mux.take() == []
    return Code(unpack_error(frames[0].payload)[0])


@pytest.mark.parametrize("cut", [1, 7, 100_000])
@pytest.mark.parametrize("rule", AT_THE_GATEWAY)
def test_a_rule_broken_at_the_gateway(rule: str, cut: int) -> None:
    raw, code = AT_THE_GATEWAY[rule]
    if cut == 1 and len(raw) > 1_000:
        cut = 13
    mux = Mux(side=Side.GATEWAY, limits=Limits(), entropy=bytes, now=0.0)
    for stream in (mux.open("web", 0.0), mux.open("web", 0.0), mux.open("web", 0.0)):
        if stream == 1:
            mux.feed(encode(FrameType.OPENED, stream, OPENED), 0.0)
        elif stream == 5:
            mux.reset(stream, Code.CANCELLED)
    answered(mux)
    assert ended_by(mux, raw, cut) is code


@pytest.mark.parametrize("rule", AT_THE_AGENT)
def test_a_rule_broken_at_the_agent(rule: str) -> None:
    raw, code = AT_THE_AGENT[rule]
    mux = Mux(side=Side.AGENT, limits=Limits(), entropy=bytes, now=0.0)
    mux.feed(encode(FrameType.OPEN, 1, WEB), 0.0)
    answered(mux)
    assert ended_by(mux, raw, 100_000) is code


@pytest.mark.parametrize("kind", ["DATA", "WINDOW", "RST", "OPENED", "FIN"])
def test_frames_that_crossed_our_reset_are_dropped_and_counted(kind: str) -> None:
    late = {
        "DATA": encode(DATA, 1, bytes(60_000)),
        "WINDOW": encode(WINDOW, 1, pack_u32(0)),
        "RST": encode(FrameType.RST, 1, pack_u32(9)),
        "OPENED": encode(FrameType.OPENED, 1, OPENED),
        "FIN": encode(DATA, 1, b"", FIN),
    }[kind]
    mux = Mux(side=Side.GATEWAY, limits=Limits(), entropy=bytes, now=0.0)
    mux.reset(mux.open("web", 0.0), Code.CANCELLED)
    answered(mux)
    mux.take()
    for _ in range(5):
        mux.feed(late, 0.0)
    assert (mux.failed, mux.late_frames, mux.take(), mux.pending, mux.stream_count) == (None, 5, [], False, 0)
