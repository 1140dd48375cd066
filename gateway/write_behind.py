"""Soft state written behind: bindings reach the store a moment after the device was answered, and never one by one.

The newest state of an AOR replaces an older one that still waits, so the queue is bounded by the number of AORs. A store
that is down is tried again until it is back; nothing is lost while the node lives.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from registry.errors import RegistryError
from registry.location import AorBindings, Binding
from registry.store import MAX_BATCH, MAX_PAGE, Delete, Put, Store

FLUSH_SECONDS = 0.5
RETRY_SECONDS = 5.0
_log = logging.getLogger("portico.bindings")


class BindingsWriter:
    """Takes `BindingsChanged` from the SIP service and keeps the store's copy up to date."""

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node
        self._pending: dict[str, tuple[Binding, ...]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def changed(self, aor: str, bindings: tuple[Binding, ...]) -> None:
        """The AOR has these bindings now (wall-clock expiry); none means it is gone."""
        self._pending[aor] = bindings
        self._wake.set()

    @property
    def waiting(self) -> int:
        """AORs whose newest bindings are not in the store yet."""
        return len(self._pending)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(RegistryError):
            while self._pending:
                await self._flush()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(FLUSH_SECONDS)  # let a burst of registrations gather into one transaction
            self._wake.clear()
            try:
                while self._pending:
                    await self._flush()
            except RegistryError as error:
                _log.warning("bindings are not written: %s", error, extra={"fields": {"waiting": self.waiting}})
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _flush(self) -> None:
        chosen = list(self._pending.items())[:MAX_BATCH]
        writes = [
            Put(AorBindings(aor, self._node, bindings)) if bindings else Delete(AorBindings, aor) for aor, bindings in chosen
        ]
        await self._store.batch(writes, durable=False)
        for aor, bindings in chosen:
            if self._pending.get(aor) is bindings:
                del self._pending[aor]


async def load_bindings(store: Store, node: str, wall: float, tell: Callable[[str, tuple[Binding, ...]], None]) -> int:
    """Tell `tell(aor, bindings)` of every binding this node held before it stopped and that still lives. Returns how many."""
    count = 0
    cursor: str | None = None
    while True:
        page = await store.list(AorBindings, "node", node, after=cursor, limit=MAX_PAGE)
        for stored in page.items:
            live = tuple(binding for binding in stored.record.bindings if binding.expires > wall)
            if live:
                tell(stored.record.aor, live)
                count += len(live)
        if page.next is None:
            return count
        cursor = page.next
