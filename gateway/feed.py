"""Follows the store's change feed for this node: every change goes to the read model, and through it to its subscribers."""

import asyncio
import contextlib
import logging

from registry.errors import ChangesLost, RegistryError
from registry.read_model import ReadModel
from registry.store import Store

RETRY_SECONDS = 1.0
_log = logging.getLogger("portico.feed")


class Feed:
    """The one task that keeps a ReadModel true."""

    def __init__(self, store: Store, read_model: ReadModel) -> None:
        self._store = store
        self._read_model = read_model
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with the store's present state. Raises StoreUnavailable."""
        self._read_model.clear(await self._store.sequence())
        self._task = asyncio.get_running_loop().create_task(self._run(), name="change feed")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except ChangesLost:
                _log.warning("the change feed was lost; reading everything afresh")
                with contextlib.suppress(RegistryError):
                    self._read_model.clear(await self._store.sequence())
            except RegistryError as error:
                _log.warning("the change feed is interrupted: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        async for change in self._store.watch(self._read_model.applied):
            try:
                self._read_model.apply(change)
            except ExceptionGroup:
                _log.exception("a subscriber of the change feed failed")
