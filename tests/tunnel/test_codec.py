"""Frames and control payloads: whole, byte by byte, truncated, hostile."""

import contextlib
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.codec import (
    Decoder,
    data_header,
    encode,
    pack_error,
    pack_goaway,
    pack_map,
    pack_u32,
    unpack_error,
    unpack_goaway,
    unpack_map,
    unpack_u32,
)
from tunnel.errors import Code, PeerError
from tunnel.frames import ACK, FIN, HEADER, MAX_DATA, RULES, Frame, FrameType

EXAMPLES = [
    (FrameType.CHALLENGE, 0, b"\x80", 0),
    (FrameType.HELLO, 0, b"\x80" * 1024, 0),
    (FrameType.WELCOME, 0, b"\x80", 0),
    (FrameType.ERROR, 0, b"\0\0\0\2text", 0),
    (FrameType.PING, 0, b"12345678", 0),
    (FrameType.PING, 0, b"12345678", ACK),
    (FrameType.GOAWAY, 0, bytes(16), 0),
    (FrameType.OPEN, 1, b"\x81", 0),
    (FrameType.OPENED, 2, b"\x80", 0),
    (FrameType.DATA, 3, b"x", 0),
    (FrameType.DATA, 3, b"", FIN),
    (FrameType.DATA, 2**31 - 1, bytes(MAX_DATA), FIN),
    (FrameType.WINDOW, 3, b"\0\0\0\1", 0),
    (FrameType.RST, 3, b"\0\0\0\1", 0),
    (FrameType.EVENT, 0, b"\x80", 0),
    (FrameType.EVENT, 0, b"\x80", ACK),
    (FrameType.CALL, 0, b"\x80", 0),
    (FrameType.RESULT, 0, b"\x80", 0),
]


def wire(kind: int, flags: int, reserved: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHII", kind, flags, reserved, stream, length) + payload


@pytest.mark.parametrize(("kind", "stream", "payload", "flags"), EXAMPLES)
def test_a_frame_survives_the_wire(kind: FrameType, stream: int, payload: bytes, flags: int) -> None:
    raw = encode(kind, stream, payload, flags)
    assert raw == wire(kind, flags, 0, stream, len(payload), payload)
    assert list(Decoder().feed(raw)) == [Frame(kind, stream, payload, flags)]


def test_every_frame_type_has_a_row_and_an_example() -> None:
    assert set(RULES) == set(FrameType) == {kind for kind, *_ in EXAMPLES}


def test_byte_by_byte_is_the_same_as_whole() -> None:
    small = [row for row in EXAMPLES if len(row[2]) < 100]
    raw = b"".join(encode(kind, stream, payload, flags) for kind, stream, payload, flags in small)
    decoder = Decoder()
    single = [frame for byte in raw for frame in decoder.feed(bytes([byte]))]
    assert single == list(Decoder().feed(raw))
    assert len(single) == len(small)
    assert decoder.buffered == 0


@given(st.lists(st.integers(1, 400), max_size=30), st.lists(st.integers(0, len(EXAMPLES) - 1), max_size=8))
def test_any_cut_gives_the_same_frames(cuts: list[int], chosen: list[int]) -> None:
    rows = [EXAMPLES[index] for index in chosen if len(EXAMPLES[index][2]) < 2000]
    raw = b"".join(encode(kind, stream, payload, flags) for kind, stream, payload, flags in rows)
    decoder, frames, position = Decoder(), [], 0
    for cut in cuts:
        frames += list(decoder.feed(raw[position : position + cut]))
        position += cut
    frames += list(decoder.feed(raw[position:]))
    assert frames == [Frame(kind, stream, payload, flags) for kind, stream, payload, flags in rows]


@pytest.mark.parametrize(("kind", "stream", "payload", "flags"), EXAMPLES)
def test_a_truncated_frame_is_waited_for_and_never_given(kind: FrameType, stream: int, payload: bytes, flags: int) -> None:
    raw = encode(kind, stream, payload, flags)
    decoder = Decoder()
    assert list(decoder.feed(raw[:-1])) == []
    assert decoder.buffered == len(raw) - 1
    assert len(list(decoder.feed(raw[-1:]))) == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (wire(0x00, 0, 0, 0, 0), Code.PROTOCOL),
        (wire(0x07, 0, 0, 0, 0), Code.PROTOCOL),
        (wire(0xFF, 0, 0, 0, 0), Code.PROTOCOL),
        (wire(FrameType.PING, 2, 0, 0, 8), Code.PROTOCOL),
        (wire(FrameType.DATA, 3, 0, 1, 1), Code.PROTOCOL),
        (wire(FrameType.PING, 0, 1, 0, 8), Code.PROTOCOL),
        (wire(FrameType.PING, 0, 0, 1, 8), Code.PROTOCOL),
        (wire(FrameType.DATA, 0, 0, 0, 1), Code.PROTOCOL),
        (wire(FrameType.DATA, 0, 0, 2**31, 1), Code.PROTOCOL),
        (wire(FrameType.PING, 0, 0, 0, 7), Code.PROTOCOL),
        (wire(FrameType.PING, 0, 0, 0, 9), Code.TOO_MUCH),
        (wire(FrameType.DATA, 0, 0, 1, MAX_DATA + 1), Code.TOO_MUCH),
        (wire(FrameType.DATA, 0, 0, 1, 2**32 - 1), Code.TOO_MUCH),
        (wire(FrameType.HELLO, 0, 0, 0, 1025), Code.TOO_MUCH),
        (wire(FrameType.OPEN, 0, 0, 1, 16385), Code.TOO_MUCH),
        (wire(FrameType.ERROR, 0, 0, 0, 3), Code.PROTOCOL),
        (wire(FrameType.ERROR, 0, 0, 0, 261), Code.TOO_MUCH),
        (wire(FrameType.DATA, 0, 0, 1, 0), Code.PROTOCOL),
        (wire(FrameType.RST, 0, 0, 1, 0), Code.PROTOCOL),
        (wire(FrameType.GOAWAY, 0, 0, 0, 15), Code.PROTOCOL),
    ],
)
def test_a_bad_header_is_refused_before_its_payload(raw: bytes, code: Code) -> None:
    with pytest.raises(PeerError) as caught:
        list(Decoder().feed(raw))
    assert caught.value.code is code


