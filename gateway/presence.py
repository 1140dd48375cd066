"""Who is there: what this node has seen of each device, in memory. Read by the admin API and counted by metrics.

A channel or connector that is cut is noticed by its silence (`CHANNEL_LIMITS`), a device that only registers when its
registration expires (a registration over a stream: when the stream ends).
"""

from collections.abc import Callable
from typing import TypeVar

from admin_api.ports import Presence
from registry.mac import MacAddress
from registry.records import Device
from tunnel.frames import Limits

T = TypeVar("T")
MAX_SEEN = 200_000
"""Devices whose last sign of life is remembered; beyond it the oldest are forgotten."""
CHANNEL_LIMITS = Limits(ping_after=12.0, dead_after=28.0)
"""What WELCOME tells agents: a cut cable is seen within 30 s (issue 6, point 4). The protocol's own 25 s and 60 s cost half the
PINGs."""


class PresenceBook:
    """Signs of life by MAC (autop, channel) and by account (SIP).

    `heard(mac)`: seconds since anything came over the device's channel, None without one.
    """

    def __init__(
        self,
        *,
        registered: Callable[[str], bool],
        heard: Callable[[MacAddress], float | None],
        on_connector: Callable[[MacAddress], bool] = lambda _mac: False,
        wall: Callable[[], float],
    ) -> None:
        self._registered = registered
        self._heard = heard
        self._on_connector = on_connector
        self._wall = wall
        self._seen: dict[str, float] = {}
        self._turned: dict[str, tuple[bool, float]] = {}
        """Which channel (by MAC) or registration (by account) came or went last, and when."""

    def seen(self, who: MacAddress | str) -> None:
        """A device (by MAC) or a SIP account (by user name) gave a sign of life just now."""
        _note(self._seen, str(who), self._wall())

    def turned(self, who: MacAddress | str, up: bool) -> None:
        """A device's channel, or a SIP account's registration, is there from now on, or is not. Again is no change."""
        known = self._turned.get(str(who))
        if known is None or known[0] is not up:
            _note(self._turned, str(who), (up, self._wall()))

    def of(self, device: Device) -> Presence:
        """What is known of this device now."""
        heard = self._heard(device.mac)
        keys = (device.mac.text, device.account)
        registered, went = self._registered(device.account), self._turned.get(device.mac.text)
        # After a cut cable the registration of UDP lives on for minutes. It counts again once the device has refreshed it.
        doubted = registered and went is not None and not went[0] and self._seen.get(device.account, 0.0) <= went[1]
        ways = (heard is not None, registered and not doubted)
        times = [self._seen[key] for key in keys if key in self._seen]
        if heard is not None:
            times.append(self._wall() - heard)
        turned = [self._turned.get(key) for key in keys]
        if any(ways):
            since = min((one[1] for one, up in zip(turned, ways, strict=True) if up and one is not None), default=None)
        else:
            since = max((one[1] for one in turned if one is not None), default=None)
        return Presence(
            registered=registered,
            doubted=doubted,
            channel=ways[0],
            connector=self._on_connector(device.mac),
            since=since,
            last_seen=max(times, default=None),
        )


def _note(book: dict[str, T], key: str, what: T) -> None:
    book.pop(key, None)
    book[key] = what
    if len(book) > MAX_SEEN:
        del book[next(iter(book))]
