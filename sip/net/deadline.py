"""Drives one core with one loop timer."""

import asyncio
from collections.abc import Callable


class DeadlineTimer:
    """Calls `due` when the core's next deadline has come. One timer: a later deadline does not move it, an earlier one does.

    Firing early costs one look at the heap; moving the timer for every message would cost 3 to 6 us each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], due: Callable[[], None]) -> None:
        self._loop = loop
        self._clock = clock
        self._due = due
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = float("inf")

    def arm(self, deadline: float | None) -> None:
        """The core's next deadline is this one (None: it has none)."""
        if deadline is None or deadline >= self._armed_for:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = deadline
        self._handle = self._loop.call_later(max(0.0, deadline - self._clock()), self._fire)

    def stop(self) -> None:
        """Fire no more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._armed_for = float("-inf")

    def _fire(self) -> None:
        self._handle = None
        self._armed_for = float("inf")
        self._due()