@given(st.binary(max_size=300))
def test_noise_gives_frames_or_a_peer_error_and_holds_little(noise: bytes) -> None:
    decoder = Decoder()
    with contextlib.suppress(PeerError):
        for frame in decoder.feed(noise):
            assert len(frame.payload) <= MAX_DATA
    assert decoder.buffered <= len(noise)


def test_this_end_cannot_send_what_the_table_forbids() -> None:
    for kind, stream, payload, flags in [
        (FrameType.PING, 0, b"short", 0),
        (FrameType.DATA, 0, b"x", 0),
        (FrameType.RST, 1, bytes(4), 1),
        (FrameType.HELLO, 0, bytes(1025), 0),
    ]:
        with pytest.raises(ValueError, match="wire table"):
            encode(kind, stream, payload, flags)


def test_numbers() -> None:
    assert data_header(5, 7, FIN) == HEADER.pack(FrameType.DATA, FIN, 0, 5, 7)
    assert unpack_u32(pack_u32(2**32 - 1)) == 2**32 - 1
    assert unpack_goaway(pack_goaway(9, 3, 1000, 30000)) == (9, 3, 1000, 30000)


def test_an_error_text_is_printable_ascii_both_ways() -> None:
    assert unpack_error(pack_error(2, "what\nis \u00e9")) == (2, "what?is ?")
    assert unpack_error(b"\0\0\0\7\x1b[31m\xff") == (7, "?[31m?")
    assert len(pack_error(1, "x" * 1000)) == 260


# ---- control payloads -----------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
_VALUES = st.recursive(
    _SCALARS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), _VALUES, max_size=6))
def test_a_map_survives(content: dict[str, Any]) -> None:
    try:
        payload = pack_map(content)
    except ValueError:
        return  # nested deeper than 8
    assert unpack_map(payload) == content


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x90",
        b"\xc0",
        b"\x01",
        b"\x81\xa1a",
        b"\x81\xa1a\x01\x00",
        b"\x81\x01\x01",
        b"\x81\xc4\x01a\x01",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x81\xa1a\xc1",
        b"\x81\xa1a\xd4\x01\x00",
        b"\x81\xa1a\xc7\x01\x01\x00",
        b"\x81\xa2\xff\xff\x01",
        b"\x81\xa1a\xdb\xff\xff\xff\xff",
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a" * 400,
        msgpack.packb(nested(10)),
        msgpack.packb({"a": "x" * 4097}),
        msgpack.packb({"a": b"x" * 4097}),
        msgpack.packb({"a": [0] * 257}),
        msgpack.packb({str(number): 0 for number in range(257)}),
    ],
)
def test_what_is_no_bounded_map_is_the_peers_fault(payload: bytes) -> None:
    with pytest.raises(PeerError):
        unpack_map(payload)


def test_the_bounds_themselves_pass() -> None:
    for content in (nested(8), {"a": "x" * 4096}, {"a": b"x" * 4096}, {"a": [0] * 256}, {str(n): 0 for n in range(256)}):
        assert unpack_map(pack_map(content)) == content
    with pytest.raises(ValueError, match="control payload"):
        pack_map(nested(9))


@given(st.binary(max_size=200))
def test_noise_is_a_map_or_a_peer_error(noise: bytes) -> None:
    with contextlib.suppress(PeerError):
        assert isinstance(unpack_map(noise), dict)
