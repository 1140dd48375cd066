"""The WebSocket framing alone, met by wsproto's client (RFC 7118, S17)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason

from sip.net.websocket import MAX_FRAGMENTS, OriginRule, WebSocketFraming

LIMIT = 65536
PING = b"OPTIONS sip:gw.test SIP/2.0\r\nSubject: \xc3\xbc\r\n\r\n"


class Meeting:
    """A client and the framing, with nothing in between."""

    def __init__(self, *origins: str, limit: int = LIMIT) -> None:
        self.client = WSConnection(ConnectionType.CLIENT)
        self.framing = WebSocketFraming(limit, OriginRule(origins))

    def say(self, event: Event) -> list[bytes]:
        """The messages that came of it."""
        return self.framing.feed(self.client.send(event))

    def heard(self) -> list[Event]:
        self.client.receive_data(self.framing.replies())
        return list(self.client.events())

    def upgrade(self, **how: object) -> Event:
        request = {"host": "gw.test:5066", "target": "/", "subprotocols": ["sip"], **how}
        assert self.say(Request(**request)) == []  # type: ignore[arg-type]
        return self.heard()[0]


@pytest.fixture
def open_meeting() -> Meeting:
    meeting = Meeting()
    answer = meeting.upgrade()
    assert isinstance(answer, AcceptConnection)
    assert answer.subprotocol == "sip"
    return meeting


@pytest.mark.parametrize("event", [TextMessage(PING.decode()), BytesMessage(PING)])
def test_one_message_each_way_text_or_binary(open_meeting: Meeting, event: Event) -> None:
    assert open_meeting.say(event) == [PING]
    assert open_meeting.framing.pending == 0
    open_meeting.client.receive_data(open_meeting.framing.wrap(PING) + open_meeting.framing.wrap(b"\xff\r\n"))
    text, binary = open_meeting.client.events()
    assert isinstance(text, TextMessage)
    assert isinstance(binary, BytesMessage)
    assert (text.data, bytes(binary.data)) == (PING.decode(), b"\xff\r\n")


@given(st.integers(1, 40))
def test_any_cut_of_the_bytes_gives_the_same_messages(size: int) -> None:
    meeting = Meeting()
    data = meeting.client.send(Request(host="gw.test", target="/", subprotocols=["chat", "sip"]))
    for at in range(0, len(data), size):
        assert meeting.framing.feed(data[at : at + size]) == []
        assert meeting.framing.pending == (at + size < len(data))
    meeting.heard()
    sent = meeting.client.send(TextMessage(PING.decode())) + meeting.client.send(BytesMessage(PING * 100))
    found = [one for at in range(0, len(sent), size) for one in meeting.framing.feed(sent[at : at + size])]
    assert found == [PING, PING * 100]


@pytest.mark.parametrize("subprotocols", [[], ["chat"], ["SIP", "sips"]])
def test_without_the_sub_protocol_it_is_refused(subprotocols: list[str]) -> None:
    meeting = Meeting()
    answer = meeting.upgrade(subprotocols=subprotocols)
    assert isinstance(answer, RejectConnection)
    assert (answer.status_code, meeting.framing.ended) == (400, True)
    assert meeting.framing.wrap(PING) == b""


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), None, True),
        ((), "https://gw.test", True),
        ((), "http://GW.test:8080", True),
        ((), "https://evil.test", False),
        ((), "https://gw.test.evil.test", False),
        ((), "null", False),
        ((), "https://[", False),
        (("https://app.test",), "https://app.test", True),
        (("https://App.test/",), "https://app.test", True),
        (("https://app.test",), "http://app.test", False),
        (("https://app.test",), "https://gw.test", False),
        (("https://app.test",), None, True),
        (("*",), "https://anyone.test", True),
    ],
)
def test_origins(origins: tuple[str, ...], origin: str | None, allowed: bool) -> None:
    headers = [] if origin is None else [(b"Origin", origin.encode())]
    answer = Meeting(*origins).upgrade(extra_headers=headers)
    assert isinstance(answer, AcceptConnection) is allowed
    assert allowed or (isinstance(answer, RejectConnection) and answer.status_code == 403)


def test_no_compression_is_agreed_on() -> None:
    answer = Meeting().upgrade(extensions=[PerMessageDeflate()])
    assert isinstance(answer, AcceptConnection)
    assert answer.extensions == []


@pytest.mark.parametrize("event", [BytesMessage(b"x" * (LIMIT + 1)), BytesMessage(b"x" * LIMIT * 20)])
def test_a_message_that_is_too_long_is_1009(open_meeting: Meeting, event: Event) -> None:
    assert open_meeting.say(event) == []
    _closed(open_meeting, CloseReason.MESSAGE_TOO_BIG)
    assert open_meeting.framing.pending == 0


def test_fragments_are_joined_up_to_a_bound(open_meeting: Meeting) -> None:
    halves = TextMessage(PING[:9].decode(), message_finished=False), TextMessage(PING[9:].decode())
    assert open_meeting.say(halves[0]) == []
    assert open_meeting.framing.pending == 9
    assert open_meeting.say(halves[1]) == [PING]
    for _ in range(MAX_FRAGMENTS):
        assert not open_meeting.framing.ended
        assert open_meeting.say(BytesMessage(b"x", message_finished=False)) == []
    _closed(open_meeting, CloseReason.POLICY_VIOLATION)


def test_pings_are_answered_and_a_close_is_a_close(open_meeting: Meeting) -> None:
    assert open_meeting.say(Ping(b"there?")) == []
    (pong,) = open_meeting.heard()
    assert isinstance(pong, Pong)
    assert bytes(pong.payload) == b"there?"
    assert open_meeting.say(CloseConnection(1000)) == []
    _closed(open_meeting, CloseReason.NORMAL_CLOSURE)
    assert open_meeting.framing.feed(b"anything") == []


def test_a_ping_of_ours_is_answered_and_the_answer_is_no_message(open_meeting: Meeting) -> None:
    open_meeting.client.receive_data(open_meeting.framing.ping())
    (ping,) = open_meeting.client.events()
    assert isinstance(ping, Ping)
    assert open_meeting.say(ping.response()) == []
    assert open_meeting.framing.replies() == b""


def test_a_farewell_is_said_once_and_is_the_last_word(open_meeting: Meeting) -> None:
    open_meeting.client.receive_data(open_meeting.framing.farewell())
    (close,) = open_meeting.client.events()
    assert isinstance(close, CloseConnection)
    assert close.code == CloseReason.GOING_AWAY
    framing = open_meeting.framing
    assert (framing.farewell(), framing.ping(), framing.wrap(PING)) == (b"", b"", b"")
    assert open_meeting.say(close.response()) == []


def test_before_the_upgrade_there_is_nobody_to_ping_or_to_leave() -> None:
    framing = Meeting().framing
    assert (framing.ping(), framing.farewell()) == (b"", b"")


def _closed(meeting: Meeting, reason: CloseReason) -> None:
    assert meeting.framing.ended
    (close,) = [one for one in meeting.heard() if not isinstance(one, Message)]
    assert isinstance(close, CloseConnection)
    assert close.code == reason


@pytest.mark.parametrize(
    "noise",
    [
        b"OPTIONS sip:gw.test SIP/2.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: a\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000,
        b"\x16\x03\x01" * 30,
    ],
)
def test_what_is_no_upgrade_is_refused(noise: bytes) -> None:
    framing = WebSocketFraming(LIMIT, OriginRule(()))
    assert framing.feed(noise) == []
    assert framing.ended
    assert framing.replies()[:10] in (b"", b"HTTP/1.1 4")


@given(st.binary(max_size=300))
def test_noise_after_the_upgrade_never_raises(noise: bytes) -> None:
    meeting = Meeting()
    meeting.upgrade()
    meeting.framing.feed(noise)
    meeting.framing.replies()
    meeting.framing.wrap(PING)


@given(st.binary(max_size=200))
def test_noise_before_the_upgrade_never_raises(noise: bytes) -> None:
    framing = WebSocketFraming(LIMIT, OriginRule(()))
    framing.feed(b"GET / HTTP/1.1\r\n" + noise + b"\r\n\r\n")
    framing.replies()
