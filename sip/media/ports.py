"""The relay's port range: which pairs are free."""

from collections import deque


class PortPairs:
    """Pairs of an even port for RTP and the next for RTCP (RFC 3550 11), of `first` to `last` inclusive.

    The pair that was given back longest ago is taken next, so that late packets of a call that is over do not reach a new one.
    """

    def __init__(self, first: int, last: int) -> None:
        even = first + first % 2
        self._free = deque(range(even, last, 2))
        self.size = len(self._free)
        self.first = first
        self.last = last

    def __len__(self) -> int:
        """Pairs that are free."""
        return len(self._free)

    def take(self) -> int:
        """An even port, or 0 when all are in use."""
        return self._free.popleft() if self._free else 0

    def give_back(self, port: int) -> None:
        """A pair is not used any more."""
        self._free.append(port)
