"""What an idle channel costs the gateway: resident memory before and after thousands of authenticated, idle links."""

import argparse
import gc
import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome
from bench.tunnel_peers import START, end, gateway_end, said
from tests.system.peers import process_cpu_seconds, wait_until

GOAL_KIB = 40.0


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench tunnel_memory", description=__doc__)
    parser.add_argument("--links", type=int, default=5_000)
    options = parser.parse_args(arguments)
    gc.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < options.links + 200:
        raise SystemExit(f"bench tunnel_memory: {options.links} links need as many open files, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, options.links + 200), hard))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        gateway = gateway_end(stack, folder)
        end(stack, folder, "fleet", gateway["channel"], 100)  # what the first links make once
        first = _settled(gateway["pid"], folder, 100)
        cpu = process_cpu_seconds(gateway["pid"])
        more = folder / "more"
        more.mkdir()
        (more / "localhost.pem").write_bytes((folder / "localhost.pem").read_bytes())
        end(stack, more, "fleet", gateway["channel"], options.links, 1_000)
        last = _settled(gateway["pid"], folder, options.links + 100)
        cpu = process_cpu_seconds(gateway["pid"]) - cpu
    each = (last - first) / options.links / 1024
    table = Table(title=f"{options.links} idle channels", title_justify="left")
    for column in ("KiB each", "goal", "CPU ms for each to come up"):
        table.add_column(column, justify="right")
    table.add_row(f"{each:.1f}", f"{GOAL_KIB:.0f}", f"{cpu / options.links * 1e3:.2f}")
    figures = {"links": options.links, "kib_each": each, "cpu_ms_each": cpu / options.links * 1e3, "goal_kib": GOAL_KIB}
    console.print(f"{each:.1f} KiB each", highlight=False)
    return Outcome("tunnel_memory", [table], figures, True)


def _settled(pid: int, folder: Path, links: int) -> int:
    """Resident bytes of the gateway once so many links are up and their handshakes are forgotten."""
    wait_until(f"{links} links", lambda: said(folder, "gateway").get("online", 0) == links, START)
    time.sleep(3.0)
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
