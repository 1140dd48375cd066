"""Header lines that were read once: the same object again, nothing secret kept, and a bound on all of it."""

from sip import header_lines
from sip.header_lines import LINES, LONGEST, HeaderLine, header_line, value_of


def read(line: bytes) -> HeaderLine:
    found = header_line(line)
    assert found is not None
    return found


def test_a_line_is_read_once() -> None:
    one = read(b"f: <sip:a@b>;tag=1")
    assert (one.name, one.value) == (b"from", b"<sip:a@b>;tag=1")
    assert read(b"f: <sip:a@b>;tag=1") is one
    assert one.address(b"bad") is one.address(b"bad")
    assert read(b"CSeq: 7 BYE").cseq() == (7, b"BYE")
    assert read(b"l:  12 ").number() == 12
    assert read(b"Content-Length: 1x").number() == header_lines.NO_NUMBER


def test_what_is_no_header_line() -> None:
    assert [header_line(line) for line in (b"", b"From", b" folded: x", b": x", b"Fr om: x", b"\xc3\xa9: x")] == [None] * 6


def test_headers_that_may_come_once_have_a_bit_each() -> None:
    bits = [read(line).single for line in (b"From: x", b"To: x", b"Call-ID: x", b"Via: x", b"Route: x")]
    assert bits[3:] == [0, 0]
    assert len(set(bits[:3])) == 3
    assert all(bit and bit & (bit - 1) == 0 for bit in bits[:3])


def test_secrets_and_branches_are_not_kept() -> None:
    for line in (b"Authorization: Digest response=1", b"Proxy-Authorization: x", b"Via: SIP/2.0/UDP a;branch=z9hG4bK1"):
        assert read(line) is not read(line)
        assert line not in header_lines._kept
    long = b"X-Long: " + b"a" * LONGEST
    assert read(long) is not read(long)


def test_a_flood_of_lines_does_not_grow_the_memory() -> None:
    for number in range(2 * LINES):
        read(b"X-Flood: %d" % number)
        assert len(header_lines._kept) <= LINES


def test_value_of() -> None:
    assert value_of(b"Subject:a") == b"a"
    assert value_of(b"Subject: \t a b \t") == b"a b"
    assert value_of(b"Subject: a\r\n  b") == b"a b"
    assert value_of(b"Subject:") == b""
