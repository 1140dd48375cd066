"""Bencoding, as rtpengine's ng protocol uses it: byte strings, integers, lists, and dictionaries with byte-string keys."""

from collections.abc import Mapping, Sequence
from typing import Final

MAX_DEPTH: Final = 16
"""Nesting in an answer that is read."""
MAX_ITEMS: Final = 10_000
_MAX_DIGITS: Final = 18

Value = bytes | int | Sequence["Value"] | Mapping[bytes, "Value"]


class NotBencode(Exception):
    """The octets are no bencoded value, or go past a bound."""


def encode(value: Value) -> bytes:
    """The octets of a value; dictionaries in the order of their keys."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def decode(data: bytes) -> Value:
    """The one value that `data` is. Raises NotBencode, and nothing else."""
    value, end = _Reader(data).value(0, 0)
    if end != len(data):
        raise NotBencode
    return value


def _encode(value: Value, parts: list[bytes]) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key in sorted(value):
            parts.append(b"%d:%b" % (len(key), key))
            _encode(value[key], parts)
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0

    def value(self, at: int, depth: int) -> tuple[Value, int]:
        """The value that starts at `at`, and where it ends."""
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise NotBencode
        kind = self._data[at : at + 1]
        if kind == b"i":
            return self._integer(at + 1, b"e")
        if kind == b"l":
            items: list[Value] = []
            at += 1
            while self._data[at : at + 1] != b"e":
                item, at = self.value(at, depth + 1)
                items.append(item)
            return items, at + 1
        if kind == b"d":
            found: dict[bytes, Value] = {}
            at += 1
            while self._data[at : at + 1] != b"e":
                key, at = self._string(at)
                found[key], at = self.value(at, depth + 1)
            return found, at + 1
        return self._string(at)

    def _string(self, at: int) -> tuple[bytes, int]:
        length, at = self._integer(at, b":")
        if length < 0 or at + length > len(self._data):
            raise NotBencode
        return self._data[at : at + length], at + length

    def _integer(self, at: int, end_mark: bytes) -> tuple[int, int]:
        end = self._data.find(end_mark, at, at + _MAX_DIGITS + 2)
        digits = self._data[at : max(end, at)]
        if end < 0 or not digits.removeprefix(b"-").isdigit():
            raise NotBencode
        return int(digits), end + 1
