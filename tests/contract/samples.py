"""Records that the contract tests write."""

from registry.mac import MacAddress
from registry.records import Device, DeviceKind, Site

SURROGATE = "\ud800"
"""A lone surrogate: text that UTF-8 cannot spell, as surrogateescape makes it of wire bytes."""
SMALL_LOG = 5
"""Changes that a `forgetful` store keeps."""


def site(id_: str, name: str = "") -> Site:
    return Site(id_, name or id_)


def device(serial: int, *, account: str = "", id_: str = "", site: str = "s") -> Device:
    mac = MacAddress(f"0C1105{serial:06X}")
    return Device(
        mac,
        id_ or f"id-{serial}",
        site,
        DeviceKind.INDOOR_MONITOR,
        "X933",
        "Monitor",
        account or f"account-{serial}",
        b"\x00token",
        b"key",
        b"password",
    )
