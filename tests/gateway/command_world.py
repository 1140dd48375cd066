"""A queue of commands on a store in memory, simulated devices that remember ids, and a loop whose time passes at once.

`World.kill` is kill -9 of the node: its tasks end where they are; the store keeps what was written, the device what it did.
"""

import asyncio
import selectors
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.command_pace import Pace
from gateway.command_queue import CommandQueue
from gateway.command_ways import Said
from registry.command_states import Event, may_go, step
from registry.commands import Command, CommandName, CommandState, CommandWay, Priority, command_id
from registry.errors import StaleVersion
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Device, DeviceKind
from registry.store import Put, Store, Write
from tests.admin_api.world import YieldingStore

SEEN = 64
WALL = 1_790_000_000.0


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep, its clock jumps."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop for code without sockets. Never waits in real time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_forever(self) -> None:
        """As always; the reactor's loop, whose greenlet this is, counts as not running meanwhile."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            super().run_forever()
        finally:
            asyncio._set_running_loop(outer)

    def run_until_complete(self, future: Any) -> Any:
        """As always; see `run_forever`."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return super().run_until_complete(future)
        finally:
            asyncio._set_running_loop(outer)

    def steps(self, count: int) -> None:
        """Run so many rounds of the loop."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()

    def let_pass(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until_complete(asyncio.sleep(seconds))

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.run_until_complete(work)


@dataclass
class ADevice:
    """One device: whether it is there, how it answers, and what it has really done."""

    mac: MacAddress
    way: CommandWay = CommandWay.CHANNEL
    up: bool = True
    loses_answers: bool = False
    refuses: str = ""
    most_at_once: int = 0
    at_once: int = 0
    done: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    memories: dict[CommandWay, OrderedDict[str, bool]] = field(default_factory=dict)
    """What is known of ids, by the way they came: a connector does not know what the channel brought."""


class Ways:
    """`CommandWays` to these devices."""

    def __init__(self, devices: dict[MacAddress, ADevice]) -> None:
        self._devices = devices

    def best(self, command: Command, device: Device) -> "Way | None":
        found = self._devices[device.mac]
        return Way(found) if found.up and may_go(command, found.way) else None


class Way:
    def __init__(self, device: ADevice) -> None:
        self._device = device
        self.kind = device.way

    async def send(self, command: Command, device: Device, seconds: float) -> Said | None:
        here = self._device
        await asyncio.sleep(0)
        if not here.up:
            return None
        here.at_once += 1
        here.most_at_once = max(here.most_at_once, here.at_once)
        try:
            way, seen = self.kind, here.memories.setdefault(self.kind, OrderedDict())
            if way is CommandWay.SIP or command.id not in seen:
                seen[command.id] = not here.refuses
                while len(seen) > SEEN:
                    seen.popitem(last=False)
                if not here.refuses:
                    here.done[command.id] += 1
                    here.order.append(command.id)
            await asyncio.sleep(0.01)
        finally:
            here.at_once -= 1
        if here.loses_answers or not here.up:
            await asyncio.sleep(min(seconds, 3.0))
            return None
        if way is CommandWay.SIP:
            return Said(Event.ACCEPTED, "200") if seen[command.id] else Said(Event.REFUSED, "489")
        return Said(Event.DONE, "done") if seen[command.id] else Said(Event.REFUSED, "jammed")


class Effects:
    """Notes what the queue asks of `CommandEffects`."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.ended: list[Command] = []
        self.more: list[Write] = []

    async def prepare(self, command: Command, device: Device) -> None:
        self.prepared.append(command.id)

    def writes(self, command: Command, device: Device, said: Said) -> list[Write]:
        return self.more

    def over(self, command: Command) -> None:
        self.ended.append(command)


def device_record(mac: MacAddress) -> Device:
    kind = DeviceKind.MULTI_TENANT_DOOR_PHONE
    return Device(mac, mac.text, "home", kind, "PORTICO-SIM-DOOR", "Door", f"account-{mac}", b"", b"", b"")


class World:
    """One node after another on one store."""

    def __init__(self, devices: int = 2, store: Store | None = None, *, paced: bool = False) -> None:
        self.loop = JumpingLoop()
        self.store = store or YieldingStore()
        self.macs = [MacAddress(f"0C11050000{number:02X}") for number in range(1, devices + 1)]
        self.devices = {mac: ADevice(mac) for mac in self.macs}
        self.effects = Effects()
        self.paced = paced
        self.drift = 0.0
        self._count = 0
        self.queue: CommandQueue
        self.loop.wait(self.store.batch([Put(device_record(mac)) for mac in self.macs]))
        self.start()

    def wall(self) -> float:
        return WALL + self.loop.time() + self.drift

    def start(self, node: str = "node-1") -> None:
        self.model = ReadModel(self.store)
        pace = Pace() if self.paced else Pace(0.0, 10**9)
        self.queue = CommandQueue(
            self.store,
            self.model,
            Ways(self.devices),
            self.effects,
            node=node,
            wall=self.wall,
            clock=self.loop.time,
            pace=pace,
        )
        self.model.subscribe(self.queue.changed, self.queue.cleared)
        self._feed = self.loop.create_task(self._follow(self.model))
        self.loop.wait(self._begin())

    async def _begin(self) -> None:
        self.queue.start()

    async def _follow(self, model: ReadModel) -> None:
        watch = self.store.watch(await self.store.sequence())
        async for change in watch:
            model.apply(change)

    def kill(self) -> None:
        """kill -9: nothing that was not written stays."""
        self._feed.cancel()
        self.loop.wait(self._end())

    async def _end(self) -> None:
        await self.queue.stop()
        await asyncio.gather(self._feed, return_exceptions=True)

    def close(self) -> None:
        self.kill()
        self.loop.close()

    def order(self, mac: MacAddress, name: CommandName = CommandName.REBOOT, seconds: float = 1000.0, **changes: Any) -> str:
        """What the admin API writes; returns the command's id once it is acknowledged."""
        self._count += 1
        now = self.wall()
        made = Command(command_id(now, self._count.to_bytes(10, "big")), mac, "home", name, "tester", now, now + seconds, now)
        self.loop.wait(self.store.batch([Put(replace(made, **changes), expect=0)]))
        return made.id

    def cancel(self, command: str) -> bool:
        """What the admin API does; whether it could."""
        return bool(self.loop.wait(self._cancel(command)))

    async def _cancel(self, command: str) -> bool:
        stored = await self.store.get(Command, command)
        assert stored is not None
        after = step(stored.record, Event.CANCELLED, self.wall())
        if after is stored.record:
            return False
        try:
            await self.store.batch([Put(after, expect=stored.version)])
        except StaleVersion:
            return False
        return True

    def get(self, command: str) -> Command:
        stored = self.loop.wait(self.store.get(Command, command))
        assert stored is not None
        found: Command = stored.record
        return found

    def state(self, command: str) -> CommandState:
        return self.get(command).state

    def up(self, mac: MacAddress, up: bool = True) -> None:
        self.devices[mac].up = up
        if up:
            self.tell(self.queue.came, mac)

    def tell(self, method: Callable[..., None], *arguments: Any) -> None:
        """Call this in the loop, where it may begin tasks."""

        async def call() -> None:
            method(*arguments)

        self.loop.wait(call())


__all__ = ["ADevice", "CommandName", "CommandState", "Priority", "World"]
