"""The model table: what it says of models that break the rules, and what it does not guess."""

import pytest

from autop import catalogue
from autop.errors import UnknownModel
from registry.records import DeviceKind


@pytest.mark.parametrize(
    ("name", "firmware", "common", "extension"),
    [
        ("R20", 20, "r000000000020", ".rom"),
        ("R20A", 320, "r000000000020P", ".rom"),
        ("R26", None, "r000000000026P", ".rom"),
        ("R28SV823", 228, "r000000000028", ".rom"),
        ("R29", 29, "r000000000029", ".zip"),
        ("DB01", 201, "r0000000000201P", ".rom"),
        ("X916", 916, "r000000000916", ".zip"),
        ("X937", 937, "r000000000933", ".zip"),
        ("C310", 310, "r000000000062", ".rom"),
        ("R67", 67, "", ".rom"),
        ("A094", 92, "r000000000092", ".rom"),
    ],
)
def test_rows_read_off_the_table(name: str, firmware: int | None, common: str, extension: str) -> None:
    row = catalogue.model(name)
    assert (row.firmware, row.common_file, row.extension) == (firmware, common, extension)


def test_every_common_name_is_r_and_12_digits_but_for_db01() -> None:
    odd = [name for name in catalogue.COMMON_FILES if len(name.removesuffix("P")) != 13]
    assert odd == ["r0000000000201P"]


def test_only_our_own_models_have_a_channel() -> None:
    with_channel = [row.name for row in catalogue.CATALOGUE.values() if row.has_channel]
    assert with_channel == ["PORTICO-SIM-DOOR", "PORTICO-SIM-MONITOR"]


def test_every_kind_has_a_profile_and_a_model() -> None:
    assert set(catalogue.PROFILES) == set(DeviceKind)
    assert set(catalogue.known_models().values()) == set(DeviceKind)


def test_names_are_found_whatever_their_case_and_strangers_are_named() -> None:
    assert catalogue.model("r20a").name == "R20A"
    with pytest.raises(UnknownModel) as unknown:
        catalogue.model("X9166")
    assert "X916" in unknown.value.nearest


def test_firmware_is_offered_by_its_number_only() -> None:
    assert catalogue.firmware_fits(catalogue.model("R29"), "29.30.10.239")
    assert not catalogue.firmware_fits(catalogue.model("R29"), "2915.30.10.510")
    assert not catalogue.firmware_fits(catalogue.model("R29"), "129.30.10.1")
    assert not catalogue.firmware_fits(catalogue.model("E10"), "110.0.0.1")
