"""Server CPU of a configuration fetched over HTTPS: Portico beside nginx, which serves the same bytes as static files.

Same certificate (ECDSA P-256), same TLS library defaults, the same client in the same run; the servers take turns in every
round, and what counts is the CPU time of the server's process (user and system). Each device has a file of its own. Three ways
to connect: a new TLS connection for each poll (how devices come that poll once a day), one that resumes the session of the
device's last, and one that is kept. nginx: one process, no access log, ETag as it makes them (time and size).
"""

import argparse
import json
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.autop_load import KEEP_ALIVE, NEW, RESUMED, Done, Work
from bench.outcome import Outcome, Round, each, ratio
from tests.system.autop_fleet import seed
from tests.system.nginx import RunningNginx
from tests.system.peers import ROOT, RunningGateway, loopback_config, process_cpu_seconds, program

PORTICO, NGINX = "portico", "nginx"
WAYS = (NEW, RESUMED, KEEP_ALIVE)
GOALS = {True: 2.5, False: 3.0}
"""By what is asked: at most so many times nginx's CPU (issue 5)."""
SETTLE_SECONDS = 1.0
"""What is written behind an answer is done by then, and counts."""
IDLE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load. `targets`: path and entity tag of each file, as this server gives them."""

    name: str
    pid: int
    address: tuple[str, int]
    targets: list[tuple[str, str]]
    idle_rate: float = 0.0


def work_name(way: str, conditional: bool) -> str:
    return f"{'304' if conditional else '200'}, {way}"


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the tables and figures."""
    options = _options(arguments)
    if program("nginx") is None:
        raise SystemExit("bench autop_http needs nginx: type 'sudo apt-get install nginx-light'")
    rounds: list[Round] = []
    notes: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        servers = [_watch_idle(server) for server in start(stack, folder, options.files)]
        for number in range(options.rounds):
            for way in options.ways:
                for conditional in (True, False):
                    for server in servers if number % 2 == 0 else servers[::-1]:
                        one, done = measure(server, way, conditional, options)
                        rounds.append(one)
                        notes[f"{server.name}, {one.work}"] = f"{done.tls}, {done.resumed} of {one.done} resumed"
                        console.print(f"round {number + 1} of {options.rounds}  {_in_words(one)}", highlight=False)
    return _outcome(rounds, options, notes)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench autop_http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times each server is measured (default 5)")
    parser.add_argument("--files", type=int, default=400, help="devices, each with its own file (default 400)")
    parser.add_argument("--devices", type=int, default=16, help="devices that ask at a time (default 16)")
    parser.add_argument("--requests", type=int, default=8000, help="requests in a round over kept connections (default 8000)")
    parser.add_argument("--connections", type=int, default=1500, help="connections in a round (default 1500)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    return parser.parse_args(arguments)


def start(stack: ExitStack, folder: Path, files: int) -> list[Server]:
    """Portico with so many devices, and nginx with the bytes that Portico gives them, under the same paths."""
    own, peer, root = folder / "portico", folder / "nginx", folder / "root"
    for each_folder in (own, peer, root):
        each_folder.mkdir()
    devices = seed(own / "state", files)
    gateway = stack.enter_context(RunningGateway(own, loopback_config("warning")))
    tls = ssl.create_default_context(cafile=gateway.ready["ca_file"])
    host, port = gateway.address("autop_https")
    targets = []
    for device in devices:
        with urllib.request.urlopen(f"https://{host}:{port}{device.path}", context=tls, timeout=30) as answer:
            targets.append((device.path, answer.headers["ETag"]))
            file = root / device.path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(answer.read())
    state = own / "state" / "tls"
    nginx = stack.enter_context(RunningNginx(peer, root, state / "server.pem", state / "server.key"))
    theirs = []
    for device in devices:
        url = f"https://{nginx.address[0]}:{nginx.address[1]}{device.path}"
        with urllib.request.urlopen(url, context=tls, timeout=30) as answer:
            theirs.append((device.path, answer.headers["ETag"]))
    return [Server(PORTICO, gateway.pid, (host, port), targets), Server(NGINX, nginx.pid, nginx.address, theirs)]


def _watch_idle(server: Server) -> Server:
    time.sleep(SETTLE_SECONDS)
    cpu, begun = process_cpu_seconds(server.pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return replace(server, idle_rate=(process_cpu_seconds(server.pid) - cpu) / (time.monotonic() - begun))


def measure(server: Server, way: str, conditional: bool, options: argparse.Namespace) -> tuple[Round, Done]:
    """One round of one kind of work at one server."""
    count = options.requests if way == KEEP_ALIVE else options.connections
    work = Work(*server.address, server.targets, way, conditional, count, options.devices)
    load = subprocess.Popen(
        [sys.executable, "-m", "bench.autop_load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert load.stdin is not None
    assert load.stdout is not None
    with load:
        load.stdin.write(json.dumps(asdict(work)) + "\n")
        load.stdin.flush()
        if load.stdout.readline() != "ready\n":
            raise SystemExit("bench autop_http: the load did not start")
        cpu, begun = process_cpu_seconds(server.pid), time.monotonic()
        load.stdin.write("go\n")
        load.stdin.flush()
        done = Done(**json.loads(load.stdout.readline()))
    time.sleep(SETTLE_SECONDS)
    wall = time.monotonic() - begun
    spent = process_cpu_seconds(server.pid) - cpu
    idle = server.idle_rate * wall
    return Round(server.name, work_name(way, conditional), spent, idle, wall, done.done, done.failed, 0), done


def _in_words(one: Round) -> str:
    cost = "void" if one.void else f"{one.each * 1e6:7.1f} us each"
    return f"{one.server:8} {one.work:22} {one.done:6} done, {one.failed} failed, {cost}"


def _outcome(rounds: Sequence[Round], options: argparse.Namespace, notes: dict[str, str]) -> Outcome:
    table = Table(
        "work", "server", "CPU us each, median", "least", "greatest", "portico / nginx", title="Autop beside nginx, over TLS"
    )
    figures: dict[str, object] = {"rounds": [asdict(one) for one in rounds], "notes": notes}
    usable = True
    for way in options.ways:
        for conditional in (True, False):
            work = work_name(way, conditional)
            found = ratio(rounds, PORTICO, NGINX, work)
            usable = usable and found is not None
            for name in (PORTICO, NGINX):
                cost = each(rounds, name, work)
                beside = ""
                if name == PORTICO and found is not None:
                    beside = f"{found.median:.2f} ({found.least:.2f} - {found.greatest:.2f}), goal {GOALS[conditional]:g}"
                numbers = [f"{value * 1e6:.1f}" for value in (cost.median, cost.least, cost.greatest)] if cost else ["void"] * 3
                table.add_row(work, name, *numbers, beside)
            figures[work] = asdict(found) if found is not None else None
    return Outcome("autop_http", [table], figures, usable=usable)
