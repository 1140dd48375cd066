"""A site with devices on a running gateway, added through the admin API as a distributor would, and the secrets it answers."""

from dataclasses import dataclass

from tests.system.peers import RunningGateway
from tests.system.sipp_load import SipUser

LIBRARY_BATCH = 250
"""MACs in one request to the MAC library (its own bound)."""


@dataclass(frozen=True, slots=True, repr=False)
class AddedDevice:
    """What only the answer to the first PUT says: the SIP account, and the folder its configuration is fetched from."""

    mac: str
    username: str
    password: str
    autop_url: str


def add_site(gateway: RunningGateway, name: str) -> str:
    """The id of a new site."""
    return str(gateway.ask("POST", "/sites", {"name": name})["id"])


def add_devices(gateway: RunningGateway, site: str, count: int, *, first: int = 1) -> list[AddedDevice]:
    """Put `count` door phones into the MAC library and the site. `first` tells the MACs of several calls apart."""
    macs = [f"0C1105{number:06X}" for number in range(first, first + count)]
    for start in range(0, count, LIBRARY_BATCH):
        items = [{"mac": mac, "site": site} for mac in macs[start : start + LIBRARY_BATCH]]
        gateway.ask("POST", "/mac-library", {"items": items})
    return [_add_device(gateway, site, mac) for mac in macs]


def _add_device(gateway: RunningGateway, site: str, mac: str) -> AddedDevice:
    added = gateway.ask("PUT", f"/devices/{mac}", {"site": site, "kind": 0, "model": "R29", "name": f"Gate {mac[-6:]}"})
    return AddedDevice(mac, added["account"]["username"], added["account"]["password"], added["autop_url"])


def each_calls_the_next(devices: list[AddedDevice]) -> list[SipUser]:
    """The devices as SIPp users, each calling the next one's account, the last calling the first."""
    targets = [*devices[1:], *devices[:1]]
    return [SipUser(one.username, one.password, target.username) for one, target in zip(devices, targets, strict=True)]
