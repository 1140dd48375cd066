"""INFO bodies that report keys: all forms read, one form written, nothing that could be read two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.dtmf import CONTENT_TYPE, pressed_key
from sip.dtmf import KEYS, PLAIN, RELAY, Pressed, body_of, pressed, reports_keys


def key(content_type: bytes, body: bytes) -> tuple[str, int] | None:
    found = pressed(content_type, body)
    return None if found is None else (found.key, found.milliseconds)


@pytest.mark.parametrize(
    ("content_type", "body", "found"),
    [
        (RELAY, b"Signal=5\r\nDuration=160\r\n", ("5", 160)),
        (RELAY, b"Signal= 5\r\nDuration= 250\r\n", ("5", 250)),
        (RELAY, b"Duration=100\nsignal =#\n\n", ("#", 100)),
        (RELAY, b"Signal=*", ("*", 160)),
        (RELAY, b"Signal=11\r\nDuration=0\r\n", ("#", 1)),
        (RELAY, b"Signal=a\r\nDuration=99999\r\n", ("A", 5000)),
        (b"Application/DTMF-Relay; charset=utf-8", b"Signal=5", ("5", 160)),
        (PLAIN, b"5", ("5", 160)),
        (PLAIN, b" 10\r\n", ("*", 160)),
        (b"APPLICATION/DTMF", b"d", ("D", 160)),
        (RELAY, b"", None),
        (RELAY, b"Signal=\r\n", None),
        (RELAY, b"Signal=55\r\n", None),
        (RELAY, b"Signal=5\r\nSignal=6\r\n", None),
        (RELAY, b"Signal=5\r\nDuration=*\r\n", None),
        (RELAY, b"Signal=5\r\nand more\r\n", None),
        (RELAY, b"Signal=5\r\n" + b"\r\n" * 200, None),
        (RELAY, "Signal=٥".encode(), None),
        (PLAIN, b"", None),
        (PLAIN, b"55", None),
        (PLAIN, b"5 6", None),
        (PLAIN, "٥".encode(), None),
        (b"application/telephone-event", b"5", None),
        (b"text/plain", b"Signal=5", None),
    ],
)
def test_what_is_read(content_type: bytes, body: bytes, found: tuple[str, int] | None) -> None:
    assert key(content_type, body) == found


@pytest.mark.parametrize(
    ("content_type", "reports"),
    [
        (RELAY, True),
        (PLAIN, True),
        (b"audio/telephone-event", True),
        (b"Application/vnd.acme.DTMF", True),
        (b"application/media_control+xml", False),
        (b"application/sdp", False),
        (b"", False),
    ],
)
def test_which_bodies_report_keys(content_type: bytes, reports: bool) -> None:
    assert reports_keys(content_type) is reports


@pytest.mark.parametrize("form", [RELAY, PLAIN])
@pytest.mark.parametrize("one", KEYS)
def test_every_key_in_every_form_there_and_back(one: str, form: bytes) -> None:
    assert key(form, body_of(Pressed(one), form)) == (one, 160)


@pytest.mark.parametrize("one", KEYS)
def test_a_device_understands_what_is_written(one: str) -> None:
    assert pressed_key(CONTENT_TYPE, body_of(Pressed(one), RELAY)) == one


@given(st.binary(max_size=300), st.sampled_from([RELAY, PLAIN, b"application/telephone-event"]))
def test_any_body_is_read_as_one_key_or_none(body: bytes, form: bytes) -> None:
    found = pressed(form, body)
    if found is not None:
        assert found.key in KEYS
        assert 1 <= found.milliseconds <= 5000
        assert key(form, body_of(found, form)) == (found.key, found.milliseconds if form == RELAY else 160)
