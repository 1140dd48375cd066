"""CPU time of one configuration: rendered from its records, and found again by a device that polls.

Each is asked for as devices do, by token and MAC, at sites of doors, monitors and guard phones; lines stand in every scope.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from autop.identify import MacFile
from autop.net.configurations import Configurations, File
from autop.net.neighbours import SiteNeighbours
from autop.net.one_time import OneTimeDelivery
from autop.net.operator_lines import scopes, seal_lines
from autop.settings import AutopSettings
from bench.outcome import Outcome, spread
from registry.configuration import AutopCommands
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, AccountOwner, Device, DeviceKind, Relay, Site
from registry.store import MAX_BATCH, Put, Record
from registry.vault import Vault

SETTINGS = AutopSettings("gate.example", "https://gate.example:8443/autop", 300, 5060, 5060, 5061, "gate.example", 7443)
TOKEN = "mfrggzdfmztwq2lknnwg23tpoambrgga"
KINDS = {
    DeviceKind.MULTI_TENANT_DOOR_PHONE: "R29",
    DeviceKind.INDOOR_MONITOR: "C313",
    DeviceKind.GUARD_PHONE: "R67",
    DeviceKind.ACCESS_CONTROL: "A08",
}
LINES = tuple(f"Config.Settings.BENCH.Item{n} = value {n}" for n in range(5))


class Fleet:
    """Sites of 40 devices each, ten of a kind; everything in memory, secrets sealed as in a node."""

    def __init__(self, devices: int) -> None:
        self.store = MemoryStore()
        self.counter = 0
        self.vault = Vault(bytes(range(32)), self._entropy)
        self.macs = {kind: [MacAddress(f"0C11{kind:02X}{n:06X}") for n in range(devices)] for kind in KINDS}
        self.configurations = Configurations(
            read_model=ReadModel(self.store),
            vault=self.vault,
            settings=SETTINGS,
            neighbours=SiteNeighbours(self.store),
            one_time=OneTimeDelivery(self.store, self.vault),
        )

    def _entropy(self, size: int) -> bytes:
        self.counter += 1
        return self.counter.to_bytes(size)

    async def build(self) -> None:
        """Write every record, and fetch everything once, as after the first boot."""
        records: dict[str, Record] = {}
        for kind, macs in self.macs.items():
            for number, mac in enumerate(macs):
                device, account = self._device(kind, mac, f"s{number // 10}")
                records |= {f"a{account.username}": account, device.key: device}
                site = f"s{number // 10}"
                records[site] = Site(site, "House", "Europe/Berlin")
                for _, scope in scopes(device):
                    records[scope] = AutopCommands(scope, site, seal_lines(self.vault, scope, LINES))
        puts = [Put(record) for record in records.values()]
        for start in range(0, len(puts), MAX_BATCH):
            await self.store.batch(puts[start : start + MAX_BATCH])
        for kind in KINDS:
            await self.poll(kind)

    def _device(self, kind: DeviceKind, mac: MacAddress, site: str) -> tuple[Device, Account]:
        name = str(int(mac.text, 16))
        device = Device(
            mac=mac,
            id=f"d{mac}",
            site=site,
            kind=kind,
            model=KINDS[kind],
            name="Main entrance",
            account=name,
            sealed_token=self.vault.seal_text(TOKEN, f"device-token:{mac}"),
            sealed_channel_key=self.vault.seal(bytes(32), f"device-channel:{mac}"),
            sealed_web_password=self.vault.seal_text("wE7rT2yU9iO4pA1s", f"device-web:{mac}"),
            network_group="Haus A",
            department=f"dep-{site}",
            relays=(Relay("Door", "1"), Relay("Garage", "2")) if kind.is_door else (),
            button_number="101" if kind.is_door else "",
            autop_commands=LINES,
        )
        sealed = self.vault.seal_text("k3Jq9sXw7TzPb2VnM5cRdLhA", f"account:{name}")
        return device, Account(name, site, AccountOwner.DEVICE, device.id, device.name, sealed)

    async def poll(self, kind: DeviceKind) -> int:
        """Every device of a kind asks once. Returns the bytes that were found."""
        size = 0
        for mac in self.macs[kind]:
            found = await self.configurations.find(MacFile(TOKEN, mac))
            assert isinstance(found, File)
            size += len(found.body)
        return size

    def forget(self) -> None:
        """Nothing rendered is remembered."""
        self.configurations.use_settings(SETTINGS)


def cpu(fleet: Fleet, kind: DeviceKind) -> float:
    """Microseconds of CPU for one device, the garbage collector kept out."""
    gc.collect()
    gc.disable()
    begun = time.process_time()
    asyncio.run(fleet.poll(kind))
    spent = time.process_time() - begun
    gc.enable()
    return spent / len(fleet.macs[kind]) * 1e6


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench autop_render")
    parser.add_argument("--devices", type=int, default=1000, help="devices of each kind")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    fleet = Fleet(options.devices)
    console.print(f"building {options.devices * len(KINDS)} devices")
    asyncio.run(fleet.build())
    table = Table(
        "configuration of a", "bytes", "CPU us, median", "least", "greatest", title="Autop: one fetch without TLS and HTTP"
    )
    figures: dict[str, Any] = {}
    for kind in KINDS:
        name = kind.name.lower().replace("_", " ")
        size = asyncio.run(fleet.poll(kind)) // options.devices
        values: dict[str, list[float]] = {"rendered": [], "polled again": []}
        for _ in range(options.rounds):
            fleet.forget()
            values["rendered"].append(cpu(fleet, kind))
            values["polled again"].append(cpu(fleet, kind))
        for what, each in values.items():
            found = spread(each)
            assert found is not None
            table.add_row(f"{name}, {what}", str(size), f"{found.median:.0f}", f"{found.least:.0f}", f"{found.greatest:.0f}")
            figures[f"{name}, {what}"] = {"median_us": found.median, "least_us": found.least, "greatest_us": found.greatest}
    return Outcome("autop_render", [table], figures, usable=True)
