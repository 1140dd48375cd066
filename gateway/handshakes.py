"""`HandshakePlaces`: TLS handshakes at a time on all listeners of the node, and who comes next.

A handshake costs as much as all that follows it, so none is made for a peer that has gone: whoever waited is looked at again
before its turn. Peers wait in order of arrival. Once the first of them has waited LATE seconds there are more than can be served,
and the newest is served first: it has most of its patience left, while serving the oldest first would serve everybody just
before they leave.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

LATE = 0.5
"""Seconds that the first in the line has waited when the newest becomes the first. A third of the patience of devices."""


class Left(ConnectionError):
    """The peer has gone while it waited."""


def _stays() -> bool:
    return False


@dataclass(slots=True, eq=False)
class _Waiter:
    since: float
    turn: asyncio.Future[None]
    gone: Callable[[], bool]


class _Line:
    """Those who wait for one of `free` places."""

    __slots__ = ("_waiters", "free", "waiting")

    def __init__(self, places: int) -> None:
        self.free = places
        self.waiting = 0
        self._waiters: deque[_Waiter] = deque()

    def delay(self, now: float) -> float:
        """Seconds that the first one has waited."""
        first = self._first()
        return now - first.since if first is not None else 0.0

    def _first(self) -> _Waiter | None:
        while self._waiters and self._waiters[0].turn.done():
            self._waiters.popleft()
        return self._waiters[0] if self._waiters else None

    async def enter(self, gone: Callable[[], bool]) -> None:
        """Wait for a place and take it. Raises Left."""
        if self.free > 0:
            self.free -= 1
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.time(), loop.create_future(), gone)
        self._waiters.append(waiter)
        self.waiting += 1
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self.leave()  # it had been given a place at the same moment
            raise
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """A place is free: give it to the next one that is still there."""
        now = asyncio.get_running_loop().time()
        while (first := self._first()) is not None:
            if first.gone():
                self._waiters.popleft()
                first.turn.set_exception(Left("the peer has left"))
                continue
            waiter = self._waiters.pop() if now - first.since > LATE else self._waiters.popleft()
            if waiter.turn.done():
                continue
            if waiter.gone():
                waiter.turn.set_exception(Left("the peer has left"))
                continue
            waiter.turn.set_result(None)
            return
        self.free += 1


class _Source:
    """One source's share of the places. `members` want or have one."""

    __slots__ = ("line", "members")

    def __init__(self, places: int) -> None:
        self.line = _Line(places)
        self.members = 0


class HandshakePlaces:
    """The places of a node. `place` waits for one."""

    def __init__(self, places: int = 50, per_source: int = 25, pressed_seconds: float = 1.0) -> None:
        self._line = _Line(places)
        self._most_waiting = 2 * places
        self._wanting: list[Callable[[], None]] = []
        self._per_source = per_source
        self._grace = pressed_seconds
        self._sources: dict[str, _Source] = {}
        self._holders: dict[asyncio.Task[None], tuple[float, _Source]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Peers that wait for a place, not counting those of a source that has its share."""
        return self._line.waiting

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that a newcomer does better in the kernel's queue, or at home: until it is accepted it costs
        nothing, and then it need not wait long."""
        return self._line.waiting >= self._most_waiting

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once, when it is crowded no more."""
        self._wanting.append(call)

    def _tell_room(self) -> None:
        if self._wanting and self._line.waiting <= self._most_waiting // 2:
            wanting, self._wanting = self._wanting, []
            for call in wanting:
                call()

    def delay(self) -> float:
        """Seconds that the first of them has waited."""
        return self._line.delay(asyncio.get_running_loop().time())

    @contextlib.asynccontextmanager
    async def place(self, name: str, gone: Callable[[], bool] = _stays) -> AsyncIterator[None]:
        """Hold a place while inside. Who holds one beyond the grace while others wait is cancelled.

        `gone()`: whether the peer has left, looked at before its turn. Raises Left.
        """
        source = self._sources.setdefault(name, _Source(self._per_source))
        source.members += 1
        try:
            await self._enter(source.line, gone)
            try:
                await self._enter(self._line, gone)
                task = _this_task()
                self._holders[task] = (asyncio.get_running_loop().time(), source)
                self._press()  # so that this one's time is watched too
                try:
                    yield
                finally:
                    del self._holders[task]
                    self._line.leave()
            finally:
                source.line.leave()
        finally:
            source.members -= 1
            if not source.members:
                del self._sources[name]
            self._tell_room()

    async def _enter(self, line: _Line, gone: Callable[[], bool]) -> None:
        if line.free <= 0:
            asyncio.get_running_loop().call_soon(self._press)
        await line.enter(gone)

    def _press(self) -> None:
        """Put out who overstayed, as many as wait; look again when the next one will have."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wanted = self._line.waiting
        for task, (since, source) in self._holders.items():  # in order of arrival
            if wanted <= 0 and not source.line.waiting:
                continue
            if since + self._grace > loop.time():
                self._timer = loop.call_at(since + self._grace, self._press)
                return
            if not task.cancelling():
                task.cancel()
            wanted -= 1


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
