"""What happened at a simulated device, in order, and a way to wait for the next thing of a kind without polling."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

KEPT = 1000
"""Happenings remembered per device; older ones are forgotten."""

T = TypeVar("T")


class Happenings:
    """An append-only log with readers. Marks count every happening ever added, so that none is seen twice or missed."""

    def __init__(self, on_each: Callable[[object], None] | None = None) -> None:
        self._kept: deque[object] = deque(maxlen=KEPT)
        self._count = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._on_each = on_each

    def add(self, happening: object) -> None:
        """Something happened; wakes who waits."""
        self._kept.append(happening)
        self._count += 1
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)
        if self._on_each is not None:
            self._on_each(happening)

    def mark(self) -> int:
        """Where the log stands now; what is added later lies behind the mark."""
        return self._count

    def find(self, kind: type[T], since: int, where: Callable[[T], bool] = lambda _happening: True) -> T | None:
        """The first happening of a kind behind the mark `since`, None if there is none (or it is forgotten)."""
        first = self._count - len(self._kept)
        for place, happening in enumerate(self._kept, first):
            if place >= since and isinstance(happening, kind) and where(happening):
                return happening
        return None

    async def next(self, kind: type[T], since: int, where: Callable[[T], bool] = lambda _happening: True) -> T:
        """Wait for the first happening of a kind behind the mark. The caller bounds the wait with `asyncio.timeout`."""
        while (found := self.find(kind, since, where)) is None:
            reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(reader)
            await reader
        return found
