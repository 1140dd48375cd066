"""Which MACs a client certificate speaks for."""

from typing import Any

import pytest

from autop.certificate import certified_macs
from registry.mac import MacAddress
from tests.autop.examples import MAC

OTHER = MacAddress("0C1105000001")


def subject(*names: str) -> dict[str, Any]:
    return {"subject": ((("organizationName", "0C1105FFFFFF"),), *((("commonName", name),) for name in names))}


def alternative(*names: tuple[str, str]) -> dict[str, Any]:
    return {"subjectAltName": names}


@pytest.mark.parametrize("name", ["0C1105AABBCC", "0c:11:05:aa:bb:cc", "0c1105aabbcc.devices.example", "0C.11.05.AA.BB.CC"])
def test_a_common_name_or_a_dns_name(name: str) -> None:
    assert certified_macs(subject(name)) == {MAC}
    assert certified_macs(alternative(("DNS", name))) == {MAC}


def test_all_names_count() -> None:
    assert certified_macs(subject("gate", "0C1105AABBCC") | alternative(("DNS", "0c1105000001.x"))) == {MAC, OTHER}


@pytest.mark.parametrize(
    "certificate",
    [
        {},
        subject("gate.example"),
        subject("x.0c1105aabbcc"),
        subject("0C1105AABBCC0"),
        subject("0C1105AABBCC\0"),
        subject(""),
        alternative(("URI", "0C1105AABBCC"), ("email", "0C1105AABBCC"), ("IP Address", "0C1105AABBCC")),
    ],
)
def test_everything_else_is_no_mac(certificate: dict[str, Any]) -> None:
    assert certified_macs(certificate) == frozenset()
