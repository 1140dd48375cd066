"""User instructions per registration and per call, counted by valgrind: Portico beside Kamailio, under the same SIPp.

Instructions do not change with the machine's mood, so this tells on a busy machine what a change has brought, where `bench sip`
needs a quiet one. What it leaves out: the kernel's share (most of sending and receiving), caches, and waking up.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from bench.bench_sip import CALL, KAMAILIO, KAMAILIO_FM, PORTICO, REGISTRATION, SETTLE_SECONDS
from bench.outcome import Outcome
from tests.system.fleet import add_devices, add_site, each_calls_the_next
from tests.system.kamailio import PASSWORD, RunningKamailio
from tests.system.peers import RunningGateway, descendants, free_udp_port, loopback_config, program
from tests.system.sipp_load import SippResult, SipUser, call, register

IDLE_SECONDS = 10.0
PLAUSIBLE = 10**15
T = TypeVar("T")
_TOTALS = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


class Counted:
    """A server under callgrind, counting nothing until it is told to."""

    def __init__(self, name: str, pid: int, address: tuple[str, int], users: Sequence[SipUser], folder: Path) -> None:
        self.name = name
        self.pid = pid
        self.address = address
        self.users = users
        self.folder = folder
        self.port = free_udp_port()
        self.idle = 0.0
        """Instructions a second with nothing to do."""

    def count(self, work: Callable[[], SippResult], wanted: int) -> float:
        """Instructions of the server's processes for each piece of work. Raises SystemExit when more than one in fifty fails.

        Under callgrind a server may be so slow that a request is repeated, and SIPp's registrations end at that."""
        spent, seconds, result = self._spent(work)
        if result.successful < 0.98 * wanted:
            raise SystemExit(f"bench sip_instructions: {self.name}: {result.said or result}")
        return (spent - self.idle * seconds) / result.successful

    def watch_idle(self) -> None:
        """Learn what the server spends with nothing to do; `count` takes it off."""
        spent, seconds, _ = self._spent(lambda: time.sleep(IDLE_SECONDS))
        self.idle = spent / seconds

    def _spent(self, work: Callable[[], T]) -> tuple[int, float, T]:
        """Instructions and seconds that passed during `work`. Raises SystemExit where callgrind's own sum is out of range."""
        for old in self.folder.glob("callgrind.*"):
            old.unlink()
        self._control("-i", "on")
        begun = time.monotonic()
        result = work()
        seconds = time.monotonic() - begun
        self._control("-d")
        self._control("-i", "off")
        found = [_TOTALS.search(file.read_text()) for file in self.folder.glob("callgrind.*")]
        totals = [int(one.group(1)) for one in found if one is not None]
        if any(total > PLAUSIBLE for total in totals):
            raise SystemExit(f"bench sip_instructions: {self.name}: callgrind lost count; run it again")
        return sum(totals), seconds, result

    def _control(self, *words: str) -> None:
        for one in descendants(self.pid):
            # A process that runs under no callgrind (any more) has nothing to say.
            subprocess.run(["callgrind_control", *words, str(one)], check=False, capture_output=True)


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench sip_instructions", description=__doc__)
    parser.add_argument("--registrations", type=int, default=400)
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args(arguments)
    absent = [name for name in ("sipp", "kamailio", "valgrind") if program(name) is None]
    if absent:
        raise SystemExit(f"bench sip_instructions needs {' and '.join(absent)}: see tools/debian-packages.txt")
    table = Table("server", "per registration", "per call", title="User instructions, thousands", title_justify="left")
    figures: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        for server in _start(stack, folder):
            console.print(f"{server.name} ...")
            figures[server.name] = _measure(server, options.registrations, options.calls)
            table.add_row(server.name, *(f"{figures[server.name][work] / 1e3:,.0f}" for work in (REGISTRATION, CALL)))
    table.add_section()
    for peer in (KAMAILIO, KAMAILIO_FM):
        ratios = [figures[PORTICO][work] / figures[peer][work] for work in (REGISTRATION, CALL)]
        table.add_row(f"portico / {peer}", *(f"{one:.2f}" for one in ratios))
    return Outcome("sip_instructions", [table], {"options": vars(options), "instructions_each": figures}, usable=True)


def _measure(server: Counted, registrations: int, calls: int) -> dict[str, float]:
    """Register everybody and make some calls, so that what happens once has happened; then count."""
    address, folder, users, port = server.address, server.folder, server.users, server.port
    register(address, folder, users, port, rate=20)
    call(address, folder, users, port, calls=20, rate=5)
    time.sleep(SETTLE_SECONDS)
    server.watch_idle()
    registered = server.count(lambda: register(address, folder, users, port, times=registrations, rate=20), registrations)
    called = server.count(lambda: call(address, folder, users, port, calls=calls, rate=5)[0], calls)
    return {REGISTRATION: registered, CALL: called}


def _start(stack: ExitStack, folder: Path) -> list[Counted]:
    """Each under callgrind, which writes its counts into the server's folder."""
    own, plain, fm = (folder / name for name in ("portico", "kamailio", "kamailio-fm"))
    for each_folder in (own, plain, fm):
        each_folder.mkdir()
    gateway = RunningGateway(own, loopback_config("warning"), python=_callgrind(own, sys.executable), start_deadline=240.0)
    stack.enter_context(gateway)
    accounts = each_calls_the_next(add_devices(gateway, add_site(gateway, "Bench"), 100))
    servers = [Counted(PORTICO, gateway.pid, gateway.address("sip_udp"), accounts, own)]
    shared = [replace(user, password=PASSWORD) for user in accounts]
    for name, place, words in ((KAMAILIO, plain, ()), (KAMAILIO_FM, fm, ("-x", "fm"))):
        peer = RunningKamailio(place, words, binary=_callgrind(place, str(program("kamailio"))), start_deadline=60.0)
        stack.enter_context(peer)
        servers.append(Counted(name, peer.pid, peer.address, shared, place))
    return servers


def _callgrind(folder: Path, binary: str) -> str:
    """A program that runs `binary` under callgrind, its children too."""
    script = folder / "counted"
    valgrind = f"valgrind --tool=callgrind --instr-atstart=no --trace-children=yes --callgrind-out-file={folder}/callgrind.%p"
    script.write_text(f'#!/bin/sh\nexec {valgrind} {binary} "$@" 2>>{folder}/valgrind.log\n')
    script.chmod(0o755)
    return str(script)
