"""Sending firmware: how many at a time, in what pieces, and when a slow reader is given up.

Devices that are not let in are told when to come again, each at another time, so that they do not all come at once.
Configurations are never held up: downloads are few, and none begins while the listener is busy.
"""

import hashlib
from collections.abc import AsyncIterator, Callable

from autop.answer_plan import Plan
from autop.net.image import OpenImage
from autop.net.limits import ListenerLimits
from registry.mac import MacAddress


class Downloads:
    """The places for downloads of one listener, and how many bytes went out."""

    def __init__(self, limits: ListenerLimits, connections: Callable[[], int]) -> None:
        """`connections()`: how many clients are connected."""
        self._limits = limits
        self._connections = connections
        self._running = 0
        self._of: dict[MacAddress, int] = {}
        self.sent = 0
        """Bytes of images handed to the transport."""

    def enter(self, mac: MacAddress) -> bool:
        """Take a place. False: there is none, or the listener has configurations to serve; `retry_after` says when to come."""
        limits = self._limits
        if self._running >= limits.downloads or self._of.get(mac, 0) >= limits.downloads_per_device:
            return False
        if self._connections() > limits.busy_connections:
            return False
        self._running += 1
        self._of[mac] = self._of.get(mac, 0) + 1
        return True

    def leave(self, mac: MacAddress) -> None:
        """Give the place back."""
        self._running -= 1
        self._of[mac] -= 1
        if not self._of[mac]:
            del self._of[mac]

    def retry_after(self, mac: MacAddress) -> int:
        """Seconds until a device should come again: its own number between one and two times `retry_seconds`."""
        share = int.from_bytes(hashlib.sha256(mac.text.encode()).digest()[:4], "big") / 2**32
        return round(self._limits.retry_seconds * (1 + share))


async def pieces(image: OpenImage, wanted: Plan, size: int) -> AsyncIterator[bytes]:
    """The content of an answer, `size` bytes at a time. The file's end is kept as sent before it is given out.

    Raises OSError where the file ends early, and what `OpenImage` raises: the connection is then to be cut, and the device goes
    on where it was.
    """
    place, end = wanted.start, wanted.start + wanted.length
    while place < end:
        content = await image.read(place, min(size, end - place))
        if not content:
            raise OSError("the file ends before its length")
        place += len(content)
        if place == image.size:
            await image.complete()
        yield content
