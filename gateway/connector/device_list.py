"""The list of devices that the gateway lets this connector reach: in pages, and it holds once whole (protocol section 11)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.connector.refusal import Refusal, Why
from registry.connector import private_address
from registry.errors import MalformedMac
from registry.mac import MacAddress

PAGE_DEVICES = 40
MAX_PAGES = 100
MAX_SERVICES = 8
MAX_LOGIN = 63
MAX_AUTOP = 256
_MAX_LIST = 2**53
_SERVICE = re.compile(r"[a-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listed:
    """One device. `address`: a literal private IPv4 address, "" where the gateway knows none."""

    mac: MacAddress
    address: str
    services: frozenset[str]
    user: str = ""
    password: str = field(default="", repr=False)


class DeviceList:
    """The list that holds, and the pages of the next one."""

    def __init__(self) -> None:
        self._devices: dict[MacAddress, Listed] = {}
        self._number = 0
        self._next: dict[int, tuple[Listed, ...]] = {}
        self._next_number = 0
        self._next_pages = 0
        self.autop = ""
        """The gateway's autop directory, as it said with the list."""

    def __len__(self) -> int:
        return len(self._devices)

    def all(self) -> tuple[Listed, ...]:
        """The devices of the list that holds."""
        return tuple(self._devices.values())

    def get(self, mac: str) -> Listed:
        """The device with this MAC. Raises Refusal."""
        try:
            return self._devices[MacAddress(mac)]
        except (KeyError, MalformedMac):
            raise Refusal(Why.NOT_LISTED) from None

    def forget(self) -> None:
        """The link is gone: nothing may be reached until the next one brings a list."""
        self._devices, self._next = {}, {}
        self._number = self._next_number = self._next_pages = 0
        self.autop = ""

    def page(self, body: Mapping[str, Any]) -> bool:
        """Take one page. True if the list is whole with it, and holds now. Raises Refusal for a page that breaks the rules.

        A page of an older list, or one that came already, changes nothing.
        """
        number, page, pages = (_whole(body.get(name)) for name in ("list", "page", "pages"))
        said = body.get("devices")
        if not (0 < number <= _MAX_LIST and 1 <= page <= pages <= MAX_PAGES) or not isinstance(said, list):
            raise Refusal(Why.MALFORMED)
        if len(said) > PAGE_DEVICES:
            raise Refusal(Why.MALFORMED)
        found = tuple(_listed(one) for one in said)
        autop = body.get("autop", "")
        if not isinstance(autop, str) or len(autop) > MAX_AUTOP or not autop.isascii():
            raise Refusal(Why.MALFORMED)
        if number <= self._number or number < self._next_number:
            return False
        if number > self._next_number:
            self._next, self._next_number, self._next_pages = {}, number, pages
        if pages != self._next_pages:
            raise Refusal(Why.MALFORMED)
        self._next[page] = found
        if len(self._next) < pages:
            return False
        self._devices = {one.mac: one for each in sorted(self._next) for one in self._next[each]}
        self._number, self._next, self.autop = number, {}, autop
        return True


def _whole(value: object) -> int:
    """An int that is no bool; -1 for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _listed(said: object) -> Listed:
    if not isinstance(said, dict):
        raise Refusal(Why.MALFORMED)
    mac, address, services, user, password = (said.get(name) for name in ("mac", "address", "services", "user", "password"))
    texts = (mac, address, user, password)
    if not all(isinstance(text, str) and len(text) <= MAX_LOGIN for text in texts) or not isinstance(services, list):
        raise Refusal(Why.MALFORMED)
    if len(services) > MAX_SERVICES or not all(isinstance(one, str) and _SERVICE.fullmatch(one) for one in services):
        raise Refusal(Why.MALFORMED)
    if address and not private_address(str(address)):
        raise Refusal(Why.MALFORMED)
    try:
        return Listed(MacAddress(str(mac)), private_address(str(address)), frozenset(services), str(user), str(password))
    except MalformedMac:
        raise Refusal(Why.MALFORMED) from None
