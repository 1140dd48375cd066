"""A boot storm: devices that come back together after a power cut, each over a TLS connection of its own, with little patience.

The node has just started and has rendered nothing. Goodput is full configurations a second, in bins of BIN_SECONDS as the devices
see them. Demand exceeds the goodput in a bin if at its begin more devices have booted and wait (and were not told to wait) than
the best bin served: of these bins the worst one counts, as a share of the best. Beside it the same for each second of CPU time
that the node got in the bin: on a machine that others use, this tells wasted work from a node that gets no turn. The clients
are one process on the same machine: where it is late itself by more than MAX_LAG the figures are void.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome
from bench.storm_devices import Aftermath, Storm
from tests.system.autop_fleet import SeededDevice, seed
from tests.system.peers import ROOT, RunningGateway, loopback_config, process_cpu_seconds

BIN_SECONDS = 2.0
MAX_LAG = 0.75
_METRICS = ("portico_connections_refused_total", "portico_autop_requests_total", "portico_autop_sent_away_total")


@dataclass(frozen=True, slots=True)
class Goodput:
    """Configurations a second (or a CPU second) in the best bin, and in the worst of those in which more were wanted (None: there
    was none)."""

    peak: float
    worst: float | None
    bins: tuple[float, ...]

    @property
    def share(self) -> float | None:
        return None if self.worst is None or not self.peak else self.worst / self.peak


def goodput(after: Aftermath, cpu: Sequence[tuple[float, float]] = (), width: float = BIN_SECONDS) -> Goodput:
    """In bins of `width` seconds; the one in which the last device was served is no whole one. `cpu`: (seconds since the storm's
    begin, CPU seconds so far) in order; empty: for each second of the clock."""
    ends = [end for _, end, _ in after.provisioned]
    count = int(max(ends, default=0.0) / width)
    served = Counter(int(end / width) for end in ends)
    best = max((served[number] for number in range(count)), default=0)

    def is_crowded(start: float) -> bool:
        wanting = sum(boot < start <= end for boot, end, _ in after.provisioned)
        return wanting - sum(since < start <= until for since, until in after.away) > best > 0

    spent = [_spent(cpu, number * width, (number + 1) * width) if cpu else width for number in range(count)]
    rates = tuple(served[number] / spent[number] if spent[number] else 0.0 for number in range(count))
    crowded = [number for number in range(count) if is_crowded(number * width)]
    peak = max((rates[number] for number in (crowded if cpu else range(count))), default=0.0)
    return Goodput(peak, min((rates[number] for number in crowded), default=None), rates)


def _spent(cpu: Sequence[tuple[float, float]], start: float, stop: float) -> float:
    within = [spent for when, spent in cpu if start <= when <= stop]
    return within[-1] - within[0] if len(within) > 1 else 0.0


class Watch(threading.Thread):
    """A process, looked at eight times a second: `cpu` has (monotonic time, CPU seconds so far); resident memory at `first` and
    at `most` in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.first = self.most = self._now()
        self.cpu: list[tuple[float, float]] = []

    def _now(self) -> float:
        return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * 4096 / 2**20

    def run(self) -> None:
        while not self._over.wait(0.125):
            self.cpu.append((time.monotonic(), process_cpu_seconds(self._pid)))
            self.most = max(self.most, self._now())

    def stop(self) -> None:
        self._over.set()
        self.join()


@dataclass(frozen=True, slots=True)
class Result:
    """One storm: what the devices saw, and what it cost the node."""

    devices: int
    aftermath: Aftermath
    cpu: float
    cpu_at: list[tuple[float, float]]
    memory_before: float
    memory_most: float
    metrics: dict[str, float]


