"""Throughput through the channel: Portico beside `ssh -R -tt`, in front of the same nginx, in the same run.

A 200 MB download, 1 KB and 100 KB requests on kept connections (wrk -t1 -c10), and 1 KB requests with a connection each. The ways
take turns in every round; ratios are taken round by round. CPU is that of both ends of the tunnel.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome, Spread, spread
from bench.tunnel_peers import BIG, Entry, check_programs, nginx, portico, ssh

DOWNLOAD, SMALL, MEDIUM, NEW = "200 MB, MB/s", "1 KB, requests/s", "100 KB, requests/s", "1 KB, a connection each, requests/s"
WORKS = (DOWNLOAD, SMALL, MEDIUM, NEW)
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_COUNT = re.compile(r"([0-9]+) requests in")


@dataclass(frozen=True, slots=True)
class Result:
    """One way's figure in one round: `rate` as the work says, `cpu` in us per request or s per GB. `void`: an error happened."""

    way: str
    work: str
    rate: float
    cpu: float
    void: bool
    load: float


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the tables and figures."""
    parser = argparse.ArgumentParser(prog="bench tunnel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each wrk (default 3)")
    options = parser.parse_args(arguments)
    check_programs()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        direct = nginx(stack, folder)
        ways = [direct, ssh(stack, folder, direct.port), portico(stack, folder, direct.port)]
        results: list[Result] = []
        for number in range(options.rounds):
            for work in WORKS:
                for way in ways:
                    one = download(way) if work is DOWNLOAD else requests(way, work, options.seconds)
                    results.append(one)
                    words = "void" if one.void else f"{one.rate:.0f}, CPU {one.cpu:.1f}"
                    console.print(f"round {number + 1} of {options.rounds}  {work}: {way.name} {words}", highlight=False)
    return outcome(results, [way.name for way in ways], vars(options))


def download(way: Entry) -> Result:
    before = way.cpu()
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{size_download} %{speed_download}"]
    said = subprocess.run([*command, f"http://127.0.0.1:{way.port}/big.bin"], capture_output=True, text=True, check=False).stdout
    size, speed = (float(word) for word in said.split())
    return Result(way.name, DOWNLOAD, speed / 1e6, (way.cpu() - before) / BIG * 1e9, size != BIG, os.getloadavg()[0])


def requests(way: Entry, work: str, seconds: int) -> Result:
    page = "page100k.bin" if work is MEDIUM else "small.html"
    closing = ["-H", "Connection: close"] if work is NEW else []
    before = way.cpu()
    command = ["wrk", "-t1", "-c10", f"-d{seconds}s", "--latency", *closing, f"http://127.0.0.1:{way.port}/{page}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rate, count = _RATE.search(said), _COUNT.search(said)
    void = rate is None or count is None or "Socket errors" in said or "Non-2xx" in said or not int(count[1])
    cpu = 0.0 if void or count is None else (way.cpu() - before) / int(count[1]) * 1e6
    return Result(way.name, work, 0.0 if rate is None else float(rate[1]), cpu, void, os.getloadavg()[0])


def rates(results: Sequence[Result], way: str, work: str) -> list[Result]:
    return [one for one in results if (one.way, one.work) == (way, work)]


def ratio(results: Sequence[Result], way: str, peer: str, work: str, *, cpu: bool = False) -> Spread | None:
    """How many times the peer's figure, round by round; a pair with a void one is left out."""
    pairs = zip(rates(results, way, work), rates(results, peer, work), strict=True)
    figures = [(one.cpu, other.cpu) if cpu else (one.rate, other.rate) for one, other in pairs if not (one.void or other.void)]
    return spread([mine / theirs for mine, theirs in figures if theirs])


def outcome(results: Sequence[Result], ways: Sequence[str], options: dict[str, object]) -> Outcome:
    table = Table(title="medians of the rounds (least - greatest)", title_justify="left")
    for column in ("way", *WORKS):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way in ways:
        cells = []
        for work in WORKS:
            good = [one for one in rates(results, way, work) if not one.void]
            found, cpu = spread([one.rate for one in good]), spread([one.cpu for one in good])
            unit = "s/GB" if work is DOWNLOAD else "us"
            text = "void" if found is None else f"{found.median:,.0f} ({found.least:,.0f} - {found.greatest:,.0f})"
            cells.append(text if cpu is None or not cpu.median else f"{text}\nCPU {cpu.median:.3g} {unit}")
        table.add_row(way, *cells)
    table.add_section()
    mine, peer = ways[-1], ways[1]
    for name, of_cpu in ((f"{mine} / {peer}", False), ("the same of CPU", True)):
        spreads = [ratio(results, mine, peer, work, cpu=of_cpu) for work in WORKS]
        table.add_row(name, *("void" if s is None else f"{s.median:.2f} ({s.least:.2f} - {s.greatest:.2f})" for s in spreads))
    figures = {
        "options": options,
        "ratio_to_ssh": {work: asdict(s) if (s := ratio(results, mine, peer, work)) else None for work in WORKS},
        "rounds": [asdict(one) for one in results],
    }
    usable = all(ratio(results, mine, peer, work) for work in WORKS)
    return Outcome("tunnel", [table], figures, usable)
