"""base64url: what Python's own decoder lets pass and we do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.base64url import decode, encode


@given(st.binary(min_size=1, max_size=100))
def test_there_and_back(value: bytes) -> None:
    text = encode(value)
    assert decode(text) == value
    assert not set(text) & set(b"=+/")


@pytest.mark.parametrize("text", [b"", b"A", b"AAAAA", b"AA==", b"A+/A", b"AA AA", b"AAAA\n", b"\xffAAA", b"AA.A"])
def test_what_is_none(text: bytes) -> None:
    assert decode(text) is None


@given(st.binary(max_size=60))
def test_noise_raises_nothing(text: bytes) -> None:
    found = decode(text)
    assert found is None or encode(found)[:-1] == text[:-1]
