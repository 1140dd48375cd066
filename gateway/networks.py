"""Which sources an on-site listener answers."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

REMEMBERED = 4096


class Allowed:
    """`Allowed(networks)(host)`: whether an IP literal is in one of the networks ("address/prefix")."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(one) for one in networks)
        self._holds = lru_cache(REMEMBERED)(self._look)

    def __call__(self, host: str) -> bool:
        return self._holds(host)

    def _look(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        return any(address in network for network in self._networks)
