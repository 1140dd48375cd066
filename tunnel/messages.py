"""What the control payloads of a running link say: OPEN, OPENED, EVENT, CALL, RESULT (docs/tunnel-protocol.md sections 4 and 8).

Maps arrive bounded from `codec.unpack_map`; here each known key gets its type, length and alphabet. Unknown keys are
ignored, so that a later version can add some.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tunnel.codec import pack_map, unpack_map
from tunnel.errors import Code, PeerError
from tunnel.frames import EVENT_ID_SIZE

NAME = re.compile(r"[a-z0-9._-]{1,64}", re.ASCII)
MAC = re.compile(r"[0-9A-F]{12}", re.ASCII)
AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
MAX_DEADLINE_MS = 3_600_000
REMEMBERED = 64
"""OPENs and OPENEDs of which both forms are remembered: the same few are said for every connection, and reading one costs more
than all else that opens a stream."""
SHORT = 300
"""Bytes of the longest payload that is remembered."""
SPKI_SIZE = 32


def bad(text: str) -> PeerError:
    """The error for a control payload whose content breaks a rule; `text` is ours."""
    return PeerError(Code.PROTOCOL, text)


def text_field(content: Mapping[str, Any], key: str, shape: re.Pattern[str]) -> str:
    """A required string that matches `shape` wholly. Raises PeerError."""
    value = content.get(key)
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise bad(f"key {key} missing or malformed")
    return value


def bytes_field(content: Mapping[str, Any], key: str, size: int) -> bytes:
    """A required binary of exactly `size` bytes. Raises PeerError."""
    value = content.get(key)
    if not isinstance(value, bytes) or len(value) != size:
        raise bad(f"key {key} missing or malformed")
    return value


def int_field(content: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A required integer within bounds; a boolean is none. Raises PeerError."""
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise bad(f"key {key} missing or out of bounds")
    return value


def map_field(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A required map. Raises PeerError."""
    value = content.get(key)
    if not isinstance(value, dict):
        raise bad(f"key {key} missing or no map")
    return value


def _open(payload: bytes) -> tuple[str, str]:
    content = unpack_map(payload)
    return text_field(content, "service", NAME), text_field(content, "device", MAC) if "device" in content else ""


@lru_cache(REMEMBERED)
def _packed_open(service: str, device: str) -> bytes:
    if not NAME.fullmatch(service):
        raise ValueError("a service id is 1 to 64 of a-z 0-9 . _ -")
    if device and not MAC.fullmatch(device):
        raise ValueError("a device is named by its MAC")
    return pack_map({"service": service, "device": device} if device else {"service": service})


_short_open = lru_cache(REMEMBERED)(_open)


@dataclass(frozen=True, slots=True)
class Open:
    """Payload of OPEN: the id of a service, never an address. `device`: the MAC of the device that is meant, on a connector's
    link only."""

    service: str
    device: str = ""

    def pack(self) -> bytes:
        return _packed_open(self.service, self.device)

    @classmethod
    def unpack(cls, payload: bytes) -> "Open":
        return cls(*(_short_open(payload) if len(payload) <= SHORT else _open(payload)))


@dataclass(frozen=True, slots=True)
class Opened:
    """Payload of OPENED: the host[:port] a client of the service names in HTTP, empty if the agent does not say.

    `spki`: SHA-256 of the SubjectPublicKeyInfo in the certificate that the service showed the agent, empty without TLS.
    """

    authority: str = ""
    spki: bytes = b""

    def pack(self) -> bytes:
        return _packed_opened(self)

    @classmethod
    def unpack(cls, payload: bytes) -> "Opened":
        return _short_opened(payload) if len(payload) <= SHORT else _opened(payload)


def _opened(payload: bytes) -> Opened:
    content = unpack_map(payload)
    return Opened(
        text_field(content, "authority", AUTHORITY) if "authority" in content else "",
        bytes_field(content, "spki", SPKI_SIZE) if "spki" in content else b"",
    )


@lru_cache(REMEMBERED)
def _packed_opened(opened: Opened) -> bytes:
    if opened.authority and not AUTHORITY.fullmatch(opened.authority):
        raise ValueError("an authority is host or host:port")
    content: dict[str, Any] = {"authority": opened.authority} if opened.authority else {}
    if opened.spki:
        content["spki"] = opened.spki
    return pack_map(content)


_short_opened = lru_cache(REMEMBERED)(_opened)


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something that happened at the device, with the device's own random id (16 bytes)."""

    id: bytes
    name: str
    body: Mapping[str, Any] = field(repr=False)

    def pack(self) -> bytes:
        _check(self.id, self.name)
        return pack_map({"id": self.id, "name": self.name, "body": self.body})

    @classmethod
    def unpack(cls, payload: bytes) -> "DeviceEvent":
        content = unpack_map(payload)
        return cls(bytes_field(content, "id", EVENT_ID_SIZE), text_field(content, "name", NAME), map_field(content, "body"))


@dataclass(frozen=True, slots=True)
class Call:
    """Something the gateway asks the device to do, within `deadline_ms`."""

    id: bytes
    name: str
    body: Mapping[str, Any] = field(repr=False)
    deadline_ms: int

    def pack(self) -> bytes:
        _check(self.id, self.name)
        return pack_map({"id": self.id, "name": self.name, "body": self.body, "deadline_ms": self.deadline_ms})

    @classmethod
    def unpack(cls, payload: bytes) -> "Call":
        content = unpack_map(payload)
        return cls(
            bytes_field(content, "id", EVENT_ID_SIZE),
            text_field(content, "name", NAME),
            map_field(content, "body"),
            int_field(content, "deadline_ms", 1, MAX_DEADLINE_MS),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What the device answered to a Call; with `ok` false, `body["error"]` is a word."""

    id: bytes
    ok: bool
    body: Mapping[str, Any] = field(repr=False)

    def pack(self) -> bytes:
        return pack_map({"id": self.id, "ok": self.ok, "body": self.body})

    @classmethod
    def unpack(cls, payload: bytes) -> "Result":
        content = unpack_map(payload)
        ok = content.get("ok")
        if not isinstance(ok, bool):
            raise bad("key ok missing or no boolean")
        return cls(bytes_field(content, "id", EVENT_ID_SIZE), ok, map_field(content, "body"))


def pack_id(message_id: bytes) -> bytes:
    """Payload of EVENT+ACK."""
    return pack_map({"id": message_id})


def unpack_id(payload: bytes) -> bytes:
    return bytes_field(unpack_map(payload), "id", EVENT_ID_SIZE)


def _check(message_id: bytes, name: str) -> None:
    if len(message_id) != EVENT_ID_SIZE or not NAME.fullmatch(name):
        raise ValueError("an event or call has a 16-byte id and a name of 1 to 64 of a-z 0-9 . _ -")
