"""What a connector is told of its site, and by which way a device is reached."""

from typing import Any, cast

from autop.profiles.http_api import USER, api_password
from gateway.connector.device_list import DeviceList
from gateway.connector_feed import PAGE_DEVICES, Reachable, SiteDevices, pages
from gateway.reach import ByChannel, ByConnector, Reach, Way
from registry.connector import DeviceAddress
from registry.location import AorBindings, Binding
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Device, DeviceKind, Site
from registry.store import Put
from registry.vault import Vault
from tunnel.codec import pack_map, unpack_map

MAC, OTHER, ELSEWHERE = (MacAddress(f"0C1105AABB0{number}") for number in (1, 2, 3))
KEY = bytes(range(32))


def device(vault: Vault, mac: MacAddress, site: str = "s-1") -> Device:
    sealed = vault.seal(KEY, f"device-channel:{mac}")
    return Device(mac, f"d-{mac}", site, DeviceKind.ACCESS_CONTROL, "A08", "Door", f"acc-{mac}", b"", sealed, b"")


async def test_who_is_where_with_which_login() -> None:
    vault, store = Vault(KEY, bytes), MemoryStore()
    binding = Binding("<sip:x@192.168.1.20:5060>", "udp:a", "c", 1, 9e9)
    await store.batch(
        [
            Put(Site("s-1", "House")),
            *(Put(device(vault, mac)) for mac in (OTHER, MAC)),
            Put(device(vault, ELSEWHERE, "s-2")),
            Put(AorBindings(f"acc-{MAC}", "n", (binding,))),
            Put(AorBindings(f"acc-{OTHER}", "n", (binding,))),
            Put(DeviceAddress(OTHER, "s-1", "192.168.1.77")),
        ]
    )
    devices = SiteDevices(store, ReadModel(store), vault, services=lambda site: ("ssh",) if site.id == "s-1" else ())
    found = await devices.of("s-1")
    assert [(one.mac, one.address) for one in found] == [(MAC, "192.168.1.20"), (OTHER, "192.168.1.77")]
    assert found[0].services == ("web", "web-tls", "ssh")
    assert found[0].said()["user"] == USER
    assert found[0].said()["password"] == api_password(KEY)
    assert found[0].password not in repr(found[0])
    assert await devices.of("nowhere") == ()


async def test_a_key_that_does_not_open_leaves_the_login_out() -> None:
    vault, store = Vault(KEY, bytes), MemoryStore()
    await store.batch([Put(Site("s-1", "House")), Put(device(Vault(bytes(32), bytes), MAC))])
    (found,) = await SiteDevices(store, ReadModel(store), vault).of("s-1")
    assert (found.said()["user"], found.said()["password"]) == ("", "")


def test_a_large_site_comes_in_pages_that_fit_a_frame() -> None:
    many = tuple(
        Reachable(MacAddress(f"0C1105{number:06X}"), "a", "192.168.100.100", ("web", "web-tls", "ssh", "rtsp"), "p" * 24)
        for number in range(PAGE_DEVICES * 2 + 1)
    )
    held, bodies = DeviceList(), pages(many, 7)
    assert [len(one["devices"]) for one in bodies] == [PAGE_DEVICES, PAGE_DEVICES, 1]
    for body in bodies:
        packed = pack_map({"id": bytes(16), "name": "devices", "body": body, "deadline_ms": 10_000})
        assert len(packed) <= 16_384
        held.page(unpack_map(packed)["body"])
    assert len(held) == len(many)
    assert pages((), 1) == [{"list": 1, "page": 1, "pages": 1, "autop": "", "devices": []}]


class Link:
    """A link that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def open(self, *words: str) -> None:
        self.asked.append(words)

    async def call(self, *words: Any) -> None:
        self.asked.append(words)


async def test_the_own_channel_goes_before_the_connector() -> None:
    own, other = Link(), Link()
    channels: dict[MacAddress, Any] = {MAC: own}
    connectors: dict[MacAddress, Any] = {MAC: other, OTHER: other}
    gone: set[MacAddress] = set()
    reach = Reach(channels.get, connectors.get, gone.__contains__)
    first, second = reach.of(MAC), reach.of(OTHER)
    assert isinstance(first, ByChannel)
    assert isinstance(second, ByConnector)
    assert (first.way, second.way) == (Way.CHANNEL, Way.CONNECTOR)
    assert reach.of(ELSEWHERE) is None
    first.open("web")
    await first.call("reboot", {"a": 1}, 5.0, b"id")
    assert own.asked == [("web",), ("reboot", {"a": 1}, 5.0, b"id")]
    second.open("web")
    await second.call("reboot", {"a": 1}, 5.0)
    assert other.asked == [("web", OTHER.text), ("reboot", {"a": 1, "device": OTHER.text}, 5.0, b"")]
    gone.update((MAC, OTHER))
    assert cast(ByChannel, reach.there(MAC)).way is Way.CHANNEL
    assert reach.there(OTHER) is None
    assert reach.of(OTHER) is not None
