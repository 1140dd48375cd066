"""DTMF relay bodies: ours, and those of other makes."""

import pytest

from simulators.dtmf import CONTENT_TYPE, KEYS, pressed_key, relay_body


@pytest.mark.parametrize("key", KEYS)
def test_every_key_there_and_back(key: str) -> None:
    assert pressed_key(CONTENT_TYPE, relay_body(key)) == key


def test_the_body_is_what_devices_send() -> None:
    assert relay_body("#") == b"Signal=#\r\nDuration=160\r\n"


@pytest.mark.parametrize("key", ["", "##", "E", "١", "\n", "a"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="DTMF"):
        relay_body(key)


@pytest.mark.parametrize(
    "body",
    [b"Signal= 5\r\nDuration= 250\r\n", b"signal=5\nDuration=160", b"Signal =5", b"SIGNAL=5\r\n"],
)
def test_other_spellings_of_the_same(body: bytes) -> None:
    assert pressed_key(b"Application/DTMF-Relay; charset=utf-8", body) == "5"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, b"Signal=5\r\n"),
        (b"application/dtmf", b"5"),
        (b"text/plain", b"Signal=5\r\n"),
        (CONTENT_TYPE, b""),
        (CONTENT_TYPE, b"Signal=\r\n"),
        (CONTENT_TYPE, b"Signal=55\r\n"),
        (CONTENT_TYPE, b"Duration=160\r\nSignal=5\r\n"),
        (CONTENT_TYPE, b"Signal=\xd9\xa5\r\n"),
        (CONTENT_TYPE, b"Signal=E\r\n"),
    ],
)
def test_what_says_no_single_key(content_type: bytes | None, body: bytes) -> None:
    assert pressed_key(content_type, body) is None
