"""Versions, fits and lines: what the table allows, and that nothing is guessed where it is silent."""

import pytest

from autop.firmware import (
    ID_DIGITS,
    KEY,
    Offer,
    fault,
    firmware_lines,
    fits,
    image_id,
    is_version,
    offer_for,
    older,
    same,
    told_version,
)
from registry.mac import MacAddress

MAC = MacAddress("0C1105AABBCC")
DIRECTORY = "https://gate.example:8443/autop/mfrggzdfmztwq2lknnwg23tpoa/"


@pytest.mark.parametrize(
    ("agent", "version"),
    [
        ("Akuvox R20B 220.30.2.28", "220.30.2.28"),
        ("Akuvox/220.30.2.28.5 (0C1105AABBCC)", "220.30.2.28.5"),
        ("R29 29.30.10.465", ""),
        ("at 10.0.0.7 Akuvox 220.30.3.1", "220.30.3.1"),
        ("Akuvox", ""),
        ("220.30.3", ""),
        ("1220.30.3.1", ""),
        ("220.30.3.1.2.3", ""),
        ("220.30.3.999999", ""),
        ("x" * 300 + " 220.30.3.1", ""),
        ("\u0662\u0662\u0660.30.3.1", ""),
        ("", ""),
    ],
)
def test_a_version_is_told_only_by_one_of_the_right_number(agent: str, version: str) -> None:
    assert told_version(agent, "220.30.3.1") == version


@pytest.mark.parametrize(
    ("model", "version", "says"),
    [
        ("R29", "29.30.10.465", ""),
        ("r29", "29.30.10.465", ""),
        ("R29", "2915.30.10.510", "begins with 29"),
        ("R29", "29.30.10", "four or five"),
        ("R29", "29.30.10.465\n", "four or five"),
        ("R29C", "29.30.10.465", "no firmware number or file type"),
        ("R28", "28.30.1.1", "no firmware number or file type"),
        ("PORTICO-SIM-DOOR", "1.1.1.1", "no firmware number or file type"),
        ("X9166", "916.30.10.114", "unknown model"),
    ],
)
def test_an_image_is_for_a_model_of_the_table_only(model: str, version: str, says: str) -> None:
    found = fault(model, version)
    assert says in found
    assert bool(found) == bool(says)


def test_a_device_gets_only_an_image_of_its_own_number_and_file_type() -> None:
    assert fits("R29", "R29")
    assert fits("A092", "A094")  # one firmware for both
    assert not fits("R29", "X915")
    assert not fits("R29C", "R29")  # same number, but no source names its file type
    assert not fits("R20", "R20A")
    assert not fits("nothing", "R29")
    assert not fits("R29", "nothing")


def test_versions_are_compared_as_numbers_and_only_of_one_customer() -> None:
    assert older("29.30.9.1", "29.30.10.1")
    assert not older("29.30.10.1", "29.30.10.1")
    assert not older("29.30.1.1", "29.116.2.1")
    assert same("29.30.010.1", "29.30.10.1")
    assert not same("29.30.10.1", "29.30.10.1.1")
    assert is_version("115.116.2.613")
    assert not is_version("29.30.10.465.1.1")


def test_the_lines() -> None:
    offer = offer_for("R29", image_id("ab" * 32))
    assert offer == Offer("ab" * (ID_DIGITS // 2), ".zip")
    lines = firmware_lines("R29", MAC, DIRECTORY, offer)
    assert lines == {KEY: f"{DIRECTORY}0C1105AABBCC-{'ab' * 12}.zip"}
    assert firmware_lines("R29", MAC, DIRECTORY, None) == {KEY: ""}
    assert firmware_lines("R28", MAC, DIRECTORY, offer) == {}
    assert offer_for("R28", "ab" * 12) is None


def test_a_url_that_its_field_does_not_hold_is_left_blank() -> None:
    far = "https://" + "a" * 45 + ".example:8443/autop/mfrggzdfmztwq2lknnwg23tpoa/"
    assert firmware_lines("R29", MAC, far, Offer("ab" * 12, ".zip")) == {KEY: ""}
