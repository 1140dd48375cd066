"""What is remembered by target, and what ends it."""

import gc

import pytest

from autop.fingerprint import strong_etag
from autop.identify import Asked, MacFile, PhonebookFile
from autop.net.configurations import Configurations, File
from autop.net.known_files import KnownFiles
from registry.mac import MacAddress
from registry.store import Change
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN

TARGET = f"/autop/{TOKEN}/{MAC}.cfg".encode()
ASKED = MacFile(TOKEN, MAC)
OTHER = MacAddress("0C1105AABBCD")


def a_file(mac: MacAddress = MAC, *, lasting: bool = True) -> File:
    return File(mac, b"body", strong_etag(b"body"), lasting=lasting)


def knowing(*files: tuple[bytes, File]) -> KnownFiles:
    known = KnownFiles()
    for target, file in files:
        known.put(target, MacFile(TOKEN, file.mac), file, known.changes)
        assert known.get(target) is file
    return known


def test_only_the_exact_target_is_known() -> None:
    file = a_file()
    known = knowing((TARGET, file))
    assert known.get(TARGET.replace(b"mfr", b"mfs")) is None
    assert known.get(TARGET + b" ") is None
    assert known.get(TARGET.lower()) is None


@pytest.mark.parametrize(
    ("asked", "lasting"),
    [(ASKED, False), (PhonebookFile(TOKEN, MAC), True), (MacFile("", MAC), True), (MacFile("short", MAC), True), (None, True)],
)
def test_what_may_change_unseen_or_needs_more_proof_is_not_remembered(asked: Asked | None, lasting: bool) -> None:
    known, file = KnownFiles(), a_file(lasting=lasting)
    known.put(TARGET, asked, file, known.changes)
    assert known.get(TARGET) is None


def test_a_change_while_it_was_looked_for_counts() -> None:
    known, file = KnownFiles(), a_file()
    before = known.changes
    known.changed(Change(1, "Device", MAC.text, False))
    known.put(TARGET, ASKED, file, before)
    assert known.get(TARGET) is None


@pytest.mark.parametrize("kind", ["Device", "Account", "Site", "AutopCommands", "SiteRoster", "FirmwareImage", "SomethingNew"])
def test_a_change_of_what_could_be_in_any_file_ends_all(kind: str) -> None:
    one, two = a_file(), a_file(OTHER)
    known = knowing((TARGET, one), (b"/other", two))
    known.changed(Change(1, kind, "whatever", False))
    assert known.get(TARGET) is None
    assert known.get(b"/other") is None


@pytest.mark.parametrize(("kind", "key"), [("OneTimeAutop", MAC.text), ("DeviceUpgrade", f"u1/{MAC}")])
def test_a_change_of_one_device_ends_its_own(kind: str, key: str) -> None:
    one, two = a_file(), a_file(OTHER)
    known = knowing((TARGET, one), (b"/other", two))
    known.changed(Change(1, kind, key, False))
    assert known.get(TARGET) is None
    assert known.get(b"/other") is two


@pytest.mark.parametrize("kind", ["AorBindings", "DeviceFetches", "FetchedFile", "AuditEntry"])
def test_what_is_in_no_file_ends_nothing(kind: str) -> None:
    file = a_file()
    known = knowing((TARGET, file))
    known.changed(Change(1, kind, MAC.text, False))
    assert known.get(TARGET) is file
    known.clear()
    assert known.get(TARGET) is None


def test_one_target_for_each_device_and_none_for_a_file_that_is_gone() -> None:
    file = a_file()
    known = knowing((TARGET, file), (b"/again", file))
    assert known.get(TARGET) is None
    del file
    gc.collect()
    assert known.get(b"/again") is None


async def test_files_of_configurations_are_lasting_but_for_one_time_files() -> None:
    vault = examples.vault()
    configurations = Configurations(read_model=examples.small_site(vault), vault=vault, settings=examples.SETTINGS)
    found = await configurations.find(ASKED)
    assert isinstance(found, File)
    assert found.lasting
