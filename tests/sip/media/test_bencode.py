"""Bencoding: what is written is read again, and nothing but NotBencode comes of bad octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.media.bencode import MAX_DEPTH, NotBencode, Value, decode, encode

values: st.SearchStrategy[Value] = st.recursive(
    st.binary(max_size=20) | st.integers(-(10**17), 10**17),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_again(value: Value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60), values)
def test_bad_octets_are_one_error(octets: bytes, value: Value) -> None:
    good = encode(value)
    for data in (octets, good[:-1], good + octets, octets + good, good.replace(b":", octets[:3])):
        try:
            decode(data)
        except NotBencode:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i e",
        b"i-e",
        b"i1",
        b"i+1e",
        b"i1_0e",
        b"i\xc2\xb2e",
        b"5:four",
        b"-1:x",
        b"99999999999999999999:x",
        b"d1:a",
        b"di1e1:ae",
        b"l",
        b"1:ab",
        b"l" * (MAX_DEPTH + 2) + b"e" * (MAX_DEPTH + 2),
        b"l" + b"le" * 20_000 + b"e",
    ],
)
def test_no_value(data: bytes) -> None:
    with pytest.raises(NotBencode):
        decode(data)


def test_keys_are_sorted() -> None:
    assert encode({b"b": 1, b"a": [b"x", -2]}) == b"d1:al1:xi-2ee1:bi1ee"
