"""Names of trunks' gateways -> addresses (RFC 3263 4.2), beside the loop: SRV where no port is given, then A and AAAA.

Only configured names come here. Every answer comes within `DEADLINE`. Answers are kept for a short while (the system's resolver
does not tell how long they hold), failures shorter; while DNS is silent, the last good answer serves on.
"""

import asyncio
import contextlib
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.names import client, dns

from sip.own_address import DEFAULT_PORTS

Address = tuple[str, int]

DEADLINE = 2.0
"""Seconds for all look-ups of one name."""
KEPT = 60.0
KEPT_FAILURE = 5.0
KEPT_STALE = 3600.0
"""Seconds that an answer, a failure, and an answer for want of a better one are used."""
MAX_NAMES = 256
MAX_ADDRESSES = 8
THREADS = 4
_SERVICES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}


class Service(NamedTuple):
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    host: str
    port: int


class _Kept(NamedTuple):
    addresses: tuple[Address, ...]
    until: float
    good_at: float


Lookup = Callable[[str], Awaitable[Sequence[str]]]
ServiceLookup = Callable[[str], Awaitable[Sequence[Service]]]


class Resolver:
    """`lookup(name)` gives IP literals, `services(name)` SRV records; both may raise. `fraction()` draws from [0, 1)."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        fraction: Callable[[], float],
        lookup: Lookup | None = None,
        services: ServiceLookup | None = None,
    ) -> None:
        self._clock = clock
        self._fraction = fraction
        self._lookup = lookup or SystemLookup().addresses
        self._services = services or SrvLookup().services
        self._kept: OrderedDict[tuple[str, int, str], _Kept] = OrderedDict()
        self._running: dict[tuple[str, int, str], asyncio.Task[tuple[Address, ...]]] = {}

    async def addresses(self, host: str, port: int, transport: str) -> tuple[Address, ...]:
        """The addresses of a name, best first, at most MAX_ADDRESSES; none where there are none. Does not raise."""
        key = (host, port, transport)
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept.until:
            return kept.addresses
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._fresh(key))
            task.add_done_callback(lambda _task: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _fresh(self, key: tuple[str, int, str]) -> tuple[Address, ...]:
        before = self._kept.get(key)
        found: tuple[Address, ...] = ()
        try:
            async with asyncio.timeout(DEADLINE):
                found = await self._ask(*key)
        except Exception as error:
            self.log.warn("{host} could not be resolved: {error}", host=key[0], error=type(error).__name__)
        now = self._clock()
        if found:
            kept = _Kept(found, now + KEPT, now)
        elif before is not None and before.addresses and now < before.good_at + KEPT_STALE:
            kept = _Kept(before.addresses, now + KEPT_FAILURE, before.good_at)
        else:
            kept = _Kept((), now + KEPT_FAILURE, now)
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_NAMES:
            self._kept.popitem(last=False)
        return kept.addresses

    async def _ask(self, host: str, port: int, transport: str) -> tuple[Address, ...]:
        if port:
            return tuple((one, port) for one in (await self._lookup(host))[:MAX_ADDRESSES])
        found: list[Address] = []
        services: Sequence[Service] = ()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(DEADLINE / 2):
                services = await self._services(_SERVICES[transport] + host)
        for service in in_order(services, self._fraction)[:MAX_ADDRESSES]:
            with contextlib.suppress(OSError):
                found += [(one, service.port) for one in await self._lookup(service.host)]
        if not services:
            found = [(one, DEFAULT_PORTS[transport]) for one in await self._lookup(host)]
        return tuple(found[:MAX_ADDRESSES])


def in_order(services: Sequence[Service], fraction: Callable[[], float]) -> list[Service]:
    """RFC 2782: by priority; within one, drawn by weight. A target of "." says that there is no such service."""
    found: list[Service] = []
    left = sorted((one for one in services if one.host.strip(".")), key=lambda one: one.priority)
    while left:
        group = [one for one in left if one.priority == left[0].priority]
        at = fraction() * sum(one.weight for one in group)
        for one in group:
            at -= one.weight
            if at < 0 or one is group[-1]:
                found.append(one)
                left.remove(one)
                break
    return found


class SystemLookup:
    """The system's resolver (hosts file, nsswitch, DNS) in threads of its own: it blocks and cannot be cancelled.

    At most THREADS look-ups run; while that many hang, further ones wait for their deadline. The threads are daemons, so that a
    name server that does not answer does not hold the end of the process up.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(THREADS)

    async def addresses(self, host: str) -> Sequence[str]:
        """IP literals, in the system's order of preference. Raises OSError."""
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def done(found: Sequence[str] | None, error: OSError | None) -> None:
            self._places.release()
            if answer.done():
                return
            if found is not None:
                answer.set_result(found)
            else:
                answer.set_exception(error or OSError("no answer"))

        def look_up() -> None:
            found: Sequence[str] | None = None
            failure: OSError | None = None
            try:
                rows = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
                found = list(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows))
            except (OSError, UnicodeError) as error:
                failure = error if isinstance(error, OSError) else OSError("no name")
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, found, failure)

        threading.Thread(target=look_up, name="portico-dns", daemon=True).start()
        return await answer


class SrvLookup:
    """SRV records through Twisted's resolver, which asks the name servers of /etc/resolv.conf. `servers` names others."""

    def __init__(self, servers: Sequence[Address] | None = None) -> None:
        self._servers = servers
        self._resolver: Any = None

    async def services(self, name: str) -> Sequence[Service]:
        """The records of a service's name. Raises where there are none."""
        if self._resolver is None:
            # Made on first use: it looks at the reactor and at resolv.conf.
            resolv = None if self._servers else "/etc/resolv.conf"
            self._resolver = client.Resolver(resolv=resolv, servers=list(self._servers or ()), timeout=(1,))  # type: ignore[no-untyped-call]
        asked: Deferred[Any] = self._resolver.lookupService(name)
        try:
            answers, _, _ = await asked.asFuture(asyncio.get_running_loop())
        except asyncio.CancelledError:
            asked.addErrback(lambda _failure: None)
            raise
        return [
            Service(
                int(row.payload.priority), int(row.payload.weight), row.payload.target.name.decode("ascii"), int(row.payload.port)
            )
            for row in answers[: 4 * MAX_ADDRESSES]
            if row.type == dns.SRV and isinstance(row.payload, dns.Record_SRV)
        ]
