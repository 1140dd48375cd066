"""TFTP packets: the requests of real clients, and everything else that may come to the port."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.tftp_packets import (
    MAX_REQUEST,
    Ack,
    ErrorCode,
    Mode,
    PeerError,
    ReadRequest,
    Rejected,
    data,
    error,
    netascii,
    oack,
    parse_reply,
    parse_request,
)

RRQ = b"\0\1"


def request(*fields: bytes, opcode: bytes = RRQ) -> ReadRequest | Rejected | None:
    return parse_request(opcode + b"".join(field + b"\0" for field in fields))


def options(*fields: bytes) -> tuple[tuple[bytes, int], ...]:
    parsed = request(b"f", b"octet", *fields)
    assert isinstance(parsed, ReadRequest)
    return parsed.options


def test_plain_requests() -> None:
    assert request(b"autop/t/0C1105AABBCC.cfg", b"octet") == ReadRequest(b"autop/t/0C1105AABBCC.cfg", Mode.OCTET)
    assert request(b"f", b"NetASCII") == ReadRequest(b"f", Mode.NETASCII)


def test_options_have_any_case_and_come_once() -> None:
    assert options(b"BlkSize", b"1428", b"tsize", b"0", b"blksize", b"9") == ((b"blksize", 1428), (b"tsize", 0))


@pytest.mark.parametrize("value", [b"", b"2.0", b"-1", b"+5", b" 5", b"0x10", b"5 ", "٥".encode(), b"1" * 13, b"1_0"])
def test_a_value_that_is_no_number_is_as_if_it_had_not_been_asked_for(value: bytes) -> None:
    assert options(b"timeout", value, b"tsize", b"0") == ((b"tsize", 0),)


def test_a_flood_of_options_is_bounded() -> None:
    assert len(options(*[b"%d" % (at // 2) for at in range(120)])) == 16


def test_what_is_refused() -> None:
    assert request(b"f", b"octet", opcode=b"\0\2") == Rejected(ErrorCode.ACCESS_VIOLATION, "Access violation", "write")
    for mode in (b"mail", b"", b"binary"):
        rejected = request(b"someone@example.com", mode)
        assert isinstance(rejected, Rejected)
        assert (rejected.code, rejected.why) == (ErrorCode.ILLEGAL_OPERATION, "mode")


@pytest.mark.parametrize(
    "datagram",
    [
        RRQ,
        RRQ + b"f",
        RRQ + b"f\0",
        RRQ + b"f\0octet",
        RRQ + b"\0octet\0",
        RRQ + b"f\0octet\0tsize\0",
        RRQ + b"f\0octet\0tsize\0001",
    ],
)
def test_malformed_requests_are_told_so(datagram: bytes) -> None:
    rejected = parse_request(datagram)
    assert isinstance(rejected, Rejected)
    assert rejected.why == "malformed"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\0",
        b"\0\3\0\1x",
        b"\0\4\0\1",
        b"\0\5\0\1no\0",
        b"\0\6tsize\0001\0",
        b"\0\7",
        b"GET / HTTP/1.1",
        RRQ + b"f" * MAX_REQUEST,
    ],
)
def test_noise_and_errors_get_no_answer(datagram: bytes) -> None:
    assert parse_request(datagram) is None


def test_replies() -> None:
    assert parse_reply(b"\0\4\xff\xff") == Ack(65535)
    assert parse_reply(b"\0\5\0\0gone\0") == PeerError()
    for noise in (b"", b"\0\4\0", b"\0\4\0\1\0", b"\0\3\0\1x", b"\0\1f\0octet\0", b"\0\6"):
        assert parse_reply(noise) is None


def test_what_is_sent() -> None:
    assert data(1, b"abc") == b"\0\3\0\1abc"
    assert data(65536, b"") == b"\0\3\0\0"
    assert oack(((b"blksize", 1428), (b"tsize", 0))) == b"\0\6blksize\x001428\0tsize\x000\0"
    assert error(ErrorCode.NOT_FOUND, "File not found") == b"\0\5\0\1File not found\0"


def test_netascii() -> None:
    assert netascii(b"a\nb\r\nc\r") == b"a\r\nb\r\0\r\nc\r\0"


def test_no_token_in_what_is_printed() -> None:
    assert "secret" not in repr(request(b"autop/secret/x.cfg", b"octet"))


@given(st.binary(max_size=600))
def test_anything_is_read_or_refused(datagram: bytes) -> None:
    for prefix in (b"", RRQ, b"\0\4", b"\0\5"):
        parse_request(prefix + datagram)
        parse_reply(prefix + datagram)


_WORD = st.binary(min_size=1, max_size=20).filter(lambda word: b"\0" not in word)


@given(_WORD, st.sampled_from(Mode), st.dictionaries(_WORD.map(bytes.lower), st.integers(0, 10**12 - 1), max_size=5))
def test_what_a_client_writes_is_what_is_read(name: bytes, mode: Mode, asked: dict[bytes, int]) -> None:
    fields = [part for option, value in asked.items() for part in (option, b"%d" % value)]
    assert request(name, mode.value.encode(), *fields) == ReadRequest(name, mode, tuple(asked.items()))
