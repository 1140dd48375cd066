"""The short way of reading and writing HTTP, held to h11's."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.answer_plan import Plan
from autop.http_messages import Request, Response
from autop.net.answers import planned, refusal
from autop.usual_form import MAX_HEAD, read_usual, write_usual

DATE = b"Thu, 28 May 2026 20:26:40 GMT"
POLL = (
    b"GET /autop/mfrggzdfmztwq2lknnwg23tpoa/0C1105AABBCC.cfg HTTP/1.1\r\nHost: gate.example:8443\r\n"
    b'User-Agent: Akuvox R29C 29.30.10.19\r\nIf-None-Match: "abc"\r\n%s\r\n'
)
_NAMES = st.sampled_from(
    b"Host,host,HOST,User-Agent,If-None-Match,Connection,Content-Length,Transfer-Encoding,Expect,Upgrade,Range,X y,,TE".split(
        b","
    )
)
_VALUES = st.one_of(
    st.sampled_from([b"gate", b"close", b"Close", b"keep-alive", b"keep-alive, close", b"0", b"5", b"chunked", b"100-continue"]),
    st.binary(max_size=12),
    st.text(" \t!aZ~,;", max_size=12).map(str.encode),
)
_SPACES = st.sampled_from([b": ", b":", b":  ", b" : ", b":\t"])
_LINES = st.lists(st.tuples(_NAMES, _SPACES, _VALUES).map(b"".join), max_size=5)
_FIRST = st.one_of(
    st.just(b"GET /a HTTP/1.1"),
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"POST", b"get", b""]),
        st.one_of(st.just(b"/autop/x"), st.binary(max_size=8)),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"http/1.1", b""]),
    ).map(b" ".join),
)
_HEADS = st.tuples(_FIRST, _LINES, st.booleans(), st.sampled_from([b"\r\n", b"\n"])).map(
    lambda parts: parts[3].join([parts[0], *([b"Host: x"] if parts[2] else []), *parts[1], b"", b""])
)


def by_h11(octets: bytes) -> tuple[h11.Connection, h11.Request, int] | None:
    """What h11 makes of these octets, and how long the head was."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16384)
    connection.receive_data(octets)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    return connection, event, len(octets) - len(connection.trailing_data[0])


def assert_same(octets: bytes) -> bool:
    """That what is read the short way is what h11 reads. Whether it was."""
    usual = read_usual(bytearray(octets))
    if usual is None:
        return False
    request, length, last = usual
    judged = by_h11(octets)
    assert judged is not None
    connection, event, theirs = judged
    assert request == Request(event.method, event.target, list(event.headers), event.http_version)
    assert length == theirs
    assert type(connection.next_event()) is h11.EndOfMessage
    head = write_usual(Response(304, [(b"Date", DATE), (b"ETag", b'"x"')]), last)
    assert connection.send(h11.Response(status_code=304, headers=[(b"Date", DATE), (b"ETag", b'"x"')])) == head
    assert connection.send(h11.EndOfMessage()) == b""
    assert (connection.our_state is h11.DONE) is not last
    return True


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Accept: */*\r\n"])
@pytest.mark.parametrize("follows", [b"", b"GET", POLL])
def test_a_poll_is_usual(more: bytes, follows: bytes) -> None:
    assert assert_same(POLL % more + follows)


@pytest.mark.parametrize(
    "more",
    [
        b"Host: y",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Connection: upgrade",
        b"Expect: 100-continue",
        b" folded",
        b"X: \x00",
        b"X: \xff",
        b"X : y",
        b"Long: " + b"x" * MAX_HEAD,
    ],
)
def test_what_needs_judgement_is_left_to_h11(more: bytes) -> None:
    assert read_usual(bytearray(POLL % (more + b"\r\n"))) is None


@pytest.mark.parametrize("length", range(1, len(POLL)))
def test_a_part_of_a_head_is_not_usual(length: int) -> None:
    whole = POLL % b""
    assert read_usual(bytearray(whole[: min(length, len(whole) - 1)])) is None


@given(_HEADS, st.binary(max_size=20))
def test_whatever_is_read_the_short_way_h11_reads_the_same(head: bytes, follows: bytes) -> None:
    assert_same(head + follows)


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_a_damaged_poll_is_read_as_h11_reads_it(damage: bytes, start: int, stop: int) -> None:
    whole = POLL % b""
    assert_same(whole[:start] + damage + whole[stop:])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [200, 206, 304, 404, 412, 416, 503])
def test_answers_are_written_as_h11_writes_them(status: int, method: bytes, last: bool) -> None:
    octets = (POLL % (b"Connection: close\r\n" if last else b"")).replace(b"GET", method)
    judged = by_h11(octets)
    assert judged is not None
    connection, body = judged[0], b"0123456789"
    connection.next_event()
    if status in (200, 206, 304):
        content_range = b"bytes 0-9/20" if status == 206 else b""
        response = planned(Plan(status, 0, 10, method == b"GET", content_range), b'"x"', b"text/plain", DATE)
    else:
        response, body = refusal(status, DATE, close=False, more=[(b"Retry-After", b"60")])
    theirs = connection.send(h11.Response(status_code=response.status, headers=response.headers)) or b""
    if method == b"GET" and status != 304:
        theirs += connection.send(h11.Data(data=body)) or b""
    theirs += connection.send(h11.EndOfMessage()) or b""
    mine = write_usual(response, last) + (body if method == b"GET" and status != 304 else b"")
    assert mine == theirs
    assert read_usual(bytearray(octets)) is not None
