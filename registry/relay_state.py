"""Which relays of a device are on, as the device said last (monitors drive lights, gates and lifts with theirs)."""

from dataclasses import dataclass

from registry.mac import MacAddress


@dataclass(frozen=True, slots=True)
class SwitchedRelay:
    """One relay (from 1), whether it is on, and since when (wall-clock seconds of the gateway)."""

    relay: int
    on: bool
    since: float


@dataclass(frozen=True, slots=True)
class RelayState:
    """The relays of one device that have reported, by number. Goes with its device."""

    mac: MacAddress
    site: str
    relays: tuple[SwitchedRelay, ...] = ()

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}

    def switched(self, relay: int, on: bool, wall: float) -> "RelayState":
        """The state after a report; itself where that says nothing new."""
        present = {one.relay: one for one in self.relays}
        if relay in present and present[relay].on == on:
            return self
        present[relay] = SwitchedRelay(relay, on, wall)
        return RelayState(self.mac, self.site, tuple(present[number] for number in sorted(present)))
