"""A change of autop commands for a whole site: how long its dry run takes, what that costs everybody else, and the change.

A node of its own with one site of many door phones, seeded over the admin API. While the dry run renders every device's file
twice, a prober asks the same node's /livez: the slowest answer says how long anybody else had to wait.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.outcome import Outcome
from simulators.admin_client import AdminClient
from tests.system.peers import RunningGateway

LINES = ["Config.Settings.LOGLEVEL.Level = 3", "Config.Features.DOORPHONE.MaxCallTime = 5"]
PROBE_SECONDS = 0.01


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench site_change")
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder, RunningGateway(Path(folder)) as gateway:
        return asyncio.run(_measure(console, gateway, options.devices, options.rounds))


async def _measure(console: Console, gateway: RunningGateway, devices: int, rounds: int) -> Outcome:
    host, port = gateway.address("admin")
    admin = AdminClient(host, port, Path(gateway.ready["admin_token_file"]), deadline=120)
    site = (await admin.call("POST", "/sites", {"name": "Tower"})).body["id"]
    took: list[float] = []
    for number in track(range(devices), "devices", console=console):
        mac = f"0C11{number:08X}"
        await admin.call("POST", "/mac-library", {"mac": mac, "site": site})
        body = {"site": site, "kind": 0, "model": "R29", "name": f"Door {number}", "relays": [{"name": "Door", "dtmf_code": "1"}]}
        begun = time.perf_counter()
        await admin.call("PUT", f"/devices/{mac}", body)
        took.append(time.perf_counter() - begun)
    path = f"/autop-commands/site/{site}"
    dry: list[float] = []
    waits: list[float] = []
    for _ in range(rounds):
        probing = asyncio.create_task(_probe(gateway.address("metrics"), waits))
        begun = time.perf_counter()
        found = (await admin.call("POST", f"{path}/dry-run", {"lines": LINES})).body
        dry.append(time.perf_counter() - begun)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        assert (found["devices"], found["changed"], found["failed"]) == (devices, devices, 0), found
    begun = time.perf_counter()
    await admin.call("PUT", path, {"lines": LINES}, headers={"If-Match": "*"})
    change = time.perf_counter() - begun
    added = statistics.median(took[-200:])
    table = Table(
        "devices",
        "dry run s",
        "slowest answer to others ms",
        "the change ms",
        "adding the last devices ms",
        title="A site's change",
    )
    table.add_row(
        str(devices), f"{statistics.median(dry):.2f}", f"{max(waits) * 1000:.0f}", f"{change * 1000:.0f}", f"{added * 1000:.0f}"
    )
    figures: dict[str, Any] = {
        "devices": devices,
        "dry_run_s": dry,
        "slowest_answer_ms": max(waits) * 1000,
        "change_ms": change * 1000,
        "added_ms": added * 1000,
    }
    return Outcome("site_change", [table], figures, usable=True)


async def _probe(address: tuple[str, int], waits: list[float]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{address[0]}:{address[1]}/livez"
    while True:
        begun = time.perf_counter()
        answer = await asyncio.to_thread(opener.open, url, timeout=30)
        await asyncio.to_thread(answer.close)
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(PROBE_SECONDS)
