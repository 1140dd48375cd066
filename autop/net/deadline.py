"""`Deadline`: the one absolute deadline of a connection, moved at every step without touching the loop's timers each time."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `over` once the time set last has come. `cancel` once, at the end."""

    __slots__ = ("_loop", "_over", "_timer", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
        self._loop = loop
        self._over = over
        self._when = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Move it. The timer is only re-armed for an earlier time; a later one is seen when it fires."""
        self._when = when
        if self._timer is None or when < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._fire)

    def cancel(self) -> None:
        """It never comes."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self._timer = None
        if self._when > self._loop.time():
            self._timer = self._loop.call_at(self._when, self._fire)
            return
        self._over()
