"""What a connector is told: the devices of its site, where they are on the LAN, and their HTTP API's login (CALL `devices`)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autop.contacts import lan_address
from autop.profiles.http_api import USER, api_password
from registry.connector import DeviceAddress
from registry.errors import BadSeal
from registry.location import AorBindings
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Device, Site
from registry.store import MAX_PAGE, Store
from registry.vault import Vault

PAGE_DEVICES = 40
MAX_DEVICES = 4000
WEB_SERVICES = ("web", "web-tls")


@dataclass(frozen=True, slots=True)
class Reachable:
    """One device as its connector is told of it."""

    mac: MacAddress
    account: str
    address: str
    services: tuple[str, ...]
    password: str = field(repr=False)

    def said(self) -> dict[str, Any]:
        """As it stands in the CALL."""
        return {
            "mac": self.mac.text,
            "address": self.address,
            "services": list(self.services),
            "user": USER if self.password else "",
            "password": self.password,
        }


class SiteDevices:
    """Works out what the connectors of a site may reach. `services(site)`: what besides the web page, for forwards."""

    def __init__(
        self,
        store: Store,
        read_model: ReadModel,
        vault: Vault,
        services: Callable[[Site], tuple[str, ...]] = lambda _site: (),
    ) -> None:
        self._store = store
        self._read_model = read_model
        self._vault = vault
        self._services = services

    async def of(self, site: str) -> tuple[Reachable, ...]:
        """In the order of their MACs, at most MAX_DEVICES. Raises RegistryError."""
        place = await self._read_model.get(Site, site)
        if place is None:
            return ()
        services = (*WEB_SERVICES, *self._services(place.record))
        found: list[Reachable] = []
        after: str | None = None
        while len(found) < MAX_DEVICES:
            page = await self._store.list(Device, "site", site, after=after, limit=MAX_PAGE)
            found += [await self._reachable(stored.record, services) for stored in page.items]
            if page.next is None:
                break
            after = page.next
        return tuple(sorted(found, key=lambda one: one.mac)[:MAX_DEVICES])

    async def _reachable(self, device: Device, services: tuple[str, ...]) -> Reachable:
        try:
            password = api_password(self._vault.open(device.sealed_channel_key, f"device-channel:{device.mac}"))
        except BadSeal:
            password = ""
        return Reachable(device.mac, device.account, await self._address(device), services, password)

    async def _address(self, device: Device) -> str:
        """What an operator entered, else what the device registered with itself."""
        entered = await self._read_model.get(DeviceAddress, device.mac.text)
        if entered is not None and entered.record.site == device.site:
            return entered.record.address
        bindings = await self._read_model.get(AorBindings, device.account) if device.account else None
        return lan_address(bindings.record) if bindings is not None else ""


def pages(devices: tuple[Reachable, ...], number: int, autop: str = "") -> list[dict[str, Any]]:
    """The bodies of the CALLs that tell this list; at least one. `autop`: the directory of autop over HTTPS."""
    parts = [devices[start : start + PAGE_DEVICES] for start in range(0, len(devices), PAGE_DEVICES)] or [()]
    return [
        {"list": number, "page": page, "pages": len(parts), "autop": autop, "devices": [one.said() for one in part]}
        for page, part in enumerate(parts, 1)
    ]
