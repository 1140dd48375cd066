"""The store as the admin API sees it on this node: a write returns once the node's own memory knows of it.

Without this, an operator who adds a device and powers it up in the same second could meet a gateway that still remembers
"no such device".
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TypeVar

from registry.read_model import ReadModel
from registry.store import Change, Page, Record, Store, Stored, Watching, Write

CATCH_UP_SECONDS = 2.0
"""The longest a write waits for the change feed: the write itself is done, so a slow feed must not turn it into a failure."""

R = TypeVar("R", bound=Record)


class FollowedStore:
    """A `Store` whose `batch` waits until `read_model` has applied what was written."""

    def __init__(self, store: Store, read_model: ReadModel) -> None:
        self._store = store
        self._read_model = read_model

    async def get(self, kind: type[R], key: str) -> Stored[R] | None:
        return await self._store.get(kind, key)

    async def get_unique(self, kind: type[R], index: str, value: str) -> Stored[R] | None:
        return await self._store.get_unique(kind, index, value)

    async def list(
        self,
        kind: type[R],
        index: str,
        value: str,
        *,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> Page[R]:
        return await self._store.list(kind, index, value, after=after, limit=limit, newest_first=newest_first)

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        versions = await self._store.batch(writes, durable=durable)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._read_model.caught_up(max(versions, default=0))
        return versions

    async def sequence(self) -> int:
        return await self._store.sequence()

    async def changes(self, after: int, *, limit: int = 1000) -> Sequence[Change]:
        return await self._store.changes(after, limit=limit)

    def watch(self, after: int) -> Watching:
        return self._store.watch(after)

    async def close(self) -> None:
        await self._store.close()
