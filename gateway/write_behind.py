"""Soft state written behind: bindings reach the store a moment after the device was answered, and never one by one.

The newest state of an AOR replaces an older one that still waits, so the queue is bounded by the number of AORs. A store
that is down is tried again until it is back; nothing is lost while the node lives.

A refresh that changes nothing but the time is not written at once: the copy in the store is still true, only shorter-lived. It
is written when half of the life that the copy had is over, or when the node stops. So a copy that lags behind has always more
than half of its registration time left, and a restart after kill -9 that takes less than that loses no binding.
"""

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable
from typing import NamedTuple

from registry.errors import RegistryError
from registry.location import AorBindings, Binding
from registry.store import MAX_BATCH, MAX_PAGE, Delete, Put, Store
from sip.binding import LiveBinding

FLUSH_SECONDS = 0.5
RETRY_SECONDS = 5.0
_log = logging.getLogger("portico.bindings")


class _Written(NamedTuple):
    """What the store holds of an AOR: all but times and counts as one number, the expiry times, and how long it will do."""

    same: int
    expires: tuple[float, ...]
    enough_until: float


class BindingsWriter:
    """Takes `BindingsChanged` from the SIP service and keeps the store's copy up to date.

    `clock` is the loop's monotonic clock, which live bindings expire by; `wall` the one that stored bindings do.
    """

    def __init__(self, store: Store, node: str, *, wall: Callable[[], float], clock: Callable[[], float]) -> None:
        self._store = store
        self._node = node
        self._wall = wall
        self._clock = clock
        self._pending: dict[str, tuple[LiveBinding, ...]] = {}
        self._refreshed: dict[str, tuple[LiveBinding, ...]] = {}
        self._due: list[tuple[float, str]] = []
        self._timed: set[str] = set()
        self._written: dict[str, _Written] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def changed(self, aor: str, bindings: tuple[LiveBinding, ...]) -> None:
        """The AOR has these bindings now; none means it is gone. They are made what the store keeps when they are written."""
        written = self._written.get(aor)
        if written is not None and aor not in self._pending and self._will_do(written, bindings):
            self._refreshed[aor] = bindings
            self._remember(written.enough_until, aor)
            return
        self._refreshed.pop(aor, None)
        self._pending[aor] = bindings
        self._wake.set()

    @property
    def waiting(self) -> int:
        """AORs whose bindings should be in the store and are not yet."""
        return len(self._pending)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._pending.update(self._refreshed)
        self._refreshed.clear()
        with contextlib.suppress(RegistryError):
            while self._pending:
                await self._flush()

    def _will_do(self, written: _Written, bindings: tuple[LiveBinding, ...]) -> bool:
        """Whether the copy in the store may lag behind these: no other contact or flow, no earlier end, and life enough."""
        return (
            written.same == _sameness(bindings)
            and all(new.expires_at >= old for new, old in zip(bindings, written.expires, strict=True))
            and self._clock() < written.enough_until
        )

    def _remember(self, due: float, aor: str) -> None:
        """See to it that this AOR is looked at when `due` has come; each AOR stands in the heap once."""
        if aor in self._timed:
            return
        self._timed.add(aor)
        heapq.heappush(self._due, (due, aor))
        if self._due[0][1] == aor:
            self._wake.set()

    def _take_due(self) -> None:
        """Refreshes whose copy in the store has had half of its life must be written now."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, aor = heapq.heappop(self._due)
            self._timed.discard(aor)
            bindings = self._refreshed.get(aor)
            if bindings is None:
                continue
            written = self._written[aor]
            if written.enough_until > now:  # written meanwhile for another reason, and refreshed again since
                self._remember(written.enough_until, aor)
            else:
                self._pending[aor] = self._refreshed.pop(aor)

    async def _something_to_do(self) -> None:
        self._take_due()
        if self._pending:
            return
        wait = max(0.0, self._due[0][0] - self._clock()) if self._due else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()

    async def _run(self) -> None:
        while True:
            await self._something_to_do()
            await asyncio.sleep(FLUSH_SECONDS)  # let a burst of registrations gather into one transaction
            self._wake.clear()
            self._take_due()
            try:
                while self._pending:
                    await self._flush()
            except RegistryError as error:
                _log.warning("bindings are not written: %s", error, extra={"fields": {"waiting": self.waiting}})
                await asyncio.sleep(RETRY_SECONDS)

    async def _flush(self) -> None:
        chosen = list(self._pending.items())[:MAX_BATCH]
        offset = self._wall() - self._clock()
        writes = [
            Put(AorBindings(aor, self._node, tuple(one.stored(offset) for one in bindings)))
            if bindings
            else Delete(AorBindings, aor)
            for aor, bindings in chosen
        ]
        await self._store.batch(writes, durable=False)
        now = self._clock()
        for aor, bindings in chosen:
            if bindings:
                expires = tuple(one.expires_at for one in bindings)
                self._written[aor] = _Written(_sameness(bindings), expires, (now + min(expires)) / 2)
            else:
                self._written.pop(aor, None)
            if self._pending.get(aor) is bindings:
                del self._pending[aor]


def _sameness(bindings: tuple[LiveBinding, ...]) -> int:
    """A number that is equal for bindings that differ in nothing but their expiry and the Call-ID and CSeq of the refresh.

    Those two only order the requests of one registration (RFC 3261 10.3), and after a restart no request of before is taken
    any more: its nonce is older than the node (`SipCore`, `started`). But a Call-ID that has given temporary GRUUs counts, for
    another one makes them void. Python keys its hashes of text with a secret of the process, so nobody outside can look for two
    that collide."""
    return hash(
        tuple(
            (one.contact, one.flow.name, one.q, one.instance_id, one.reg_id, one.path, one.user_agent, _gruu_series(one))
            for one in bindings
        )
    )


def _gruu_series(binding: LiveBinding) -> tuple[bytes, int] | None:
    return None if binding.gruu_since < 0 else (binding.call_id, binding.gruu_since)


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
