"""Thousands of devices in the state folder of a gateway that is not running yet: written straight into its store, as the admin
API would leave them. Through the API twenty thousand would take minutes."""

import asyncio
import base64
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gateway.state import key_file, open_state
from registry.engines.sqlite import SqliteStore
from registry.mac import MacAddress
from registry.records import Account, AccountOwner, Device, DeviceKind, Relay, Site, SiteRoster
from registry.store import MAX_BATCH, Put, Record
from registry.vault import Vault

SITE_DEVICES = 40
KINDS = (
    (DeviceKind.MULTI_TENANT_DOOR_PHONE, "R29", 4),
    (DeviceKind.INDOOR_MONITOR, "C313", 34),
    (DeviceKind.GUARD_PHONE, "R67", 1),
    (DeviceKind.ACCESS_CONTROL, "A08", 1),
)
"""What stands in a site: kind, model, how many."""
_OF_PLACE = [(kind, model) for kind, model, count in KINDS for _ in range(count)]


@dataclass(frozen=True, slots=True, repr=False)
class SeededDevice:
    """What the device itself knows."""

    mac: str
    kind: DeviceKind
    site: int
    path: str


def seed(state: Path, count: int) -> list[SeededDevice]:
    """Add `count` devices at sites of SITE_DEVICES to the state folder of a gateway that does not run; it is made if need be."""
    folder = open_state(state)
    try:
        vault = Vault(key_file(folder.master_key), os.urandom)
        with ThreadPoolExecutor(1) as aside:  # whoever calls may have a loop that runs
            return aside.submit(asyncio.run, _write(folder.database, vault, count)).result()
    finally:
        folder.lock.close()


async def _write(database: Path, vault: Vault, count: int) -> list[SeededDevice]:
    store = await SqliteStore.open(database)
    try:
        added: list[SeededDevice] = []
        puts: list[Put] = []
        for number in range(count):
            site = f"s{number // SITE_DEVICES}"
            if number % SITE_DEVICES == 0:
                here = min(SITE_DEVICES, count - number)
                puts += [Put(Site(site, f"House {site}", "Europe/Berlin")), Put(SiteRoster(site, devices=here))]
            device, records = _device(vault, number, site)
            added.append(device)
            puts += [Put(record) for record in records]
        for start in range(0, len(puts), MAX_BATCH):
            await store.batch(puts[start : start + MAX_BATCH], durable=False)
        return added
    finally:
        await store.close()


def _device(vault: Vault, number: int, site: str) -> tuple[SeededDevice, Iterator[Record]]:
    kind, model = _OF_PLACE[number % SITE_DEVICES]
    mac, name = MacAddress(f"0C1105{number:06X}"), str(500_000_000 + number)
    token = base64.b32encode(os.urandom(20)).decode().lower()
    device = Device(
        mac=mac,
        id=f"d{mac}",
        site=site,
        kind=kind,
        model=model,
        name=f"Device {number}",
        account=name,
        sealed_token=vault.seal_text(token, f"device-token:{mac}"),
        sealed_channel_key=vault.seal(os.urandom(32), f"device-channel:{mac}"),
        sealed_web_password=vault.seal_text("wE7rT2yU9iO4pA1s", f"device-web:{mac}"),
        relays=(Relay("Door", "1"), Relay("Garage", "2")) if kind.is_door else (),
        button_number="101" if kind.is_door else "",
    )
    sealed = vault.seal_text("k3Jq9sXw7TzPb2VnM5cRdLhA", f"account:{name}")
    account = Account(name, site, AccountOwner.DEVICE, device.id, device.name, sealed)
    seeded = SeededDevice(mac.text, kind, number // SITE_DEVICES, f"/autop/{token}/{mac}.cfg")
    return seeded, iter((account, device))
