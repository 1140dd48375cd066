"""Who is there: what this node has seen of each device, in memory. Read by the admin API and counted by metrics."""

from collections.abc import Callable

from admin_api.ports import Presence
from registry.mac import MacAddress
from registry.records import Device

MAX_SEEN = 200_000
"""Devices whose last sign of life is remembered; beyond it the oldest are forgotten."""


class PresenceBook:
    """Signs of life by MAC (autop, channel) and by account (SIP)."""

    def __init__(
        self,
        *,
        registered: Callable[[str], bool],
        on_channel: Callable[[MacAddress], bool],
        wall: Callable[[], float],
    ) -> None:
        self._registered = registered
        self._on_channel = on_channel
        self._wall = wall
        self._seen: dict[str, float] = {}

    def seen(self, who: MacAddress | str) -> None:
        """A device (by MAC) or a SIP account (by user name) gave a sign of life just now."""
        key = str(who)
        self._seen.pop(key, None)
        self._seen[key] = self._wall()
        if len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]

    def of(self, device: Device) -> Presence:
        """What is known of this device now."""
        times = [self._seen[key] for key in (device.mac.text, device.account) if key in self._seen]
        return Presence(
            registered=self._registered(device.account),
            channel=self._on_channel(device.mac),
            last_seen=max(times, default=None),
        )
