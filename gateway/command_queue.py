"""`CommandQueue`: brings commands to devices, one at a time to each, and writes what became of them.

A worker serves one device while there is something to do for it. It is woken by a change of its commands, by the device's coming
(channel up, registration) and by the next moment at which time changes something; nothing is polled. Everything a worker decides
by is in the store, and that a command is about to be sent is written before it is sent: so a node that is killed at any point,
or another one, goes on from there, and a repetition carries the id by which the device knows it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from gateway.command_pace import Pace
from gateway.command_ways import Said, Way
from registry.command_states import FETCHES, Event, is_lost, next_moment, next_of, overdue, sent, step
from registry.commands import MAX_WAITING, CollectedLog, Command, CommandName, CommandState
from registry.errors import Conflict, RegistryError, StaleVersion
from registry.mac import MacAddress
from registry.records import Device
from registry.store import MAX_PAGE, Change, Delete, Put, Record, Store, Stored, Write

R = TypeVar("R", bound=Record)
KEPT = 50
"""Commands that are over which are kept for each device; older ones are forgotten."""
RETRY_FIRST = 1.0
RETRY_MOST = 30.0
"""Seconds until a command that got no answer is sent again while its way stays; doubled each time."""
STORE_SECONDS = 2.0
MAX_ACCEPTED = 10_000
_log = logging.getLogger("portico.commands")


class Records(Protocol):
    """What is asked of the read model."""

    async def get(self, kind: type[R], key: str) -> Stored[R] | None: ...


class Ways(Protocol):
    """`CommandWays`."""

    def best(self, command: Command, device: Device) -> Way | None: ...


class Effects(Protocol):
    """What belongs to a command beside its own record (`CommandEffects`)."""

    async def prepare(self, command: Command, device: Device) -> None:
        """Do what must be done before it is sent. May be done again."""
        ...

    def writes(self, command: Command, device: Device, said: Said) -> list[Write]:
        """What is written with the end of a command."""
        ...

    def over(self, command: Command) -> None:
        """The end of a command is in the store: count it."""
        ...


class CommandQueue:
    """The commands of all devices that this node can reach. `start` and `stop` once each. `wall` and `clock` in seconds."""

    def __init__(
        self,
        store: Store,
        records: Records,
        ways: Ways,
        effects: Effects,
        *,
        node: str,
        wall: Callable[[], float],
        clock: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._records = records
        self._ways = ways
        self._effects = effects
        self._node = node
        self._wall = wall
        self._clock = clock
        self._pace = pace or Pace()
        self._workers: dict[MacAddress, asyncio.Task[None]] = {}
        self._again: set[MacAddress] = set()
        self._timers: dict[MacAddress, asyncio.TimerHandle] = {}
        self._waiting: dict[MacAddress, str] = {}
        """Devices that have commands which are not over, with their SIP account."""
        self._accounts: dict[str, MacAddress] = {}
        self._silent: dict[MacAddress, int] = {}
        self._accepted: dict[MacAddress, str] = {}
        """The last order to fetch the configuration that a device has accepted and not been seen to obey."""
        self._news: asyncio.Queue[str | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Devices that have commands which are not over."""
        return len(self._waiting)

    def start(self) -> None:
        self._news.put_nowait(None)
        task = asyncio.get_running_loop().create_task(self._follow(), name="commands")
        self._tasks.add(task)

    async def stop(self) -> None:
        """Send nothing more. What was sent and not answered is sent again, with its id, by the next start."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = [*self._workers.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What wakes workers

    def changed(self, change: Change) -> None:
        """For the change feed."""
        if change.kind == Command.__name__ and not change.deleted:
            self._news.put_nowait(change.key)

    def cleared(self) -> None:
        """The feed was lost: look at everything again."""
        self._news.put_nowait(None)

    def came(self, mac: MacAddress) -> None:
        """The device has just become reachable in some way, or shows that it still is."""
        if mac in self._waiting:
            self._silent.pop(mac, None)
            self.wake(mac)

    def registered(self, account: str) -> None:
        """As `came`, by the SIP account."""
        mac = self._accounts.get(account)
        if mac is not None:
            self.came(mac)

    def fetched(self, mac: MacAddress) -> None:
        """The device has fetched its configuration: it did what it accepted."""
        command = self._accepted.pop(mac, None)
        if command is not None and not self._stopped:
            task = asyncio.get_running_loop().create_task(self._confirm(command), name="confirm a command")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def wake(self, mac: MacAddress) -> None:
        """See what there is to do for this device."""
        if self._stopped:
            return
        timer = self._timers.pop(mac, None)
        if timer is not None:
            timer.cancel()
        if mac in self._workers:
            self._again.add(mac)
            return
        self._workers[mac] = asyncio.get_running_loop().create_task(self._serve(mac), name="commands of a device")

    async def _follow(self) -> None:
        while True:
            key = await self._news.get()
            try:
                if key is None:
                    await self._find_all()
                    continue
                found = await self._store.get(Command, key)
            except RegistryError as error:
                _log.warning("commands could not be read: %s", error)
                await asyncio.sleep(STORE_SECONDS)
                self._news.put_nowait(key)
                continue
            if found is None or found.record.state.is_over:
                self._pace.forget(key)
            else:
                self.wake(found.record.mac)

    async def _find_all(self) -> None:
        after: str | None = None
        while True:
            page = await self._store.list(Command, "open", "", after=after, limit=MAX_PAGE)
            for mac in dict.fromkeys(stored.record.mac for stored in page.items):
                self.wake(mac)
            after = page.next
            if after is None:
                return

    # A worker

    async def _serve(self, mac: MacAddress) -> None:
        wait: float | None
        try:
            while True:
                self._again.discard(mac)
                wait = STORE_SECONDS  # what raised is looked at again a little later
                wait = await self._step(mac)
                if wait != 0.0 and mac not in self._again:
                    return
        except RegistryError as error:
            _log.warning("commands of a device could not be read or written: %s", error)
        finally:
            self._workers.pop(mac, None)
            if not self._stopped:
                if mac in self._again:
                    wait = 0.0
                if wait is not None:
                    self._timers[mac] = asyncio.get_running_loop().call_later(wait, self.wake, mac)

    async def _step(self, mac: MacAddress) -> float | None:
        """Do one thing for the device. Seconds until the next (0: at once), None where only news bring one. Raises
        RegistryError."""
        page = await self._store.list(Command, "queue", mac.text, limit=MAX_PAGE)
        now, queue = self._wall(), {stored.record.id: stored for stored in page.items}
        if not queue:
            self._forget(mac)
            return None
        self._waiting.setdefault(mac, "")
        for stored in queue.values():
            after = overdue(stored.record, now)
            if after is not stored.record:
                await self._end(stored, after, [])
                return 0.0
        commands = [stored.record for stored in queue.values()]
        moment = next_moment(commands, now)
        rest = None if moment is None else max(0.001, moment - now)
        chosen = next_of(commands, now)
        if chosen is None:
            return rest
        stored = queue[chosen.id]
        device = await self._records.get(Device, mac.text)
        if device is None:
            await self._end(stored, step(chosen, Event.GONE, now), [])
            return 0.0
        self._known(mac, device.record.account)
        if is_lost(chosen, self._node):
            await self._end(stored, step(chosen, Event.LOST, now), [])
            return 0.0
        way = self._ways.best(chosen, device.record)
        if way is None:
            return rest
        wait = self._pace.wait(chosen, self._clock())
        if wait > 0.0:
            return min(wait, rest or wait)
        return await self._send(stored, device.record, way)

    async def _send(self, stored: Stored[Command], device: Device, way: Way) -> float:
        await self._effects.prepare(stored.record, device)
        begun = sent(stored.record, way.kind, self._node, self._wall())
        try:
            (version,) = await self._store.batch([Put(begun, expect=stored.version)])
        except StaleVersion:
            return 0.0
        except Conflict:  # another node sends another one
            return RETRY_FIRST
        said = await way.send(begun, device, max(0.001, begun.deadline - self._wall()))
        mac, now = begun.mac, self._wall()
        after = begun if said is None else step(begun, said.event, now, said.word)
        if said is None or said.event is Event.NOT_SENT:
            silent = self._silent[mac] = self._silent.get(mac, 0) + 1
            if after is not begun:
                await self._end(Stored(begun, version), after, [])
            return float(min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(silent - 1, 10)))
        self._silent.pop(mac, None)
        await self._end(Stored(begun, version), after, self._effects.writes(after, device, said))
        return 0.0

    async def _end(self, before: Stored[Command], after: Command, more: list[Write]) -> None:
        """Write the command's new state, however long the store is away; somebody else's word counts."""
        while True:
            try:
                await self._store.batch([Put(after, expect=before.version), *more])
                break
            except StaleVersion:
                return
            except Conflict:  # what belongs to it is there already
                more = []
            except RegistryError as error:
                _log.warning("the end of a command is not written yet: %s", error)
                await asyncio.sleep(STORE_SECONDS)
        if after.state is CommandState.ACCEPTED and after.name in FETCHES:
            self._accepted.pop(after.mac, None)
            self._accepted[after.mac] = after.id
            if len(self._accepted) > MAX_ACCEPTED:
                del self._accepted[next(iter(self._accepted))]
        if after.state.is_over:
            self._pace.forget(after.id)
            self._effects.over(after)
            with contextlib.suppress(RegistryError):
                await self._prune(after.mac)

    async def _confirm(self, command: str) -> None:
        with contextlib.suppress(RegistryError):
            found = await self._store.get(Command, command)
            if found is not None and found.record.state is CommandState.ACCEPTED:
                seconds = self._wall() - found.record.since
                word = f"{found.record.result}; it fetched its configuration {seconds:.1f} s later"
                await self._end(found, step(found.record, Event.CONFIRMED, self._wall(), word), [])

    async def _prune(self, mac: MacAddress) -> None:
        """Forget what is long over. Twice the number kept may be there, so that not each end deletes one."""
        page = await self._store.list(Command, "mac", mac.text, limit=2 * KEPT + MAX_WAITING, newest_first=True)
        over = [stored for stored in page.items if stored.record.state.is_over]
        if len(over) >= 2 * KEPT:
            await self._store.batch([write for stored in over[KEPT:] for write in forgotten(stored)])

    def _known(self, mac: MacAddress, account: str) -> None:
        self._waiting[mac] = account
        if account:
            self._accounts[account] = mac

    def _forget(self, mac: MacAddress) -> None:
        self._accounts.pop(self._waiting.pop(mac, ""), None)
        self._silent.pop(mac, None)


def forgotten(stored: Stored[Command]) -> list[Write]:
    """The writes that forget a command that is over."""
    record = stored.record
    log: list[Write] = [Delete(CollectedLog, record.id)] if record.name is CommandName.COLLECT_LOG else []
    return [Delete(Command, record.id, expect=stored.version), *log]