def weather(gateway: RunningGateway, storm: Storm) -> Result:
    """Let it happen."""
    watch = Watch(gateway.pid)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.storm_devices"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(json.dumps(asdict(storm)) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            raise SystemExit("bench autop_storm: the devices did not start")
        watch.start()
        cpu = process_cpu_seconds(gateway.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        aftermath = Aftermath(**json.loads(process.stdout.readline()))
    time.sleep(1.0)
    watch.stop()
    spent = process_cpu_seconds(gateway.pid) - cpu
    cpu_at = [(when - aftermath.began, so_far) for when, so_far in watch.cpu]
    return Result(len(storm.devices), aftermath, spent, cpu_at, watch.first, watch.most, _metrics(gateway))


def storm_of(devices: Sequence[SeededDevice], address: tuple[str, int], window: float, honour: float, most: float) -> Storm:
    """These devices boot within `window` seconds."""
    return Storm(*address, [(one.mac, one.site, one.path) for one in devices], window, honour, most)


def _metrics(gateway: RunningGateway) -> dict[str, float]:
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^(\S+\{[^}]*\}) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if name.startswith(_METRICS)}


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the tables and figures."""
    parser = argparse.ArgumentParser(prog="bench autop_storm", description=__doc__)
    parser.add_argument("--devices", type=int, default=20_000)
    parser.add_argument(
        "--windows", type=float, nargs="+", default=[60.0, 5.0], help="seconds within which they boot, one storm each"
    )
    parser.add_argument("--honour", type=float, default=0.5, help="share of devices that honour Retry-After (default 0.5)")
    parser.add_argument("--most", type=float, default=300.0, help="seconds until a storm is given up")
    options = parser.parse_args(arguments)
    table = Table("", *(f"within {window:g} s" for window in options.windows), title=f"{options.devices} devices boot")
    rows: dict[str, list[str]] = {}
    figures: dict[str, object] = {}
    usable = True
    for window in options.windows:
        with tempfile.TemporaryDirectory(prefix="portico-bench-") as name:
            folder = Path(name)
            devices = seed(folder / "state", options.devices)
            with RunningGateway(folder, loopback_config("warning")) as gateway:
                address = gateway.address("autop_https")
                result = weather(gateway, storm_of(devices, address, window, options.honour, options.most))
        good = goodput(result.aftermath)
        usable = usable and result.aftermath.lag <= MAX_LAG and len(result.aftermath.provisioned) == options.devices
        for what, value in _rows(result, good).items():
            rows.setdefault(what, []).append(value)
        figures[f"within {window:g} s"] = _figures(result, good)
        console.print(f"a second, in bins of {BIN_SECONDS:g} s: {[round(one) for one in good.bins]}", highlight=False)
        console.print(result.metrics, highlight=False)
    for what, values in rows.items():
        table.add_row(what, *values)
    return Outcome("autop_storm", [table], figures, usable=usable)


def _percentiles(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "-"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[49]:.2f} / {cuts[98]:.2f} / {max(values):.2f}"


def _worst(good: Goodput) -> str:
    return "demand never exceeded it" if good.share is None else f"{good.worst:.0f} ({100 * good.share:.0f} %)"


def _rows(result: Result, good: Goodput) -> dict[str, str]:
    after = result.aftermath
    done = len(after.provisioned)
    grown = result.memory_most - result.memory_before
    per_cpu = goodput(after, result.cpu_at)
    return {
        "provisioned": f"{done} of {result.devices}",
        "all done after, s": f"{max((end for _, end, _ in after.provisioned), default=0.0):.1f}",
        "goodput, best bin, per s": f"{good.peak:.0f}",
        "worst bin while more were wanted, per s": _worst(good),
        "best such bin, per CPU s": f"{per_cpu.peak:.0f}",
        "worst such bin, per CPU s": _worst(per_cpu),
        "boot to configuration, s: p50 / p99 / most": _percentiles([end - boot for boot, end, _ in after.provisioned]),
        "tries of a device: mean / most": f"{sum(tries for *_, tries in after.provisioned) / max(done, 1):.2f} / "
        f"{max((tries for *_, tries in after.provisioned), default=0)}",
        "tries in vain": ", ".join(f"{count} {why}" for why, count in sorted(after.failures.items())) or "none",
        "CPU a device, us": f"{result.cpu / max(done, 1) * 1e6:.0f}",
        "memory before + growth, MiB": f"{result.memory_before:.0f} + {grown:.0f}",
        "the clients were late by, s": f"{after.lag:.2f}",
    }


def _figures(result: Result, good: Goodput) -> dict[str, object]:
    return {
        "rows": _rows(result, good),
        "bins": [round(one, 1) for one in good.bins],
        "metrics": result.metrics,
        "retry_after": sorted(Counter(result.aftermath.returns).items()),
    }
