"""Credit flow control of one direction of one stream (docs/tunnel-protocol.md section 5).

Two halves that never meet in one process except in tests: what I may send (`SendWindow`), what the other end may send me
(`ReceiveWindow`). Invariants, held by tests/stateful/test_mux.py: credit is never negative; what is granted, unread and
taken but not granted again is the window's size together; a taken byte is granted again, or the window shrunk by it, at the
latest when a quarter of the window waits.
"""

from tunnel.errors import Code, LocalError, PeerError

MAX_CREDIT = 2**31 - 1
GRANT_SHARE = 4
"""Credit goes back when one part in so many of the window was taken. With half, a quarter of the path stands idle on average,
or the window must be half as large again and its bytes queue (docs/benchmarks.md)."""


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

    __slots__ = ("_taken", "_unread", "credit", "size")

    def __init__(self, initial: int) -> None:
        self.size = initial
        self.credit = initial
        self._unread = 0
        self._taken = 0

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

    def consumed(self, size: int) -> bool:
        """The application took `size` bytes. Whether it is time to `grant`."""
        if size > self._unread:
            raise LocalError("consumed more than received")
        self._unread -= size
        self._taken += size
        return self._taken * GRANT_SHARE >= self.size

    def grant(self, wanted: int) -> int:
        """The credit to give now in a WINDOW frame, 0 for none, so that the window gets nearer to `wanted` bytes (at least 1).

        It grows at once, and shrinks by what was taken: credit that was given cannot be taken back.
        """
        grant = max(self._taken + wanted - self.size, 0)
        self.size += grant - self._taken
        self.credit += grant
        self._taken = 0
        return grant
