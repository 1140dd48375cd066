"""Character tables and scanners: what the ABNF allows, what it does not, and that nothing is quadratic."""

import time

import pytest

from sip import grammar


@pytest.mark.parametrize("text", [b"INVITE", b"!interesting-Method0123456789_*+`.%indeed'~", b"0"])
def test_token(text: bytes) -> None:
    assert grammar.is_token(text)


@pytest.mark.parametrize("text", [b"", b"a b", b"a:b", b"a\0", b"\xc3\xa9", b"(x)", b"To\x0b", b"a\n", b'"a"', b"a/b"])
def test_not_a_token(text: bytes) -> None:
    assert not grammar.is_token(text)


@pytest.mark.parametrize(("text", "value"), [(b"0", 0), (b"0068", 68), (b"255", 255), (b"0" * 400 + b"7", 7)])
def test_decimal(text: bytes, value: int) -> None:
    assert grammar.decimal(text, 255) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"256", b"-1", b"+1", b"1_0", b" 1", b"1 ", b"1\n", b"1.0", b"1e2", b"0x1", b"\xb2", "１".encode(), b"9" * 5000],
)
def test_not_a_decimal(text: bytes) -> None:
    assert grammar.decimal(text, 255) == -1


def test_unfold() -> None:
    assert grammar.unfold(b"a\r\n b \t\r\n\t  c") == b"a b c"
    assert grammar.unfold(b"plain  text") == b"plain  text"


@pytest.mark.parametrize(
    ("text", "end"),
    [(b'"a"', 3), (b'"a\\"b" x', 6), (b'""', 2), (b'"\\\\"', 4), (b'"a', -1), (b'"a\\"', -1), (b'"\\', -1)],
)
def test_quoted_end(text: bytes, end: int) -> None:
    assert grammar.quoted_end(text, 0) == end


def test_unquote() -> None:
    assert grammar.unquote(b'"a\\"b\\\\c"') == b'a"b\\c'
    assert grammar.unquote(b'"plain"') == b"plain"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a, b ,\tc", [b"a", b"b", b"c"]),
        (b",a,,b,", [b"a", b"b"]),
        (b'"x, y" <sip:a@b>, <sip:c,d@e>', [b'"x, y" <sip:a@b>', b"<sip:c,d@e>"]),
        (b'"x\\", y" <sip:a@b>,c', [b'"x\\", y" <sip:a@b>', b"c"]),
        (b'a, "never closed, b', [b"a", b'"never closed, b']),
        (b"a, <never closed, b", [b"a", b"<never closed, b"]),
    ],
)
def test_split_list(value: bytes, parts: list[bytes]) -> None:
    assert grammar.split_list(value) == parts
    comma = grammar.first_comma(value)
    if len(parts) > 1 and not value.startswith(b","):
        assert value[:comma].strip() == parts[0]


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"To: a\r\nFrom: b", False),
        (b"To: a\tb", False),
        (b'To: "\\\x00\\\x07\\\x7f" <sip:a@b>', False),
        (b'To: "\x00" <sip:a@b>', True),
        (b"To: \\\x00", True),
        (b"To: a\nFrom: b", True),
        (b"To: a\rFrom: b", True),
        (b'To: "\\\n"', True),
        (b'To: "\\\r"', True),
        (b'To: "open \x00', True),
        (b'To: "open', False),
        (b"To: a\x0bb", True),
        (b"To: a\x7f", True),
        (b'A: "\\\x00"\r\nB: \x00', True),
        (b"To: caf\xc3\xa9 \x85 \xa0", False),
    ],
)
def test_has_bare_control(head: bytes, found: bool) -> None:
    assert grammar.has_bare_control(head) is found


@pytest.mark.parametrize("piece", [b"<", b'"', b'\\"', b",", b'",', b"<,", b'"\\', b"\r\n ", b"<>,", b'"",'])
def test_scanners_are_linear(piece: bytes) -> None:
    """64 KiB of any separator in far less than the 50 ms that a whole message may take (S05); quadratic code needs seconds."""
    text = piece * (65536 // len(piece))
    started = time.process_time()
    grammar.split_list(text)
    grammar.first_comma(text)
    grammar.has_bare_control(text)
    grammar.unfold(text)
    grammar.quoted_end(b'"' + text, 0)
    assert time.process_time() - started < 0.5
