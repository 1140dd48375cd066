"""Request targets: what a device may ask for, and that every other one is the same refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.identify import CommonFile, FirmwareFile, MacFile, OwnFile, PhonebookFile, identify
from registry.mac import MacAddress
from tests.autop.examples import MAC, TOKEN

HERE = f"/autop/{TOKEN}/"


@pytest.mark.parametrize(
    "name",
    [
        "0C1105AABBCC.cfg",
        "0c1105aabbcc.cfg",
        "0C1105AABBCC.CFG",
        "0C:11:05:AA:BB:CC.cfg",
        "0c-11-05-aa-bb-cc.cfg",
        "0C.11.05.AA.BB.CC.cfg",
        "0c11.05aa.bbcc.cfg",
        "0C%3A11%3a05%3AAA%3ABB%3ACC.cfg",
        "0C%2011%2005%20AA%20BB%20CC.cfg",
        "%30C1105AABBCC.cfg",
        "/0C1105AABBCC.cfg",
    ],
)
def test_every_spelling_of_a_mac(name: str) -> None:
    assert identify((HERE + name).encode()) == MacFile(TOKEN, MAC)


@pytest.mark.parametrize("name", ["0C1105AABBCC.xml", "0c:11:05:aa:bb:cc.XML"])
def test_a_devices_phonebook(name: str) -> None:
    assert identify((HERE + name).encode()) == PhonebookFile(TOKEN, MAC)


IMAGE = "0123456789abcdef01234567"


@pytest.mark.parametrize("name", [f"0C1105AABBCC-{IMAGE}.zip", f"0c1105aabbcc-{IMAGE.upper()}.ZIP"])
def test_a_devices_firmware(name: str) -> None:
    assert identify((HERE + name).encode()) == FirmwareFile(TOKEN, MAC, IMAGE, ".zip")


@pytest.mark.parametrize(
    "name",
    [
        f"{IMAGE}.zip",
        f"0C1105AABBCC-{IMAGE}.cfg",
        f"0C1105AABBCC-{IMAGE}0.rom",
        f"0C1105AABBCC-{IMAGE[1:]}.rom",
        f"0C1105AABBCG-{IMAGE}.rom",
        f"0C:11:05:AA:BB:CC-{IMAGE}.rom",
        f"0C1105AABBCC-{IMAGE}.rom/",
        f"0C1105AABBCC%2D{IMAGE}.rom",
        "0C1105AABBCC-../../../master.key",
    ],
)
def test_no_other_firmware_exists(name: str) -> None:
    assert identify((HERE + name).encode()) is None


@pytest.mark.parametrize(
    "name", ["r000000000029.xml", "0C1105AABBCC.xm", "0C1105AABBCC.xml.cfg", "contacts.xml", "0C1105AABB.xml"]
)
def test_no_other_xml_exists(name: str) -> None:
    assert identify((HERE + name).encode()) is None


@pytest.mark.parametrize(
    "target", ["/autop/0c:11:05:aa:bb:cc.cfg", "/autop//0C1105AABBCC.CFG", "http://x/autop/0c1105aabbcc.cfg"]
)
def test_a_configuration_without_a_token(target: str) -> None:
    assert identify(target.encode()) == OwnFile(MAC)


def test_the_absolute_form_of_a_target() -> None:
    assert identify(f"https://gate.example:8443{HERE}0C1105AABBCC.cfg".encode()) == MacFile(TOKEN, MAC)
    assert identify(f"HTTP://[2001:db8::1]:80{HERE}0C1105AABBCC.cfg".encode()) == MacFile(TOKEN, MAC)


@pytest.mark.parametrize(
    ("name", "common"),
    [
        ("r000000000029.cfg", "r000000000029"),
        ("R0000000000201p.CFG", "r0000000000201P"),
        ("r000000000020P.cfg", "r000000000020P"),
    ],
)
def test_common_files(name: str, common: str) -> None:
    assert identify((HERE + name).encode()) == CommonFile(TOKEN, common)


HOSTILE = [
    "/",
    "",
    "*",
    "/autop",
    "/autop/",
    f"/autop/{TOKEN}",
    HERE,
    "/autop/0C1105AABBCC.xml",
    f"/autop/0C1105AABBCC-{IMAGE}.rom",
    "/autop/r000000000029.cfg",
    "/autop///0C1105AABBCC.cfg",
    "/autop/x/0C1105AABBCC.cfg",
    "/0C1105AABBCC.cfg",
    f"/AUTOP/{TOKEN}/0C1105AABBCC.cfg",
    f"/autop/{TOKEN}///0C1105AABBCC.cfg",
    f"//autop/{TOKEN}/0C1105AABBCC.cfg",
    f"/autop/../autop/{TOKEN}/0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/../{TOKEN}/0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/..%2f0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/%2e%2e%2fetc%2fpasswd",
    f"/autop/{TOKEN}/..%5c..%5c0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/....//....//etc/passwd",
    f"/autop/{TOKEN}/%252e%252e%252f0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/0C1105AABBCC%00.cfg",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg%00",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg%0a",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg\n",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg%0d%0aX: y",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg ",
    f"/autop/{TOKEN}/ 0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg?",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg?a=b",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg#x",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg/",
    f"/autop/{TOKEN}/0C1105AABBCC",
    f"/autop/{TOKEN}/0C1105AABBCC.cfg.cfg",
    f"/autop/{TOKEN}/0C1105AABBC.cfg",
    f"/autop/{TOKEN}/0C1105AABBCCD.cfg",
    f"/autop/{TOKEN}/0C1105AABBCG.cfg",
    f"/autop/{TOKEN}/0C:11-05:AA:BB:CC.cfg",
    f"/autop/{TOKEN}/0C%1105AABBCC.cfg",
    f"/autop/{TOKEN}/0C%3:1105AABBCC.cfg",
    f"/autop/{TOKEN}/%30%43%31%31%30%35%41%41%42%42%43%43.rom",
    f"/autop/{TOKEN}/０Ｃ１１０５ＡＡＢＢＣＣ.cfg",
    f"/autop/{TOKEN}/%EF%BC%90C1105AABBCC.cfg",
    f"/autop/{TOKEN}/%C0%AE%C0%AE%C0%AF0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/\u0660C1105AABBCC.cfg",
    f"/autop/{TOKEN}/r000000000999.cfg",
    f"/autop/{TOKEN}/r29.cfg",
    f"/autop/{TOKEN}/{'A' * 300}.cfg",
    "/autop/" + "t" * 300 + "/0C1105AABBCC.cfg",
    "/autop/" + "t" * 65 + "/0C1105AABBCC.cfg",
    "/autop/short/0C1105AABBCC.cfg",
    f"/autop/{TOKEN}%2f0C1105AABBCC.cfg",
    f"/autop/{TOKEN[:-1]}\u0130/0C1105AABBCC.cfg",
    "/autop/%00000000000000000000/0C1105AABBCC.cfg",
    f"http://user:pw@gate.example{HERE}0C1105AABBCC.cfg",
    f"ftp://gate.example{HERE}0C1105AABBCC.cfg",
    f"/%61utop/{TOKEN}/0C1105AABBCC.cfg",
    f"/autop/{TOKEN}/con.cfg",
    f"/autop/{TOKEN}/.cfg",
    f"/autop/{TOKEN}/%.cfg",
    f"/autop/{TOKEN}/%%%%%%%%%%%%.cfg",
]


@pytest.mark.parametrize("target", HOSTILE, ids=range(len(HOSTILE)))
def test_everything_else_is_one_refusal(target: str) -> None:
    assert identify(target.encode()) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_a_file(target: bytes) -> None:
    assert identify(target) is None


@given(st.text("0123456789abcdefABCDEF:.-% /cg", max_size=30))
def test_a_name_is_a_mac_in_a_known_spelling_or_nothing(name: str) -> None:
    found = identify(f"{HERE}{name}.cfg".encode())
    if found is not None:
        assert isinstance(found, MacFile)
        assert MacAddress.parse(str(found.mac)) == found.mac


@pytest.mark.parametrize(("extra", "read"), [(0, True), (1, False)])
def test_the_longest_parts_that_are_read(extra: int, read: bool) -> None:
    escaped = "%30%43%31%31%30%35%41%41%42%42%43%43%2E%63%66%67"
    assert (identify(f"/autop/{'t' * (64 + extra)}/{escaped}".encode()) is not None) is read
    assert (identify(f"/autop/{'t' * (16 - extra)}/{escaped}".encode()) is not None) is read
    assert (identify(f"https://{'h' * (120 + extra)}/autop/{TOKEN}/{escaped}".encode()) is not None) is read


def test_no_token_in_a_repr() -> None:
    assert TOKEN not in repr(identify(f"{HERE}0C1105AABBCC.cfg".encode()))
