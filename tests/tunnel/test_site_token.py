"""The site token: what is read from it, and what is none."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.connector import ConnectorName, private_address
from tunnel.site_token import channel_key, read_site_token, write_site_token

NAME = ConnectorName.of("abcdefghij234567", 12)
SECRET = "aB3" * 13 + "z"


def test_a_token_is_read_as_it_was_written() -> None:
    token = read_site_token(write_site_token(NAME, SECRET))
    assert token is not None
    assert (token.name.id, token.name.number) == ("abcdefghij234567", 12)
    assert token.key == hmac.new(SECRET.encode(), b"portico-connector-key-1", "sha256").digest() == channel_key(SECRET)
    assert SECRET not in repr(token)
    assert repr(token.key) not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "portico_" + SECRET,
        write_site_token(NAME, SECRET) + "\n",
        write_site_token(NAME, SECRET)[:-1],
        write_site_token(NAME, SECRET).upper(),
        write_site_token(NAME, SECRET).replace("aB3", "a\u0661", 1),
    ],
)
def test_everything_else_is_none(text: str) -> None:
    assert read_site_token(text) is None


@pytest.mark.parametrize("secret", ["", "short", SECRET + "x", SECRET[:-1] + "-"])
def test_a_bad_secret_makes_no_token(secret: str) -> None:
    with pytest.raises(ValueError, match="40 letters"):
        write_site_token(NAME, secret)


@given(st.text(max_size=90))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert read_site_token(text) is None


@given(st.one_of(st.ip_addresses(v=4).map(str), st.text(max_size=20)))
def test_an_address_is_private_or_none(text: str) -> None:
    found = private_address(text)
    assert found in ("", text)
    if found:
        assert text.startswith(("10.", "172.", "192.168."))
