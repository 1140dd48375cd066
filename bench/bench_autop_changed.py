"""A change that touches every device: how many fetch their changed configuration a second, and what one costs the node.

Every device has fetched its file. Then lines are entered for the platform, so that every file is another and must be rendered;
and all devices poll, each over a new TLS connection, a few at a time. What was fetched is kept with its bytes, and counts.
"""

import argparse
import ssl
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.autop_load import NEW
from bench.bench_autop_http import Server, measure
from bench.outcome import Outcome
from tests.system.autop_fleet import seed
from tests.system.peers import RunningGateway, loopback_config

LINES = ["Config.Settings.LOGLEVEL.Level = 3"]


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench autop_changed", description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--at-a-time", type=int, default=16)
    options = parser.parse_args(arguments)
    load = argparse.Namespace(requests=options.devices, connections=options.devices, devices=options.at_a_time)
    table = Table("", "a second", "CPU us each", "failed", title=f"{options.devices} devices fetch")
    figures: dict[str, object] = {}
    usable = True
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name:
        folder = Path(name)
        devices = seed(folder / "state", options.devices)
        with RunningGateway(folder, loopback_config("warning")) as gateway:
            server = Server("portico", gateway.pid, gateway.address("autop_https"), [(one.path, "") for one in devices])
            before = _file(gateway, devices[0].path)
            for what in ("for the first time after a start", "again, nothing changed", "again, all changed"):
                if what == "again, all changed":
                    gateway.ask("PUT", "/autop-commands/platform/all", {"lines": LINES})
                    assert _file(gateway, devices[0].path) != before
                one, done = measure(server, NEW, False, load)
                usable = usable and not one.void
                rate = done.done / done.seconds
                table.add_row(what, f"{rate:.0f}", f"{one.each * 1e6:.0f}", str(done.failed))
                figures[what] = {"per_second": rate, "cpu_us": one.each * 1e6, "failed": done.failed}
                console.print(f"{what}: {rate:.0f} a second", highlight=False)
    return Outcome("autop_changed", [table], figures, usable=usable)


def _file(gateway: RunningGateway, path: str) -> bytes:
    host, port = gateway.address("autop_https")
    tls = ssl.create_default_context(cafile=gateway.ready["ca_file"])
    with urllib.request.urlopen(f"https://{host}:{port}{path}", context=tls, timeout=30) as answer:
        return bytes(answer.read())
