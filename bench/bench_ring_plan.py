"""CPU time of a ring plan look-up: what call policy does to a dialled number, over the real directory, beside a plain account.

Each look-up is of another house, so that it meets cold caches, as in a node. A house has four monitors, a guard phone and two
apps, one of which has a schedule and a subscription, and two landlines: call type 5, four stages, nine targets.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from admin_api.plans import ring_plan
from bench.outcome import Outcome, spread
from gateway.directory import MemoryDirectory
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, AccountOwner, Device, DeviceKind, Site, User
from registry.schedule import Schedule, Window
from registry.store import Put, Record
from registry.vault import Vault
from sip.call_policy import Destination, destination
from sip.directory import AccountFacts, AccountQuestion, RingPlanQuestion

EVENINGS = Schedule((Window(frozenset(range(7)), 0, 23 * 60 + 59),))
WALL = 1_790_000_000.0


class Town:
    """Houses, each a site of its own with one number; everything in memory."""

    def __init__(self, houses: int) -> None:
        self.store = MemoryStore()
        self.vault = Vault(bytes(32), bytes)
        self.directory = MemoryDirectory(ReadModel(self.store), self.vault, lambda: WALL)
        self.houses = houses
        self.callers: list[AccountFacts] = []

    async def build(self) -> None:
        """Write every house, and load it as calls would."""
        await self.directory.fetch(AccountQuestion("101"))
        for house in range(self.houses):
            site, names = Site(f"s{house}", "House", "Europe/Berlin"), [f"{house:06d}{place}" for place in range(8)]
            kinds = [DeviceKind.MULTI_TENANT_DOOR_PHONE, *[DeviceKind.INDOOR_MONITOR] * 4, DeviceKind.GUARD_PHONE]
            devices = [
                Device(MacAddress(f"{house:010X}{place:02X}"), f"{name}d", site.id, kind, "R29", "x", name, b"", b"", b"")
                for place, (name, kind) in enumerate(zip(names, kinds, strict=False))
            ]
            user = User(f"u{house}", site.id, "A", "B", "101", call_type=5, landlines=("+491", "+492"), app_until=WALL + 1)
            user = replace(user, app_account=names[6], more_apps=(names[7],))
            apps = [self._account(name, site.id, user.id, schedule=EVENINGS) for name in names[6:]]
            plan = ring_plan(user, site, devices[1:5], devices[5:])
            accounts = [*apps, *(self._account(one.account, site.id, "", device=True) for one in devices)]
            records: list[Record] = [site, user, plan, *devices, *accounts]
            await self.store.batch([Put(record) for record in records])
            for name in names:
                await self.directory.fetch(AccountQuestion(name))
            await self.directory.fetch(RingPlanQuestion(site.id, "101"))
            caller = self.directory.account(names[0])
            assert isinstance(caller, AccountFacts)
            self.callers.append(caller)

    def _account(self, name: str, site: str, owner: str, *, device: bool = False, schedule: Schedule | None = None) -> Account:
        kind = AccountOwner.DEVICE if device else AccountOwner.APP
        sealed = self.vault.seal_text("secret", f"account:{name}")
        return Account(name, site, kind, owner, "x", sealed, schedule=schedule or Schedule())

    def plans(self) -> None:
        for caller in self.callers:
            found = destination(caller, "101", self.directory)
            assert isinstance(found, Destination)
            assert len(found.stages) == 4

    def accounts(self) -> None:
        for caller in self.callers:
            assert isinstance(destination(caller, f"{caller.username[:-1]}1", self.directory), Destination)


def cpu(act: Callable[[], None]) -> float:
    """CPU seconds of this process, the garbage collector kept out."""
    gc.collect()
    gc.disable()
    before = time.process_time()
    act()
    spent = time.process_time() - before
    gc.enable()
    return spent


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench ring_plan")
    parser.add_argument("--houses", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    town = Town(options.houses)
    console.print(f"building {options.houses} houses")
    asyncio.run(town.build())
    town.plans()
    steps: dict[str, list[float]] = {"a plain account": [], "a ring plan of nine targets": [], "= added by the plan": []}
    for _ in range(options.rounds):
        plain, plan = (cpu(act) / options.houses * 1e6 for act in (town.accounts, town.plans))
        for name, value in zip(steps, (plain, plan, plan - plain), strict=True):
            steps[name].append(value)
    table = Table("look-up", "CPU us, median", "least", "greatest", title="Call policy over the directory")
    figures: dict[str, Any] = {}
    for name, values in steps.items():
        found = spread(values)
        assert found is not None
        table.add_row(name, f"{found.median:.1f}", f"{found.least:.1f}", f"{found.greatest:.1f}")
        figures[name.removeprefix("= ")] = {"median_us": found.median, "least_us": found.least, "greatest_us": found.greatest}
    return Outcome("ring_plan", [table], figures, usable=True)
