"""Following a store's change feed: what the engines have in common behind `Store.watch`.

An engine rings its `Bell` with the newest sequence number after every write; a `Watch` reads the feed page by page and
waits at the bell when it has read everything. Nothing is polled and nothing is queued per watcher: a slow watcher costs
one page, and one that falls out of the bounded log is told so by the engine's `changes`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from registry.errors import StoreUnavailable
from registry.store import Change

ReadChanges = Callable[[int], Awaitable[Sequence[Change]]]
"""Reads the next page of changes above a sequence number; raises ChangesLost."""


class Bell:
    """Wakes whoever waits for a sequence number above the one they know. Belongs to one event loop."""

    def __init__(self, newest: int = 0) -> None:
        self._newest = newest
        self._closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self, newest: int) -> None:
        """There is a write with this sequence number now."""
        self._newest = max(self._newest, newest)
        self._wake()

    def close(self) -> None:
        """The store closes: everybody who waits gets StoreUnavailable."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def above(self, after: int, stopped: Callable[[], bool]) -> None:
        """Wait until there is a sequence number above `after`, or `stopped()` holds at a `nudge`.

        Raises StoreUnavailable when the store closes.
        """
        while self._newest <= after and not stopped():
            if self._closed:
                raise StoreUnavailable("the store is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)

    def nudge(self) -> None:
        """Let everybody who waits look again."""
        self._wake()


class Watch(AsyncIterator[Change]):
    """One follower of the feed; what `Store.watch` returns. For one consumer at a time.

    `aclose` may be called while another task waits in `anext`: that one then gets StopAsyncIteration.
    """

    def __init__(self, after: int, read: ReadChanges, bell: Bell) -> None:
        self._after = after
        self._read = read
        self._bell = bell
        self._page: deque[Change] = deque()
        self._stopped = False

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Change:
        while not self._stopped:
            if self._page:
                change = self._page.popleft()
                self._after = change.sequence
                return change
            page = await self._read(self._after)
            self._page.extend(page)
            if not page:
                await self._bell.above(self._after, lambda: self._stopped)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop following. Calling it twice is no error."""
        self._stopped = True
        self._page.clear()
        self._bell.nudge()
