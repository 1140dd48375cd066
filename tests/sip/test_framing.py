"""Stream framing: any cut gives the same messages, and what cannot become a message is refused at once."""

import time

import pytest

from sip.errors import MalformedMessage
from sip.framing import KEEPALIVE, MAX_START_LINE, PONG, StreamFramer
from sip.parser import parse
from sip.responses import make_response
from tests.sip.torture import CASES

HEAD = (
    b"MESSAGE sip:door@example.org SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"From: <sip:a@example.org>;tag=1\r\nTo: <sip:door@example.org>\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n"
)
BODY = "größer\r\n\r\nals ASCII".encode()
MESSAGE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
EMPTY = HEAD + b"l: 0\r\n\r\n"


def broken(data: bytes, **limits: int) -> MalformedMessage:
    framer = StreamFramer(**limits)
    with pytest.raises(MalformedMessage) as refusal:
        framer.feed(data)
    assert framer.fault is refusal.value
    assert framer.pending == 0
    with pytest.raises(MalformedMessage):
        framer.feed(MESSAGE)
    return refusal.value


def test_whole() -> None:
    framer = StreamFramer()
    assert framer.feed(MESSAGE + EMPTY + KEEPALIVE + MESSAGE) == [MESSAGE, EMPTY, KEEPALIVE, MESSAGE]
    assert framer.pending == 0
    assert framer.feed(b"") == []


def test_byte_by_byte() -> None:
    framer = StreamFramer()
    found = [piece for octet in MESSAGE + EMPTY + MESSAGE for piece in framer.feed(bytes([octet]))]
    assert found == [MESSAGE, EMPTY, MESSAGE]


@pytest.mark.parametrize("cut", range(1, len(MESSAGE)))
def test_every_cut(cut: int) -> None:
    framer = StreamFramer()
    assert framer.feed(MESSAGE[:cut]) == []
    assert framer.pending == cut
    assert framer.feed(MESSAGE[cut:] + EMPTY[:7]) == [MESSAGE]
    assert framer.feed(EMPTY[7:]) == [EMPTY]


def test_ping_and_pong() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n")[0] is KEEPALIVE
    assert framer.feed(b"\r\n")[0] is PONG
    assert framer.feed(MESSAGE + b"\r\n") == [MESSAGE, PONG]
    assert StreamFramer().feed(b"\r\n\r\n\r\n\r\n") == [KEEPALIVE, KEEPALIVE]


@pytest.mark.parametrize("cuts", [(1,), (2,), (3,), (1, 2), (1, 2, 3)])
def test_one_ping_in_any_segments_is_one_ping(cuts: tuple[int, ...]) -> None:
    framer = StreamFramer()
    found: list[bytes] = []
    for start, end in zip((0, *cuts), (*cuts, 4), strict=True):
        found += framer.feed(KEEPALIVE[start:end])
    assert found.count(KEEPALIVE) == 1


@pytest.mark.parametrize(
    "length",
    [b"Content-Length: 21", b"content-length :21", b"l:21", b"L\t:\t21\t", b"Content-Length:\r\n 21", b"Content-Length: 0021"],
)
def test_spellings_of_content_length(length: bytes) -> None:
    assert len(BODY) == 21
    message = HEAD + length + b"\r\n\r\n" + BODY
    assert StreamFramer().feed(message + EMPTY) == [message, EMPTY]
    assert parse(message).body == BODY


def test_a_folded_line_is_not_content_length() -> None:
    message = HEAD + b"Subject: x\r\n l: 9\r\nl: 0\r\n\r\n"
    assert StreamFramer().feed(message) == [message]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"", b"Missing Content-Length"),
        (b"Content-Length: -1\r\n", b"Malformed Content-Length"),
        (b"Content-Length: +1\r\n", b"Malformed Content-Length"),
        (b"Content-Length: 1_0\r\n", b"Malformed Content-Length"),
        (b"Content-Length: \xc2\xb2\r\n", b"Malformed Content-Length"),
        (b"Content-Length:\r\n", b"Malformed Content-Length"),
        (b"Content-Length: 99999999999999999999\r\n", b"Malformed Content-Length"),
        (b"Content-Length: 0\r\nl: 0\r\n", b"Malformed Content-Length"),
        (b"Content-Length: 0\r\nContent-Length : 5\r\n", b"Malformed Content-Length"),
    ],
)
def test_bad_length_can_be_answered(lines: bytes, reason: bytes) -> None:
    fault = broken(HEAD + lines + b"\r\n")
    assert (fault.status, fault.reason) == (400, reason)
    assert make_response(fault.partial, 400).get(b"call-id") == b"c1"


def test_declared_gigabyte_is_refused_at_the_head() -> None:
    fault = broken(HEAD + b"Content-Length: 1073741824\r\n\r\n")
    assert (fault.status, fault.reason) == (513, b"Message Too Large")
    assert fault.partial.method == b"MESSAGE"


def test_endless_head_is_refused_at_the_bound() -> None:
    framer = StreamFramer(max_message=10000)
    assert framer.feed(HEAD) == []
    with pytest.raises(MalformedMessage) as refusal:
        for _ in range(1000):
            framer.feed(b"X-Filler: " + b"x" * 90 + b"\r\n")
            assert framer.pending <= 10000
    assert refusal.value.reason == b"Message Too Large"


def test_the_bound_is_exact() -> None:
    assert StreamFramer(max_message=len(MESSAGE)).feed(MESSAGE) == [MESSAGE]
    assert broken(MESSAGE, max_message=len(MESSAGE) - 1).status == 513


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\0",
        b"\n",
        b"\rX",
        b"hello\n",
        b"x" * MAX_START_LINE,
        b" INVITE sip:a@b SIP/2.0\r\n",
        b"*1\r\n$4\r\nPING\r\n",
    ],
)
def test_noise_is_refused_at_once(noise: bytes) -> None:
    fault = broken(noise)
    assert (fault.status, fault.partial) == (0, None)


def test_messages_before_a_fault_are_given_out_first() -> None:
    framer = StreamFramer()
    assert framer.feed(MESSAGE + b"\0") == [MESSAGE]
    assert framer.fault is not None
    with pytest.raises(MalformedMessage):
        framer.feed(b"")


def test_broken_ack_and_response_are_not_answered() -> None:
    for start in (b"ACK sip:door@example.org SIP/2.0", b"SIP/2.0 200 OK"):
        fault = broken(HEAD.replace(b"MESSAGE sip:door@example.org SIP/2.0", start).replace(b"1 MESSAGE", b"1 ACK") + b"\r\n")
        assert (fault.status, fault.partial) == (0, None)


def test_torture_messages_keep_their_bytes() -> None:
    """Every RFC 4475 message that the parser accepts crosses a stream whole, except the one with bytes behind its end."""
    framer = StreamFramer()
    for case in CASES:
        if case.parser is None and case.name != "dblreq":
            assert framer.feed(case.raw) == [case.raw], case.name
    (double,) = [case for case in CASES if case.name == "dblreq"]
    assert b"".join(framer.feed(double.raw)) == double.raw


def test_linear_in_single_bytes() -> None:
    """64 KiB in single bytes; a scan from the start for each byte would need minutes."""
    message = HEAD + b"X: " + b"x" * 60000 + b"\r\nl: 4000\r\n\r\n" + b"b" * 4000
    framer = StreamFramer()
    started = time.process_time()
    found = [piece for octet in message for piece in framer.feed(bytes([octet]))]
    assert found == [message]
    assert time.process_time() - started < 2.0
