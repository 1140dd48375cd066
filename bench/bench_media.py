"""Relayed audio calls (50 packets/s each way) through the built-in relay beside rtpengine: packets lost, delay, CPU time.

One process plays all phones (`bench/rtp_load.py`). "direct" is that process sending to itself, without a relay: what it and the
kernel add. "busy loop" is the relay in a loop that also has the work of 1,000 SIP messages a second (150 us each, see bench sip).
The engines take turns in every round. A measurement in which the load itself was late in more than 2 % of its beats is void (the
machine was busy with something else) and is tried again. rtpengine runs without its kernel module, with as many threads as it
likes.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.media_calls import connect_calls
from bench.media_relay import MESSAGE_SECONDS
from bench.outcome import Outcome, spread
from bench.rtp_load import BEAT
from sip.media_engine import MediaOutcome
from sip.net.rtpengine import RtpengineClient
from tests.system.peers import process_cpu_seconds, program
from tests.system.rtpengine import RunningRtpengine

DIRECT, RELAY, BUSY, RTPENGINE = "direct", "relay", "relay, busy loop", "rtpengine"
WARM_UP = 1.0
LATE = 0.02
RTPENGINE_PORTS = (24_000, 31_999)
Streams = list[tuple[int, int]]


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    options = _options(arguments)
    if program("rtpengine") is None:
        raise SystemExit("bench media needs rtpengine: type 'sudo apt-get install rtpengine-daemon'")
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for name, measure in ((DIRECT, _direct), (RELAY, _relay), (BUSY, _busy), (RTPENGINE, _rtpengine)):
            for _ in range(options.tries):
                one = {"engine": name, **measure(options)}
                rounds.append(one)
                console.print(f"round {number + 1} of {options.rounds}  {_in_words(one)}", highlight=False)
                if not one["void"]:
                    break
    return _outcome(rounds, options)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench media", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times each engine is measured (default 3)")
    parser.add_argument("--calls", type=int, default=200, help="calls at once (default 200)")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of one measurement (default 15)")
    parser.add_argument("--tries", type=int, default=3, help="times a void measurement is tried (default 3)")
    return parser.parse_args(arguments)


@contextmanager
def _python(module: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _said(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def _load(options: argparse.Namespace, streams: Streams, load: subprocess.Popen[str], cpu: Callable[[], float]) -> dict[str, Any]:
    """Let the load run over these streams; `cpu` reads the engine's CPU time. The warm-up's share is left in proportion."""
    assert load.stdin is not None
    task = {"streams": streams, "seconds": options.seconds, "warm_up": WARM_UP}
    before = cpu()
    load.stdin.write(json.dumps(task) + "\n")
    load.stdin.flush()
    found: dict[str, Any] = _said(load)
    spent = cpu() - before
    found["cpu_seconds"] = spent * options.seconds / (options.seconds + WARM_UP)
    found["lost"] = found["sent"] - found["received"]
    found["void"] = found["late_beats"] > LATE * options.seconds / BEAT
    found["load_average"] = os.getloadavg()[0]
    return found


def _direct(options: argparse.Namespace) -> dict[str, Any]:
    with _python("bench.rtp_load") as load:
        callers, callees = _said(load)
        return _load(options, [(0, callees), (1, callers)] * options.calls, load, lambda: 0.0)


def _busy(options: argparse.Namespace) -> dict[str, Any]:
    return _relay(options, 1000)


def _relay(options: argparse.Namespace, messages: int = 0) -> dict[str, Any]:
    with _python("bench.rtp_load") as load:
        callers, callees = _said(load)
        with _python("bench.media_relay", str(options.calls), str(callers), str(callees), str(messages)) as relay:
            streams = _said(relay)
            found = _load(options, streams, load, lambda: process_cpu_seconds(relay.pid))
            found["cpu_seconds"] -= messages * MESSAGE_SECONDS * options.seconds
            assert relay.stdin is not None
            relay.stdin.close()
            return {**found, "counted": _said(relay)}


def _rtpengine(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder, _python("bench.rtp_load") as load:
        callers, callees = _said(load)
        with RunningRtpengine(Path(folder), RTPENGINE_PORTS, threads=0) as daemon:
            streams = asyncio.run(_with_client(daemon, options.calls, callers, callees))
            return _load(options, streams, load, lambda: process_cpu_seconds(daemon.pid))


async def _with_client(daemon: RunningRtpengine, calls: int, callers: int, callees: int) -> Streams:
    outcomes: asyncio.Queue[MediaOutcome] = asyncio.Queue()
    client = RtpengineClient([daemon.address], outcomes.put_nowait, clock=time.monotonic, entropy=os.urandom)
    await client.start()
    try:
        return await connect_calls(client, outcomes, calls, callers, callees)
    finally:
        await client.stop()


def _in_words(one: dict[str, Any]) -> str:
    delay = {name: f"{value * 1e3:.2f} ms" for name, value in one["delay_seconds"].items()}
    return (
        f"{one['engine']}{' (void)' if one['void'] else ''}: {one['lost']} of {one['sent']} lost, "
        f"delay {delay['p50']}, p99 {delay['p99']}, max {delay['max']}, "
        f"{one['cpu_seconds']:.2f} s CPU (load {one['load_cpu_seconds']:.2f} s), load average {one['load_average']:.1f}"
    )


def _outcome(rounds: Sequence[dict[str, Any]], options: argparse.Namespace) -> Outcome:
    title = f"{options.calls} calls, {options.seconds:g} s: delay and CPU time, median of the rounds (least - greatest)"
    table = Table(title=title, title_justify="left")
    for column in ("engine", "lost", "p50 (ms)", "p99 (ms)", "core (%)", "us a packet"):
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    summary: dict[str, Any] = {}
    for name in (DIRECT, RELAY, BUSY, RTPENGINE):
        mine = [one for one in rounds if one["engine"] == name and not one["void"]]
        figures = {
            "p50": spread([one["delay_seconds"]["p50"] for one in mine]),
            "p99": spread([one["delay_seconds"]["p99"] for one in mine]),
            "core": spread([one["cpu_seconds"] / options.seconds for one in mine]),
            "packet": spread([one["cpu_seconds"] / one["sent"] for one in mine]),
        }
        lost = sum(one["lost"] for one in mine)
        cells = [_cell(figures["p50"], 1e3, 2), _cell(figures["p99"], 1e3, 2)]
        cells += ["", ""] if name == DIRECT else [_cell(figures["core"], 100, 0), _cell(figures["packet"], 1e6, 1)]
        table.add_row(name, str(lost), *cells)
        summary[name] = {"lost": lost, **{key: value.median if value else None for key, value in figures.items()}}
    said = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True, check=False)
    figures_all = {
        "options": vars(options),
        "peers": {"rtpengine": (said.stdout + said.stderr).strip()},
        "medians": summary,
        "rounds": list(rounds),
    }
    usable = all(value["p99"] is not None for value in summary.values())
    return Outcome("media", [table], figures_all, usable)


def _cell(found: Any, factor: float, digits: int) -> str:
    if found is None:
        return "void"
    return f"{found.median * factor:.{digits}f} ({found.least * factor:.{digits}f} - {found.greatest * factor:.{digits}f})"
