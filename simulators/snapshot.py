"""The picture of a simulated camera: a PNG made once, of a porch at night, so that there is a binary file to carry."""

import struct
import zlib
from functools import cache

WIDTH, HEIGHT = 320, 180


@cache
def snapshot() -> bytes:
    """A greyscale PNG of 320 x 180: a door, its frame, light falling off towards the corners."""
    rows = b"".join(b"\0" + bytes(_grey(x, y) for x in range(WIDTH)) for y in range(HEIGHT))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _grey(x: int, y: int) -> int:
    light = 235 - ((x - 160) ** 2 + 2 * (y - 70) ** 2) // 140
    if 112 <= x < 208 and y >= 24:
        light -= 70 if 118 <= x < 202 and y >= 30 else 120
        if (x - 192) ** 2 + (y - 110) ** 2 < 14:
            light = 250
    elif y >= 160:
        light -= 60
    return max(12, min(250, light))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
