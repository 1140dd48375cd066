"""`LiveSessions`: the Remote Control sessions this node serves right now, and their ends: expiry, idleness, revocation.

The records are the Store's; here is only what belongs to this node: open connections, use, monotonic deadlines. Revocation
comes by the change feed. The hard end counts on the monotonic clock from the first sight of the record, so no clock step
prolongs it, and by the wall clock on each request, so a step forward ends it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from registry.errors import ChangesLost, RegistryError, StaleVersion
from registry.records import RemoteSession
from registry.store import Put, Store
from tunnel import session as rules
from tunnel.errors import SessionRefused
from tunnel.net.ports import Usage, VisitorObserver

CONNECTIONS = 64
"""Connections one session may have open; a browser uses six."""
FEED_RETRY = 0.5


class LiveSession:
    """One session on this node."""

    __slots__ = ("active_at", "ends_at", "record", "tasks", "timer", "usage")

    def __init__(self, record: RemoteSession, ends_at: float, now: float) -> None:
        self.record = record
        self.ends_at = ends_at
        self.active_at = now
        self.tasks: set[asyncio.Task[None]] = set()
        self.usage = Usage()
        self.timer: asyncio.TimerHandle | None = None

    def deadline(self) -> float:
        return min(self.ends_at, self.active_at + self.record.idle_seconds)


class LiveSessions:
    """See the module's text. `wall()` reads the wall clock, in seconds."""

    def __init__(
        self, *, store: Store, observer: VisitorObserver, entropy: Callable[[int], bytes], wall: Callable[[], float]
    ) -> None:
        self._store = store
        self._observer = observer
        self._entropy = entropy
        self._wall = wall
        self._live: dict[str, LiveSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop

    def __len__(self) -> int:
        return len(self._live)

    async def start(self) -> None:
        """Follow the change feed from now on."""
        self._loop = asyncio.get_running_loop()
        self._spawn(self._follow(await self._store.sequence()))

    async def stop(self) -> None:
        """End every connection; the records stay as they are, for the next start or another node."""
        for live in list(self._live.values()):
            self._drop(live, "stopping")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self, session_id: str, ticket: str, address: str) -> str:
        """Spend a ticket; returns the cookie to set. Raises SessionRefused, StoreUnavailable."""
        stored = await self._store.get(RemoteSession, session_id)
        if stored is None:
            raise SessionRefused("no such link")
        record, cookie = rules.open_with_ticket(stored.record, ticket, self._wall(), self._entropy)
        try:
            await self._store.batch([Put(record, expect=stored.version)])
        except StaleVersion:
            raise SessionRefused("no such link") from None  # another browser was first
        self._observer.session_opened(record, address)
        return cookie

    async def admit(self, session_id: str, cookie: str | None) -> LiveSession:
        """The session that this cookie opens. Raises SessionRefused, StoreUnavailable."""
        live = self._live.get(session_id)
        if live is None:
            stored = await self._store.get(RemoteSession, session_id)
            if stored is None:
                raise SessionRefused("no such session")
            record = stored.record
        else:
            record = live.record
        if cookie is None or not rules.admits(record, cookie, self._wall()):
            raise SessionRefused("no such session")
        return self._live.get(session_id) or self._begin(record)

    def touch(self, live: LiveSession) -> None:
        """The visitor or the device moved bytes: not idle."""
        live.active_at = self._loop.time()

    # ---- inside ---------------------------------------------------------------------------------------------

    def _begin(self, record: RemoteSession) -> LiveSession:
        now = self._loop.time()
        live = LiveSession(record, now + rules.seconds_left(record, self._wall()), now)
        self._live[record.id] = live
        live.timer = self._loop.call_at(live.deadline(), self._on_timer, live)
        self._spawn(self._check_once(record.id))  # a change may have come between reading the record and this line
        return live

    def _on_timer(self, live: LiveSession) -> None:
        now = self._loop.time()
        if now >= live.ends_at:
            self._drop(live, "expired")
        elif now >= live.deadline():
            self._drop(live, "idle")
            self._spawn(self._close_record(live.record.id, "idle"))
        else:
            live.timer = self._loop.call_at(live.deadline(), self._on_timer, live)

    def _drop(self, live: LiveSession, reason: str) -> None:
        """Serve the session no longer: its connections end now."""
        if self._live.pop(live.record.id, None) is None:
            return
        if live.timer is not None:
            live.timer.cancel()
        for task in list(live.tasks):
            task.cancel()
        self._observer.session_closed(live.record, live.usage, reason)

    async def _close_record(self, session_id: str, reason: str) -> None:
        with contextlib.suppress(RegistryError):  # the hard end holds even if the store cannot be told
            await rules.close_session(self._store, session_id, reason=reason, wall=self._wall())

    async def _follow(self, after: int) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._store.watch(after)) as changes:
                    async for change in changes:
                        if change.kind == RemoteSession.__name__ and change.key in self._live:
                            await self._recheck(change.key)
            except ChangesLost:
                after = await self._all_afresh()
            except RegistryError:
                await asyncio.sleep(FEED_RETRY)
                after = await self._all_afresh()

    async def _all_afresh(self) -> int:
        """Look at every session again; returns the point in the feed to follow from, read before the look."""
        while True:
            try:
                after = await self._store.sequence()
                for session_id in list(self._live):
                    await self._recheck(session_id)
            except RegistryError:
                await asyncio.sleep(FEED_RETRY)
            else:
                return after

    async def _check_once(self, session_id: str) -> None:
        with contextlib.suppress(RegistryError):  # then the feed's own retry looks again
            await self._recheck(session_id)

    async def _recheck(self, session_id: str) -> None:
        stored = await self._store.get(RemoteSession, session_id)
        live = self._live.get(session_id)
        if live is None:
            return
        if stored is None or not rules.is_alive(stored.record, self._wall()):
            self._drop(live, "ended")
        else:
            live.record = stored.record

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
