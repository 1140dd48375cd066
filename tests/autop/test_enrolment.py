"""Enrolment's core: tokens fit only their window, device and time; the table of who may enrol; what tells two places apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.cfg_format import MAX_URL
from autop.enrolment import PREFIX, bootstrap, fits, network, one_time_token, verdict
from autop.identify import BootstrapFile, identify
from autop.observer import Reason
from registry.enrolment import Enrolment, EnrolmentWindow
from registry.mac import MacAddress
from tests.autop.examples import MAC, SETTINGS

HERE, THERE = "192.0.2.7", "198.51.100.9"
TOKENS = st.binary(min_size=20, max_size=20)


def test_the_url_fits_the_field_of_a_device() -> None:
    """127 characters hold a host name of 67 characters with either token."""
    settings = replace(SETTINGS, autop_url=f"https://{'a' * 59}.example:65535/autop")
    for token in ("a" * 32, PREFIX + "a" * 32):
        assert len(settings.directory(token)) <= MAX_URL
    assert len(bootstrap(settings, MAC, "a" * 32)) < 400


@given(TOKENS, TOKENS, st.integers(0, 2**48 - 1), st.floats(0, 2_000_000_000))
def test_tokens_fit_only_their_window_device_and_time(mine: bytes, other: bytes, number: int, now: float) -> None:
    mac = MacAddress(f"{number:012X}")
    ours = PREFIX.encode() + mine
    token = one_time_token(ours, mac, now + 900.0)
    assert identify(f"/autop/{token}/{mac}.cfg".encode()) == BootstrapFile(token, mac)
    assert fits(token, ours, mac, now)
    assert not fits(token, ours, mac, now + 900.0)
    assert not fits(token, ours, MacAddress(f"{number ^ 1:012X}"), now)
    if other != mine:
        assert not fits(token, PREFIX.encode() + other, mac, now)
    assert not fits(token[:-1] + ("a" if token[-1] != "a" else "b"), ours, mac, now)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz234567AZ-_0189", max_size=64))
def test_no_text_breaks_the_comparison(text: str) -> None:
    assert not fits(PREFIX + text, b"enrol-secret", MAC, 1.0)


def test_the_grammar() -> None:
    token = PREFIX + "a" * 32
    assert identify(f"/autop/{token}//0c:11:05:aa:bb:cc.CFG".encode()) == BootstrapFile(token, MAC)
    assert identify(f"/autop/{token}/{MAC}.xml".encode()) is None
    assert identify(f"/autop/{token}/{MAC}-{'0' * 24}.rom".encode()) is None
    assert token not in repr(BootstrapFile(token, MAC))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_what_tells_one_place_from_another(peer: str, expected: str) -> None:
    assert network(peer) == expected


WINDOW = EnrolmentWindow("w", "s-1", "me", 100.0, 200.0, b"")
OWN = replace(WINDOW, mac=MAC)
GIVEN = Enrolment(MAC, "s-1", "w", HERE, 110.0)
EARLIER = replace(GIVEN, window="before")


@pytest.mark.parametrize(
    ("window", "known", "has_fetched", "now", "reason"),
    [
        (WINDOW, None, False, 100.0, Reason.NONE),
        (WINDOW, None, False, 200.0, Reason.ENROL_OVER),
        (WINDOW, None, False, 99.0, Reason.ENROL_OVER),
        (WINDOW, None, True, 150.0, Reason.ENROL_DONE),
        (OWN, None, True, 150.0, Reason.NONE),
        (WINDOW, GIVEN, False, 150.0, Reason.NONE),
        (WINDOW, replace(GIVEN, address=THERE), False, 150.0, Reason.ENROL_SECOND_ADDRESS),
        (OWN, replace(GIVEN, address=THERE), False, 150.0, Reason.ENROL_SECOND_ADDRESS),
        (WINDOW, replace(GIVEN, confirmed=120.0), False, 150.0, Reason.ENROL_DONE),
        (OWN, replace(GIVEN, confirmed=120.0), True, 150.0, Reason.ENROL_DONE),
        (WINDOW, replace(EARLIER, confirmed=120.0), False, 150.0, Reason.ENROL_DONE),
        (OWN, replace(EARLIER, confirmed=120.0), True, 150.0, Reason.NONE),
        (WINDOW, replace(EARLIER, address=THERE), False, 150.0, Reason.NONE),
    ],
)
def test_the_table_of_verdicts(
    window: EnrolmentWindow, known: Enrolment | None, has_fetched: bool, now: float, reason: Reason
) -> None:
    assert verdict(window, known, has_fetched=has_fetched, address=HERE, now=now) is reason
