"""`Gathering`: records written behind what they tell of, in groups: nobody waits for the disk, and it syncs seldom."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from registry.errors import RegistryError

GATHER_SECONDS = 0.25
"""After a write, the next one waits this long: a lone record is on disk at once, a busy node syncs four times a second."""
RETRY_SECONDS = 2.0
_log = logging.getLogger("portico.store")


class Gathering:
    """Calls `write()` in a moment after every `wake()`, until it took all that waits; again while the store is down.

    `write` writes what waits and keeps what it could not; `waiting()` counts it; `what` names it for people.
    """

    def __init__(self, what: str, write: Callable[[], Awaitable[None]], waiting: Callable[[], int]) -> None:
        self._what = what
        self._write = write
        self._waiting = waiting
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something waits."""
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._what)

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(RegistryError):
            await self._write()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write()
                await asyncio.sleep(GATHER_SECONDS)
            except RegistryError as error:
                _log.warning("%s wait for the store: %s", self._what, error, extra={"fields": {"waiting": self._waiting()}})
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)
