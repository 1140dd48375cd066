"""`LiveSessions`: the Remote Control sessions this node serves right now, and their ends: expiry, idleness, revocation, logout.

The records are the Store's; here is only what belongs to this node: open connections, use, monotonic deadlines. Revocation
comes by the change feed, as does the end of the login that made the session. The hard end counts on the monotonic clock from the
first sight of the record, so no clock step prolongs it, and by the wall clock on each request, so a step forward ends it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from registry.errors import ChangesLost, RegistryError, StaleVersion
from registry.records import ApiToken, RemoteSession, Site
from registry.store import Change, Put, Store
from tunnel import session as rules
from tunnel.errors import SessionRefused
from tunnel.net.ports import Usage, VisitorObserver

CONNECTIONS = 64
"""Connections one session may have open; a browser uses six."""
FEED_RETRY = 0.5
SAVE_EVERY = 30.0
"""Seconds between two writes of a session's use into its record."""
FAREWELL = 2.0
"""Seconds that the last writes get when the node stops."""


class LiveSession:
    """One session on this node."""

    __slots__ = ("active_at", "began", "ends_at", "record", "saved", "target", "tasks", "timer", "usage")

    def __init__(self, record: RemoteSession, ends_at: float, now: float) -> None:
        self.record = record
        self.ends_at = ends_at
        self.began = self.active_at = now
        self.target = record.service
        """The service of the device that is reached: its page moves to TLS when it says so. Learnt anew after a restart."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.usage = Usage()
        self.saved = Usage()
        """As much of it as is in the record."""
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
        self._last_words: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop

    def __len__(self) -> int:
        return len(self._live)

    async def start(self) -> None:
        """Follow the change feed from now on."""
        self._loop = asyncio.get_running_loop()
        self._spawn(self._follow(await self._store.sequence()))
        self._spawn(self._save_often())

    async def stop(self) -> None:
        """End every connection; the records stay open, for the next start or another node."""
        for live in list(self._live.values()):
            self._drop(live, "stopping")
        if self._last_words:
            await asyncio.wait(self._last_words, timeout=FAREWELL)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self, session_id: str, ticket: str, address: str, *, web: bool = True, port: int = 0) -> str:
        """Spend a ticket; returns the cookie to set. Raises SessionRefused, StoreUnavailable."""
        stored = await self._store.get(RemoteSession, session_id)
        if stored is None or not _is_for(stored.record, web, port):
            raise SessionRefused("no such link")
        record, cookie = rules.open_with_ticket(stored.record, ticket, self._wall(), self._entropy)
        if await self._login_seconds(record) <= 0.0:
            raise SessionRefused("the login that made it is over")
        record = rules.opened_from(record, address)
        try:
            await self._store.batch([Put(record, expect=stored.version)])
        except StaleVersion:
            raise SessionRefused("no such link") from None  # another browser was first
        self._observer.session_opened(record, address)
        return cookie

    async def at_port(self, port: int) -> str | None:
        """The session that has this port of the visitors' listener. Raises StoreUnavailable."""
        for live in self._live.values():
            if live.record.port == port:
                return live.record.id
        stored = await self._store.get_unique(RemoteSession, "port", str(port))
        return None if stored is None else stored.record.id

    async def admit(self, session_id: str, cookie: str | None, *, web: bool = True, port: int = 0) -> LiveSession:
        """The session that this cookie opens. Raises SessionRefused, StoreUnavailable."""
        live = self._live.get(session_id)
        if live is None:
            stored = await self._store.get(RemoteSession, session_id)
            if stored is None:
                raise SessionRefused("no such session")
            record = stored.record
        else:
            record = live.record
        if cookie is None or not _is_for(record, web, port) or not rules.admits(record, cookie, self._wall()):
            raise SessionRefused("no such session")
        if live is not None:
            return live
        seconds = await self._login_seconds(record)
        if seconds <= 0.0:
            raise SessionRefused("the login that made it is over")
        return self._live.get(session_id) or self._begin(record, seconds)

    def touch(self, live: LiveSession) -> None:
        """The visitor or the device moved bytes: not idle."""
        live.active_at = self._loop.time()

    async def end(self, live: LiveSession, reason: str) -> None:
        """End a session for good, everywhere. Returns when it is stored. Raises StoreUnavailable."""
        self._drop(live, reason)
        await rules.close_session(self._store, live.record.id, reason=reason, wall=self._wall())

    # ---- inside ---------------------------------------------------------------------------------------------

    async def _login_seconds(self, record: RemoteSession) -> float:
        """How long the login that made the session still holds: 0 when it is over. A forward needs its site's leave besides."""
        if record.service != rules.WEB:
            site = await self._store.get(Site, record.site)
            if site is None or not site.record.allow_forward:
                return 0.0
        token = rules.login_of(record)
        if token is None:
            return rules.SESSION_SECONDS
        stored = await self._store.get(ApiToken, token)
        if stored is None or stored.record.revoked:
            return 0.0
        expires = stored.record.expires
        return rules.SESSION_SECONDS if expires is None else max(0.0, expires - self._wall())

    def _begin(self, record: RemoteSession, seconds: float) -> LiveSession:
        now = self._loop.time()
        live = LiveSession(record, now + min(seconds, rules.seconds_left(record, self._wall())), now)
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
        live.usage.seconds = self._loop.time() - live.began
        self._observer.session_closed(live.record, live.usage, reason)
        last = self._spawn(self._save(live, None if reason in ("ended", "stopping") else reason))
        self._last_words.add(last)
        last.add_done_callback(self._last_words.discard)

    async def _save(self, live: LiveSession, over: str | None = None) -> None:
        """Write what came of the session so far into its record; `over`: it has ended, for this reason."""
        usage, saved = live.usage, live.saved
        live.saved = Usage(usage.requests, usage.bytes_to_device, usage.bytes_to_visitor, set(), dict(usage.pages))
        with contextlib.suppress(RegistryError):  # the end holds even if the store cannot be told
            while (stored := await self._store.get(RemoteSession, live.record.id)) is not None:
                record = rules.with_use(
                    stored.record,
                    requests=live.saved.requests - saved.requests,
                    to_device=live.saved.bytes_to_device - saved.bytes_to_device,
                    to_visitor=live.saved.bytes_to_visitor - saved.bytes_to_visitor,
                    pages=live.saved.pages,
                )
                if over is not None:
                    record = rules.closed(record, over, self._wall())
                try:
                    await self._store.batch([Put(record, expect=stored.version)])
                except StaleVersion:
                    continue
                return

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY)
            for live in list(self._live.values()):
                if live.usage.requests != live.saved.requests or live.usage.bytes_to_visitor != live.saved.bytes_to_visitor:
                    await self._save(live)

    async def _follow(self, after: int) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._store.watch(after)) as changes:
                    async for change in changes:
                        for session_id in self._touched_by(change):
                            await self._recheck(session_id)
            except ChangesLost:
                after = await self._all_afresh()
            except RegistryError:
                await asyncio.sleep(FEED_RETRY)
                after = await self._all_afresh()

    def _touched_by(self, change: Change) -> list[str]:
        """The sessions served here that a change may end."""
        if change.kind == RemoteSession.__name__:
            return [change.key] if change.key in self._live else []
        live = self._live.values()
        if change.kind == ApiToken.__name__:
            return [one.record.id for one in live if rules.login_of(one.record) == change.key]
        if change.kind == Site.__name__:
            return [one.record.id for one in live if one.record.site == change.key and one.record.service != rules.WEB]
        return []

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
        elif await self._login_seconds(stored.record) <= 0.0:
            self._drop(live, "logout")
        else:
            live.record = stored.record

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_for(record: RemoteSession, web: bool, port: int) -> bool:
    """Whether a session is of this kind, and at this port of the listener (0: it has a host name of its own, or is a forward)."""
    return (record.service == rules.WEB) is web and record.port == port
