"""Allowed networks, and that PnP gives URLs to devices of the MAC library only."""

import pytest

from gateway.config import PRIVATE_NETWORKS
from gateway.networks import Allowed
from gateway.on_site import LibraryDevices
from registry.errors import StoreUnavailable
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import LibraryMac
from registry.store import Put

LISTED, OTHER = MacAddress("0C1105AABBCC"), MacAddress("0C1105AABBCD")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.255.0.1", "172.31.9.9", "192.168.1.50", "169.254.3.4", "fe80::1%eth0", "fd00::1", "::1"]
)
def test_private_addresses_are_answered(host: str) -> None:
    assert Allowed(PRIVATE_NETWORKS)(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "172.32.0.1", "11.0.0.1", "2001:db8::1", "224.0.1.75", "0.0.0.0"])
def test_others_are_not(host: str) -> None:
    allowed = Allowed(PRIVATE_NETWORKS)
    assert not allowed(host)
    assert not allowed(host)


class Enrolment:
    """Gives everybody a URL, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.asked: list[MacAddress] = []

    async def url_for(self, mac: MacAddress) -> str | None:
        self.asked.append(mac)
        if self.fails:
            raise StoreUnavailable("down")
        return "https://gate.example/x/"


async def test_only_devices_of_the_library_get_a_url() -> None:
    store = MemoryStore()
    await store.batch([Put(LibraryMac(LISTED))])
    enrolment = Enrolment()
    urls = LibraryDevices(ReadModel(store), enrolment)
    assert await urls.url_for(LISTED) == "https://gate.example/x/"
    assert await urls.url_for(OTHER) is None
    assert enrolment.asked == [LISTED]
    assert await LibraryDevices(ReadModel(store), None).url_for(LISTED) is None


async def test_a_store_that_is_down_is_silence() -> None:
    store = MemoryStore()
    await store.batch([Put(LibraryMac(LISTED))])
    assert await LibraryDevices(ReadModel(store), Enrolment(fails=True)).url_for(LISTED) is None
