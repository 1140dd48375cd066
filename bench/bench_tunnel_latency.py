"""How long a small request takes while a download fills the link: 8 Mbit/s, 40 ms round trip; Portico beside `ssh -R -tt`.

Each way has a link of its own (a relay process of that rate and delay with small buffers). In turn: small requests on an idle
link, then a 200 MB download, and from 4 s later as many small requests. What the download got meanwhile is its share.
"""

import argparse
import http.client
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome, spread
from bench.tunnel_peers import Entry, check_programs, nginx, portico, ssh

WARM_UP = 4.0
PAUSE = 0.05
"""Seconds between two small requests: a visitor's page is no load of its own."""


@dataclass(frozen=True, slots=True)
class Round:
    """Medians and greatest in milliseconds; `share` of the link's rate that the download got while small requests ran."""

    way: str
    idle: float
    under_bulk: float
    greatest: float
    share: float

    @property
    def times(self) -> float:
        """How many times its idle time a small request takes."""
        return self.under_bulk / self.idle


class Download(threading.Thread):
    """Reads the big file until told to stop; `got` counts its bytes."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.got = 0
        self._over = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def run(self) -> None:
        self._connection.request("GET", "/big.bin")
        answer = self._connection.getresponse()
        while not self._over.is_set() and (data := answer.read1(65_536)):
            self.got += len(data)
        self._connection.close()

    def stop(self) -> None:
        self._over.set()
        self.join()


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the tables and figures."""
    parser = argparse.ArgumentParser(prog="bench tunnel_latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=60, help="small requests in each part of a round (default 60)")
    parser.add_argument("--rate", type=float, default=1e6, help="of the link in bytes a second (default 1,000,000)")
    parser.add_argument("--round-trip", type=float, default=0.04, help="of the link in seconds (default 0.04)")
    options = parser.parse_args(arguments)
    check_programs()
    link = (options.rate, options.round_trip / 2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        web = nginx(stack, folder)
        own, other = folder / "portico", folder / "ssh"
        own.mkdir()
        other.mkdir()
        ways = [ssh(stack, other, web.port, relay=link), portico(stack, own, web.port, relay=link)]
        rounds: list[Round] = []
        for number in range(options.rounds):
            for way in ways:
                one = measure(way, options.requests, options.rate)
                rounds.append(one)
                words = f"idle {one.idle:.0f} ms, under bulk {one.under_bulk:.0f} ms (greatest {one.greatest:.0f})"
                console.print(
                    f"round {number + 1} of {options.rounds}  {way.name}: {words}, {one.share:.0%} of the link", highlight=False
                )
    return outcome(rounds, [way.name for way in ways], vars(options))


def measure(way: Entry, count: int, rate: float) -> Round:
    idle = small_requests(way.port, count)
    download = Download(way.port)
    download.start()
    time.sleep(WARM_UP)
    before, begun = download.got, time.monotonic()
    busy = small_requests(way.port, count)
    share = (download.got - before) / (time.monotonic() - begun) / rate
    download.stop()
    settle(way.port)
    return Round(way.name, median(idle) * 1e3, median(busy) * 1e3, max(busy) * 1e3, share)


def small_requests(port: int, count: int) -> list[float]:
    """Seconds that each of `count` requests took, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    taken = []
    for _ in range(count + 1):
        begun = time.monotonic()
        connection.request("GET", "/small.html")
        body = connection.getresponse().read()
        if len(body) != 1_024:
            raise SystemExit("bench tunnel_latency: a wrong answer")
        taken.append(time.monotonic() - begun)
        time.sleep(PAUSE)
    connection.close()
    return taken[1:]  # the first one also opened the connection


def settle(port: int) -> None:
    """Wait until what the cut download left on the link is gone."""
    while median(small_requests(port, 3)) > 0.3:
        time.sleep(0.5)


def outcome(rounds: Sequence[Round], ways: Sequence[str], options: dict[str, object]) -> Outcome:
    table = Table(title="a small request, medians of the rounds (least - greatest)", title_justify="left")
    for column in ("way", "idle p50, ms", "p50 under bulk, ms", "greatest, ms", "times idle", "share of the link"):
        table.add_column(column, justify="left" if column == "way" else "right")
    figures: dict[str, object] = {"options": options, "rounds": [{**asdict(one), "times": one.times} for one in rounds]}
    for way in ways:
        mine = [one for one in rounds if one.way == way]
        columns = ([one.idle for one in mine], [one.under_bulk for one in mine], [one.greatest for one in mine])
        cells = [f"{s.median:.0f} ({s.least:.0f} - {s.greatest:.0f})" for values in columns if (s := spread(values))]
        shares = ([one.times for one in mine], [one.share for one in mine])
        cells += [f"{s.median:.2f} ({s.least:.2f} - {s.greatest:.2f})" for values in shares if (s := spread(values))]
        table.add_row(way, *cells)
    return Outcome("tunnel_latency", [table], figures, bool(rounds))
