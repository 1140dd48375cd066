"""A whole node with a carrier's trunk: a door, a monitor, a user whose landline rings, and what the node says of its calls."""

from typing import Any

from tests.system.fleet import AddedDevice
from tests.system.peers import RunningGateway, wait_until
from tests.system.udp_phone import House, UdpPhone

NUMBER = "+49301234567"
PRESENTED = "+4930100"
PASSWORD = "bench-secret"
SETTLED = 10.0
"""Seconds for the node to have heard of a change."""


class LandlineSite:
    """`call_type` as the manual numbers them; the ring time is 5 s, so that a dead gateway's 4 s fit in."""

    def __init__(
        self, gateway: RunningGateway, *carriers: tuple[str, int], call_type: int = 1, most: int = 2, **trunk: Any
    ) -> None:
        self.gateway = gateway
        self.house = House(gateway, [])
        self.site = gateway.ask("POST", "/sites", {"name": f"Landlines {carriers[0][1]}", "ring_seconds": 6})["id"]
        body = {"site": self.site, "first_name": "Ada", "last_name": "L", "number": "101", "call_type": call_type}
        self.user = gateway.ask("POST", "/users", {**body, "landlines": [NUMBER]})["id"]
        self.door = self.device("A", carriers[0][1], kind=0, model="R29")
        self.monitor = self.device("D", carriers[0][1] + 1, kind=2, model="C313", owner=self.user)
        gateway.change("PUT", f"/sites/{self.site}/landlines", {"allowed_prefixes": ["+49"], "max_calls": most})
        self.trunk = gateway.ask(
            "POST",
            "/trunks",
            {
                "name": "Carrier",
                "gateways": [{"host": host, "port": port} for host, port in carriers],
                "sites": [self.site],
                "allowed_prefixes": ["+49"],
                "caller_id": PRESENTED,
                "max_calls": 10,
                "probe": False,
                **trunk,
            },
        )["id"]
        wait_until("the trunk to be up", lambda: self.status()["gateways"][0]["state"] == "up", SETTLED)

    def device(self, letter: str, number: int, **body: Any) -> UdpPhone:
        mac = f"0C110A{number:06X}"
        self.gateway.ask("POST", "/mac-library", {"mac": mac, "site": self.site})
        made = self.gateway.ask("PUT", f"/devices/{mac}", {"site": self.site, "name": letter, **body})
        phone = self.house.phone(letter, AddedDevice(mac, made["account"]["username"], made["account"]["password"], ""))
        assert phone.registers().status == 200
        return phone

    def status(self) -> Any:
        return self.gateway.ask("GET", f"/trunks/{self.trunk}/status")

    def idle(self) -> None:
        """Wait until the trunk holds no call."""
        wait_until("the trunk to be idle", lambda: self.status()["calls"] == 0, SETTLED)

    def entry(self) -> Any:
        """The only entry of the site's call log, once it is written."""
        wait_until("the entry", lambda: len(self._log()) > 0, SETTLED)
        (entry,) = self._log()
        return entry

    def _log(self) -> list[Any]:
        items: list[Any] = self.gateway.ask("GET", f"/call-log?site={self.site}")["items"]
        return items

    def close(self) -> None:
        self.house.close()
