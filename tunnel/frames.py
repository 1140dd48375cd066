"""The wire table of docs/tunnel-protocol.md section 2 as values: frame types, their flags, lengths and places.

Everything a decoder refuses on the 12 header bytes alone is a row of `RULES`; nothing else in the package knows a limit
of a payload.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("!BBHII")
HEADER_SIZE = 12
NONCE_SIZE = 32
KEY_SIZE = 32
PROOF_SIZE = 32
EVENT_ID_SIZE = 16
PING_SIZE = 8
MAX_DATA = 65_536
"""Bytes in the largest DATA frame."""
SHARED_DATA = 16_384
"""Bytes in the largest DATA frame while more than one stream has something to send: one TLS record."""
MAX_CONTROL = 16_384
MAX_HANDSHAKE = 1_024
MAX_STREAM_ID = 2**31 - 1
VERSION = 1
ALPN = "portico/1"

FIN = 0x01
ACK = 0x01


class FrameType(IntEnum):
    """First byte of a frame."""

    CHALLENGE = 0x01
    HELLO = 0x02
    WELCOME = 0x03
    ERROR = 0x04
    PING = 0x05
    GOAWAY = 0x06
    OPEN = 0x10
    OPENED = 0x11
    DATA = 0x12
    WINDOW = 0x13
    RST = 0x14
    EVENT = 0x20
    CALL = 0x21
    RESULT = 0x22


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the wire table: payload length bounds, whether it belongs to a stream, the flag bits it may carry."""

    least: int
    most: int
    on_stream: bool
    flags: int = 0


TYPES: dict[int, FrameType] = {int(kind): kind for kind in FrameType}
RULES: dict[int, Rule] = {
    FrameType.CHALLENGE: Rule(1, MAX_HANDSHAKE, False),
    FrameType.HELLO: Rule(1, MAX_HANDSHAKE, False),
    FrameType.WELCOME: Rule(1, MAX_HANDSHAKE, False),
    FrameType.ERROR: Rule(4, 260, False),
    FrameType.PING: Rule(PING_SIZE, PING_SIZE, False, ACK),
    FrameType.GOAWAY: Rule(16, 16, False),
    FrameType.OPEN: Rule(1, MAX_CONTROL, True),
    FrameType.OPENED: Rule(1, MAX_CONTROL, True),
    FrameType.DATA: Rule(0, MAX_DATA, True, FIN),
    FrameType.WINDOW: Rule(4, 4, True),
    FrameType.RST: Rule(4, 4, True),
    FrameType.EVENT: Rule(1, MAX_CONTROL, False, ACK),
    FrameType.CALL: Rule(1, MAX_CONTROL, False),
    FrameType.RESULT: Rule(1, MAX_CONTROL, False),
}


class Side(IntEnum):
    """Which end of a link. The value is the parity of the stream ids this end opens."""

    AGENT = 0
    GATEWAY = 1

    @property
    def other(self) -> "Side":
        return Side(1 - self)


class Frame:
    """One frame as read from the wire, its header already held against `RULES`.

    A plain class, as one is made for each frame: a frozen dataclass takes three times as long.
    """

    __slots__ = ("flags", "payload", "stream", "type")

    def __init__(self, frame_type: FrameType, stream: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        self.type = frame_type
        self.stream = stream
        self.payload = payload
        self.flags = flags

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        mine = (self.type, self.stream, self.payload, self.flags)
        return mine == (other.type, other.stream, other.payload, other.flags)

    def __repr__(self) -> str:
        return f"Frame({self.type.name}, stream={self.stream}, {len(self.payload)} bytes, flags={self.flags})"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and deadlines of one link, in bytes, streams and seconds. Defaults are the protocol document's."""

    initial_window: int = 65_536
    max_window: int = 1_048_576
    """Bytes of the largest window of one stream."""
    least_window: int = 4_096
    """Bytes of the smallest window of one stream, however many streams receive."""
    most_together: int = 4_194_304
    """Bytes that the windows of the streams that receive are meant to be together at most, and by which all windows of
    a link together may stand above the initial one."""
    least_together: int = 16_384
    """Bytes below which the windows of the streams that receive do not shrink together, however long the path queues."""
    max_streams: int = 64
    max_unacked_events: int = 16
    max_control_frames: int = 1_024
    open_deadline: float = 10.0
    ping_after: float = 25.0
    dead_after: float = 60.0
    ping_spread: float = 0.2
    drain: float = 30.0
    queue_delay: float = 0.05
    """Seconds by which the windows may lengthen the ping time at most (`tunnel.pacing`)."""
