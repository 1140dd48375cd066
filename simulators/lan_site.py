"""A site of door phones as they stand on a LAN, for a connector to speak for: made through the admin API, run in one process.

Each door has an address of this machine. A connector refuses addresses of its own machine, so it runs on another, or in another
network namespace.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from registry.connector import private_address
from registry.mac import MacAddress
from simulators.admin_client import AdminClient
from simulators.autop_client import AutopClient, trust
from simulators.lan_device import LanDoorPhone
from simulators.ready_file import read_ready
from simulators.seeding import SecretsFile, Seeder
from tunnel.net.agent import client_context

SITE = "LAN site"
FIRST_MAC = 0x0C1105E00001
MAX_DEVICES = 250
RELAYS = [{"name": "Door", "dtmf_code": "#", "hold_seconds": 3, "access_methods": ["dtmf", "app-home", "app-talking"]}]


async def run_lan_site(ready_file: Path, addresses: tuple[str, ...], port: int) -> int:
    """Make the site and its doors, run them until SIGTERM or Ctrl-C. Raises ValueError for an address that is not private."""
    if not 1 <= len(addresses) <= MAX_DEVICES or not all(map(private_address, addresses)):
        raise ValueError("--lan: private addresses of this machine with commas between, for example 192.168.1.31,192.168.1.32")
    ready = read_ready(ready_file)
    secrets = SecretsFile(ready.folder / "lan-devices.jsonl")
    seeder = Seeder(AdminClient(*ready.admin, ready.admin_token_file), secrets)
    macs = [MacAddress(f"{FIRST_MAC + place:012X}") for place in range(len(addresses))]
    site = await seeder.site(SITE)
    await seeder.in_library([mac.text for mac in macs], site)
    devices = []
    for mac, address in zip(macs, addresses, strict=True):
        await seeder.device(mac.text, {"site": site, "kind": 0, "model": "R29", "name": f"Door at {address}", "relays": RELAYS})
        held = secrets.get(mac.text)
        assert held is not None
        autop = AutopClient(url=ready.autop_url(held.autop_path), mac=mac, tls=trust(ready.ca_file_text))
        tls = client_context(ca_file=ready.ca_file_text, check=ready.ca_file is not None)
        devices.append(LanDoorPhone(mac, autop, address=address, port=port, tls=tls, entropy=os.urandom, wall=time.time))
    sys.stdout.write(f"site {site}: {len(devices)} door phones at {', '.join(addresses)}\n")
    sys.stdout.write(
        f"next: make a connector (POST /api/v1/sites/{site}/connectors) and start it on another machine (docs/connector.md)\n"
    )
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    booting = asyncio.gather(*(device.boot() for device in devices))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        both: set[asyncio.Future[Any]] = {booting, stopping}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if booting.done():
            booting.result()
        await stopping
    finally:
        booting.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await booting
        for device in devices:
            await device.cut_power()
    return 0
