"""Credit flow control of one direction of one stream (docs/tunnel-protocol.md section 5).

Two halves that never meet in one process except in tests: what I may send (`SendWindow`), what the other end may send me
(`ReceiveWindow`). Invariants, held by tests/stateful/test_mux.py: credit is never negative; granted minus received never
exceeds the window; a consumed byte is granted again at the latest when half the window waits.
"""

from tunnel.errors import Code, LocalError, PeerError

MAX_CREDIT = 2**31 - 1
GROWTH_STEP = 16_384
"""Bytes a window grows by at a time: small enough that growth stops near what the path can carry."""


class SendWindow:
    """How many bytes of DATA this end may still send."""

    __slots__ = ("credit",)

    def __init__(self, initial: int) -> None:
        self.credit = initial

    def spend(self, size: int) -> None:
        """`size` bytes go out. Raises LocalError beyond the credit: the scheduler must not ask."""
        if size > self.credit:
            raise LocalError("more DATA than credit")
        self.credit -= size

    def granted(self, size: int) -> None:
        """The peer's WINDOW arrived. Raises PeerError for 0 or beyond 2^31-1."""
        if size == 0 or self.credit + size > MAX_CREDIT:
            raise PeerError(Code.FLOW_CONTROL, "WINDOW of 0 or beyond 2^31-1")
        self.credit += size


class ReceiveWindow:
    """How many bytes the peer may still send, and when to let it send more."""

    __slots__ = ("_consumed", "_granted_at", "_unread", "credit", "initial", "size")

    def __init__(self, initial: int, now: float) -> None:
        self.initial = initial
        self.size = initial
        self.credit = initial
        self._unread = 0
        self._consumed = 0
        self._granted_at = now

    @property
    def unread(self) -> int:
        """Bytes received and not yet taken by the application."""
        return self._unread

    def received(self, size: int) -> None:
        """DATA arrived. Raises PeerError if the peer had not so much credit."""
        if size > self.credit:
            raise PeerError(Code.FLOW_CONTROL, "more DATA than credit")
        self.credit -= size
        self._unread += size

    def consumed(self, size: int, now: float, round_trip: float | None, room: int) -> int:
        """The application took `size` bytes. Returns the credit to grant now in a WINDOW frame, 0 for none yet.

        `round_trip` is the measured ping time in seconds if windows may grow at present, else None; `room` is how many bytes
        this window may grow by at most. A peer that used half a window in less than a round trip was held back
        by the window, so the window grows by one step.
        """
        if size > self._unread:
            raise LocalError("consumed more than received")
        self._unread -= size
        self._consumed += size
        if self._consumed * 2 < self.size:
            return 0
        grown = 0
        if round_trip is not None and now - self._granted_at <= round_trip:
            grown = min(GROWTH_STEP, room)
        grant = self._consumed + grown
        self.size += grown
        self.credit += grant
        self._consumed = 0
        self._granted_at = now
        return grant
