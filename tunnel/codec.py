"""Bytes <-> frames, incremental and bounded; and the bounded MessagePack maps of control payloads.

`Decoder` refuses a bad frame on its header, so it never holds more than one payload of the length its type allows.
It does linear work however the bytes are cut.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from tunnel.errors import Code, PeerError
from tunnel.frames import HEADER, HEADER_SIZE, MAX_STREAM_ID, RULES, TYPES, Frame, FrameType

MAX_TEXT = 4_096
MAX_ENTRIES = 256
MAX_DEPTH = 8

_DATA = int(FrameType.DATA)
_U32 = struct.Struct("!I")
_GOAWAY = struct.Struct("!IIII")


def encode(frame_type: FrameType, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame as bytes. Raises ValueError where the wire table forbids it, so that this end cannot send it either."""
    rule = RULES[frame_type]
    if not rule.least <= len(payload) <= rule.most or (stream != 0) != rule.on_stream or flags & ~rule.flags:
        raise ValueError(f"{frame_type.name} frame outside the wire table: {len(payload)} bytes, stream {stream}")
    return HEADER.pack(frame_type, flags, 0, stream, len(payload)) + payload


def data_header(stream: int, length: int, flags: int = 0) -> bytes:
    """The header of a DATA frame whose payload the caller sends right behind it, uncopied."""
    return HEADER.pack(_DATA, flags, 0, stream, length)


class Decoder:
    """Turns received bytes into frames. After a PeerError it is finished: the link must end."""

    __slots__ = ("_data", "_position", "_started")

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._started = bytearray()
        """The beginning of a frame that is not whole yet."""

    @property
    def buffered(self) -> int:
        """Bytes held of a frame not yet whole; never above 64 KiB + 12 once `next` gave None."""
        return len(self._started)

    def push(self, data: bytes) -> None:
        """Bytes arrived. Take the frames with `next` until it gives None, before the next push."""
        self._data = data
        self._position = 0

    def next(self) -> Frame | None:
        """The next whole frame, None if there is none. Raises PeerError at the first header that breaks the wire table."""
        data, position = self._data, self._position
        if self._started:
            return self._completed()
        if len(data) - position >= HEADER_SIZE:
            frame_type, flags, stream, length = _checked_header(data, position)
            start = position + HEADER_SIZE
            if len(data) - start >= length:
                self._position = start + length
                return Frame(frame_type, stream, data[start : start + length], flags)
        self._started += memoryview(data)[position:]
        self._data, self._position = b"", 0
        return None

    def _completed(self) -> Frame | None:
        """The frame whose beginning waits, with what it lacks from the new bytes."""
        started = self._started
        if not self._more(HEADER_SIZE):
            return None
        frame_type, flags, stream, length = _checked_header(started, 0)
        if not self._more(HEADER_SIZE + length):
            return None
        payload = bytes(memoryview(started)[HEADER_SIZE:])
        self._started = bytearray()
        return Frame(frame_type, stream, payload, flags)

    def _more(self, size: int) -> bool:
        """Bring what waits up to `size` bytes. False if there are not so many."""
        lacks = size - len(self._started)
        if lacks > 0:
            part = memoryview(self._data)[self._position : self._position + lacks]
            self._started += part
            self._position += len(part)
            return len(part) == lacks
        return True

    def feed(self, data: bytes) -> Iterator[Frame]:
        """`push`, and every frame of `next`. The iterator must be exhausted (or the link dropped) before the next call."""
        self.push(data)
        while (frame := self.next()) is not None:
            yield frame


def _checked_header(data: bytes | bytearray, position: int) -> tuple[FrameType, int, int, int]:
    type_byte, flags, reserved, stream, length = HEADER.unpack_from(data, position)
    rule = RULES.get(type_byte)
    if rule is None:
        raise PeerError(Code.PROTOCOL, "unknown frame type")
    if flags & ~rule.flags or reserved:
        raise PeerError(Code.PROTOCOL, "unknown flag or reserved bits set")
    if (stream != 0) != rule.on_stream or stream > MAX_STREAM_ID:
        raise PeerError(Code.PROTOCOL, "stream id does not fit the frame type")
    if not rule.least <= length <= rule.most:
        raise PeerError(Code.TOO_MUCH if length > rule.most else Code.PROTOCOL, "payload length not allowed for the frame type")
    if type_byte == _DATA and not length and not flags:
        raise PeerError(Code.PROTOCOL, "empty DATA without FIN")
    return TYPES[type_byte], flags, stream, length


