"""OPEN, OPENED, EVENT, CALL, RESULT: what each takes, and that hostile content is the peer's fault."""

from typing import Any

import pytest

from tunnel.codec import pack_map
from tunnel.errors import PeerError
from tunnel.messages import Call, DeviceEvent, Open, Opened, Result, pack_id, unpack_id

ID = bytes(range(16))


@pytest.mark.parametrize(
    "message",
    [
        Open("web"),
        Open("web", "0C1105AABBCC"),
        Opened(),
        Opened("192.168.1.20"),
        Opened("[fe80::1]:8080"),
        Opened("192.168.1.20", bytes(range(32))),
        DeviceEvent(ID, "relay.opened", {"relay": 1}),
        Call(ID, "reboot", {}, 5000),
        Result(ID, True, {"uptime": 3}),
    ],
)
def test_a_message_survives(message: Any) -> None:
    assert type(message).unpack(message.pack()) == message


def test_an_id_survives() -> None:
    assert unpack_id(pack_id(ID)) == ID


def test_unknown_keys_are_ignored_for_later_versions() -> None:
    assert Open.unpack(pack_map({"service": "web", "priority": 3})) == Open("web")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Open, {}),
        (Open, {"service": ""}),
        (Open, {"service": "WEB"}),
        (Open, {"service": "web\n"}),
        (Open, {"service": "x" * 65}),
        (Open, {"service": "10.0.0.1:80"}),
        (Open, {"service": b"web"}),
        (Opened, {"spki": b"short"}),
        (Opened, {"spki": "x" * 32}),
        (Opened, {"authority": ""}),
        (Opened, {"authority": "a b"}),
        (Opened, {"authority": "host\r\nX: y"}),
        (Opened, {"authority": "host:1234567"}),
        (Opened, {"authority": "http://host"}),
        (Opened, {"authority": "user@host"}),
        (DeviceEvent, {"id": ID, "name": "x"}),
        (DeviceEvent, {"id": ID[:15], "name": "x", "body": {}}),
        (DeviceEvent, {"id": ID, "name": "x y", "body": {}}),
        (DeviceEvent, {"id": ID, "name": "x", "body": []}),
        (Call, {"id": ID, "name": "x", "body": {}}),
        (Call, {"id": ID, "name": "x", "body": {}, "deadline_ms": 0}),
        (Call, {"id": ID, "name": "x", "body": {}, "deadline_ms": True}),
        (Call, {"id": ID, "name": "x", "body": {}, "deadline_ms": 1.5}),
        (Result, {"id": ID, "ok": 1, "body": {}}),
        (Result, {"id": ID, "ok": True}),
    ],
)
def test_what_is_missing_or_malformed_is_the_peers_fault(kind: Any, content: dict[str, Any]) -> None:
    with pytest.raises(PeerError):
        kind.unpack(pack_map(content))


@pytest.mark.parametrize(
    "message",
    [
        Open("a b"),
        Open("web", "0c1105aabbcc"),
        Opened("a b"),
        DeviceEvent(b"short", "x", {}),
        DeviceEvent(ID, "X", {}),
        Call(ID, "", {}, 1),
    ],
)
def test_this_end_cannot_pack_it_either(message: Any) -> None:
    with pytest.raises(ValueError, match=r"is|has"):
        message.pack()


def test_a_body_is_not_in_a_repr() -> None:
    assert "1234" not in repr(DeviceEvent(ID, "pin.entered", {"pin": "1234"}))
