"""Keys pressed, found in relayed audio: RTP packets of payload type telephone-event (RFC 4733)."""

from typing import Final

DIGITS: Final = "0123456789*#ABCD"
"""By event code (RFC 4733 3.2). Other events (flash, tones) are none of ours."""
PER_SECOND: Final = 16
"""Digits reported of one stream per tick of a second: a key takes at least 40 ms and a pause of 40 ms."""
_LEAST = 16
_LONGEST = 0xFFFF


class KeyPresses:
    """Reports each key press of one stream once: with the first packet that has the end bit, or, if those were lost, when the
    next event begins or the tick finds that no more came. Repeated and late packets are known by their timestamp."""

    __slots__ = ("_event", "_length", "_rate", "_said", "_source", "_timestamp", "_updated")

    def __init__(self) -> None:
        self._event = -1
        """The event that has not been reported, or -1: its repeats are nothing new."""
        self._length = 0
        self._rate = 8000
        self._timestamp = 0
        self._source = b""
        self._said = 0
        self._updated = False

    def packet(self, data: bytes, rate: int) -> tuple[str, int] | None:
        """A telephone-event packet of at least 12 octets; `rate` is its clock in Hz. Returns (digit, milliseconds) or None."""
        start = 12 + 4 * (data[0] & 0x0F)
        if data[0] & 0x10 and len(data) >= start + 4:
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        if len(data) < max(_LEAST, start + 4):
            return None
        event, flags = data[start], data[start + 1]
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        timestamp = int.from_bytes(data[4:8], "big")
        later = (timestamp - self._timestamp) & 0xFFFFFFFF if data[8:12] == self._source else 1
        if later >= 0x80000000:
            return None  # older than what we have seen: late
        if later == self._length == _LONGEST and event == self._event:
            self._timestamp = timestamp  # a key held longer than a duration can say: another segment (RFC 4733 2.5.1.3)
            return None
        pressed = None
        if later:
            pressed = self._over()
            self._event = event if event < len(DIGITS) else -1
            self._length = 0
            self._source, self._timestamp = data[8:12], timestamp
        self._length = max(self._length, length)
        self._rate = rate
        self._updated = True
        # Two at once never: the second waits for its next packet, or the tick.
        return self._over() if flags & 0x80 and pressed is None else pressed

    def tick(self) -> tuple[str, int] | None:
        """A second has passed. Returns a key press whose end was lost."""
        self._said = 0
        stale = not self._updated
        self._updated = False
        return self._over() if stale else None

    def _over(self) -> tuple[str, int] | None:
        event, self._event = self._event, -1
        if event < 0 or self._said >= PER_SECOND:
            return None
        self._said += 1
        return DIGITS[event], self._length * 1000 // self._rate