def pack_u32(value: int) -> bytes:
    """Payload of WINDOW and RST."""
    return _U32.pack(value)


def unpack_u32(payload: bytes) -> int:
    value: int = _U32.unpack(payload)[0]
    return value


def pack_goaway(code: int, last_stream: int, retry_after_ms: int, jitter_ms: int) -> bytes:
    return _GOAWAY.pack(code, last_stream, retry_after_ms, jitter_ms)


def unpack_goaway(payload: bytes) -> tuple[int, int, int, int]:
    """(code, last stream, retry-after ms, jitter ms)."""
    code, last, retry, jitter = _GOAWAY.unpack(payload)
    return code, last, retry, jitter


def pack_error(code: int, text: str) -> bytes:
    """Payload of ERROR. Text beyond 256 characters is cut, characters outside printable ASCII are replaced."""
    return _U32.pack(code) + "".join(c if " " <= c <= "~" else "?" for c in text[:256]).encode("ascii")


def unpack_error(payload: bytes) -> tuple[int, str]:
    """(code, text), the text made safe for a log."""
    text = "".join(chr(byte) if 0x20 <= byte <= 0x7E else "?" for byte in payload[4:])
    return unpack_u32(payload[:4]), text


def pack_map(content: Mapping[str, Any]) -> bytes:
    """A control payload. Raises ValueError for what `unpack_map` would refuse at the other end."""
    payload: bytes = msgpack.packb(dict(content), use_bin_type=True)
    try:
        unpack_map(payload)
    except PeerError as refused:
        raise ValueError(f"not a control payload: {refused.text}") from None
    return payload


def unpack_map(payload: bytes) -> dict[str, Any]:
    """Read one bounded MessagePack map with string keys and nothing behind it. Raises PeerError for everything else."""
    if not _shallow(payload):
        raise PeerError(Code.PROTOCOL, "control payload nested too deep or cut short")
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=True,
        max_buffer_size=max(len(payload), 1),
        max_str_len=MAX_TEXT,
        max_bin_len=MAX_TEXT,
        max_array_len=MAX_ENTRIES,
        max_map_len=MAX_ENTRIES,
        max_ext_len=0,
        ext_hook=_no_extension,
        object_pairs_hook=_unique_keys,
    )
    unpacker.feed(payload)
    try:
        content = unpacker.unpack()
        trailing = unpacker.tell() != len(payload)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
        raise PeerError(Code.PROTOCOL, "control payload is not a bounded MessagePack map") from None
    if trailing or not isinstance(content, dict):
        raise PeerError(Code.PROTOCOL, "control payload is not exactly one MessagePack map")
    return content


def _no_extension(_code: int, _body: bytes) -> None:
    raise ValueError("extension type")


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs) or not all(isinstance(key, str) for key in content):
        raise ValueError("repeated key or a key that is no string")
    return content


def _shallow(payload: bytes) -> bool:
    """Whether the nesting stays within MAX_DEPTH, found without building anything.

    The library bounds each length but not the depth below its own stack limit, and a depth an application then walks by
    recursion is an attack on that application.
    """
    position, size = 0, len(payload)
    open_counts: list[int] = []
    while position < size:
        step, items = _step(payload, position)
        position += step
        if items is not None and len(open_counts) >= MAX_DEPTH:
            return False
        if items:
            open_counts.append(items)
            continue
        while open_counts:
            open_counts[-1] -= 1
            if open_counts[-1]:
                break
            open_counts.pop()
        if not open_counts:
            return True
    return False


_FIXED = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _step(payload: bytes, position: int) -> tuple[int, int | None]:
    """(bytes to skip, items inside or None for a scalar) of the MessagePack value at `position`."""
    kind = payload[position]
    if kind < 0x80 or kind >= 0xE0:
        return 1, None
    if kind < 0x90:
        return 1, (kind & 0x0F) * 2
    if kind < 0xA0:
        return 1, kind & 0x0F
    if kind < 0xC0:
        return 1 + (kind & 0x1F), None
    if kind in _LENGTHS:
        width = _LENGTHS[kind]
        return 1 + width + int.from_bytes(payload[position + 1 : position + 1 + width], "big"), None
    if kind in _CONTAINERS:
        width, per_entry = _CONTAINERS[kind]
        return 1 + width, int.from_bytes(payload[position + 1 : position + 1 + width], "big") * per_entry
    return _FIXED.get(kind, 1), None
