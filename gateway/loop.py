"""The one event loop of a node: Twisted's asyncio reactor on uvloop, with timers on the monotonic clock.

`install()` must run before anything else imports `twisted.internet.reactor` (docs/decisions/0002-one-loop.md).
"""

import asyncio
import time
from collections.abc import Callable

import uvloop
from twisted.internet import asyncioreactor

LAG_INTERVAL = 0.25
"""Seconds between two samples of the loop's lag."""


def install() -> asyncio.AbstractEventLoop:
    """Make uvloop this process's loop and Twisted's reactor run on it.

    `reactor.seconds` becomes `time.monotonic`: Twisted's timers follow the wall clock otherwise, and a clock step of two
    hours was measured to fire every timer at once (reliability-and-security.md, finding 1).
    """
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    return loop


class LagSampler:
    """Measures how late the loop runs a timer, and tells each of `observers` the seconds every time."""

    def __init__(self, *observers: Callable[[float], None]) -> None:
        self._observers = observers
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + LAG_INTERVAL

        def sample() -> None:
            nonlocal due
            now = loop.time()
            late = max(0.0, now - due)
            for observe in self._observers:
                observe(late)
            due = now + LAG_INTERVAL
            self._timer = loop.call_at(due, sample)

        self._timer = loop.call_at(due, sample)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
