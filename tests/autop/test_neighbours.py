"""Who else is in a site: order of contacts, doors of a department, bounds on sites and devices."""

from typing import Any

import pytest

from autop.contacts import SiteFacts
from autop.net import neighbours as module
from autop.net.neighbours import Neighbours, SiteNeighbours
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.records import Device, DeviceKind, Relay
from registry.store import MAX_PAGE, Change, Put
from tests.autop import examples


def device(number: int, kind: DeviceKind = DeviceKind.MULTI_TENANT_DOOR_PHONE, **changes: Any) -> Device:
    identity: dict[str, Any] = {"mac": MacAddress(f"0C11050{number:05X}"), "id": f"d{number}", "account": f"5{number:04d}"}
    return examples.device(kind, **{**identity, "name": f"n{number}", **changes})


def test_a_departments_own_doors_come_before_public_ones() -> None:
    public = device(1, relays=(Relay("public", "1"), Relay("public garage", "2")))
    own = device(2, relays=(Relay("own", "7"),), department="a")
    monitor = device(3, DeviceKind.INDOOR_MONITOR, relays=(Relay("a monitor's", "9"),), department="a")
    site = Neighbours(SiteFacts((public, own, monitor)))
    assert [relay.name for relay in site.door_relays("a")] == ["own", "public garage"]
    assert [relay.name for relay in site.door_relays("b")] == ["public", "public garage"]
    assert site.door_relays("a") is site.door_relays("a")
    assert Neighbours(SiteFacts(())).door_relays("a") == ()


class CountingStore(MemoryStore):
    """Notes the site of every listing of devices."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    async def list(self, *arguments: Any, **options: Any) -> Any:
        if arguments[0] is Device:
            self.listed.append(arguments[2])
        return await super().list(*arguments, **options)


async def test_a_site_of_several_pages_is_read_whole_up_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountingStore()
    await store.batch([Put(device(number)) for number in range(MAX_PAGE + 3)])
    assert len((await SiteNeighbours(store).of("s-1")).site.devices) == MAX_PAGE + 3
    assert len(store.listed) == 2
    monkeypatch.setattr(module, "MAX_NEIGHBOURS", MAX_PAGE)
    assert len((await SiteNeighbours(store).of("s-1")).site.devices) == MAX_PAGE
    assert len(store.listed) == 3
    monkeypatch.setattr(module, "MAX_NEIGHBOURS", MAX_PAGE + 1)
    assert len((await SiteNeighbours(store).of("s-1")).site.devices) == MAX_PAGE + 1


async def test_the_least_recently_used_site_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SITES", 2)
    store = CountingStore()
    sites = SiteNeighbours(store)
    for site in ("a", "b", "a", "c", "a", "c", "b"):
        await sites.of(site)
    assert store.listed == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("kind", "key", "other"), [("SiteRoster", "a", True), ("RingPlan", "a/101", True), ("Device", "x", False)]
)
async def test_a_site_is_read_again_when_what_it_is_made_of_changes(kind: str, key: str, other: bool) -> None:
    store = CountingStore()
    sites = SiteNeighbours(store)
    first, neighbour = await sites.of("a"), await sites.of("b")
    sites.changed(Change(1, "Site", "a", deleted=False))
    assert await sites.of("a") is first
    sites.changed(Change(2, kind, key, deleted=False))
    again = await sites.of("a")
    assert again is not first
    assert again.serial != first.serial
    assert (await sites.of("b") is neighbour) is other
