"""Header names."""

import pytest

from sip import headers


@pytest.mark.parametrize("raw", [b"To", b"to", b"TO", b"t", b"T", b"tO", b"To ", b"To\t ", b"T "])
def test_every_spelling_of_to(raw: bytes) -> None:
    assert headers.canonical(raw) == b"to"


@pytest.mark.parametrize(
    "raw", [b"", b" ", b" To", b"To\x0b", b"To\0", b"T o", b"To\xc2\xa0", b"To\x85", b"\xd0\xa2o", b"To\r", b"To\x1c", b"(To)"]
)
def test_what_is_no_name(raw: bytes) -> None:
    assert headers.canonical(raw) == b""


def test_unknown_names_are_lower_case_and_do_not_become_known() -> None:
    assert headers.canonical(b"X-Door-Relay") == b"x-door-relay"
    assert headers.canonical(b"C%6Fntact") == b"c%6fntact"


def test_compact_forms_name_headers_that_have_a_wire_spelling() -> None:
    for letter, name in headers.COMPACT.items():
        assert len(letter) == 1
        assert headers.SPELLINGS[letter] == headers.SPELLINGS[letter.upper()] == name
        assert headers.WIRE[name].lower() == name


def test_tables_hold_canonical_names_only() -> None:
    assert set(headers.SPELLINGS.values()) == set(headers.WIRE)
    assert set(headers.WIRE) >= headers.LISTS
    assert set(headers.WIRE) >= headers.SINGLE
    assert not headers.LISTS & headers.SINGLE


def test_wire_names() -> None:
    assert headers.wire_name(b"call-id") == b"Call-ID"
    assert headers.wire_name(b"www-authenticate") == b"WWW-Authenticate"
    assert headers.wire_name(b"x-door-relay") == b"X-Door-Relay"
