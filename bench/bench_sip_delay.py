"""The delay that the proxy adds to a call being set up, at half load: Portico beside Kamailio, in the same run.

First the call capacity of Portico on this machine is sought: SIPp calls ever faster, until calls fail, come late, or more than
one in fifty needs a retransmission. Then, while SIPp makes calls at half that rate through a server, a probe of our own makes one
call after the other through the same server, and two spans are taken of each: from the INVITE with credentials leaving the caller
to its arrival at the callee, and from the callee's 180 to its arrival at the caller. Arrival is the kernel's time stamp
(SO_TIMESTAMPNS), so what the probe itself waits for a core does not count. The servers take turns at the same rate.
"""

import argparse
import os
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.bench_sip import KAMAILIO, PORTICO, Server, start, warm
from bench.bench_sip_core import ack, invite, with_md5
from bench.outcome import Outcome
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Phone
from tests.system.peers import LOOPBACK, program
from tests.system.sipp_load import Sipp, SipUser, call

FIRST_RATE = 100.0
STEP = 1.25
RETRANSMITTED = 0.02
"""Share of calls with a retransmission past which the server is taken to be beyond its capacity."""
LATE = 1.25
"""Times the planned duration that a run may take."""
RUN_SECONDS, END_SECONDS = 5.0, 1.5
"""How long each rate is tried, and what a run takes beside its calls: SIPp's callee lingers a second."""
SETTLING_SECONDS = 35.0
"""After the run that was too fast: 64*T1, until the server has given up the calls that nobody answers any more."""
PROBE_SECONDS = 0.05
"""From one call of the probe to the next."""
PATIENCE = 5.0
"""Seconds the probe waits for a message."""
_STAMP = 35
"""SO_TIMESTAMPNS, as option and as the type of the message that holds the time (Linux, socket.h)."""
TARGET = 0.010
"""Seconds: issue 3's figure for the 99th percentile of both spans together."""


class Probe(Phone):
    """A phone on a socket whose arrivals are stamped by the kernel, in wall-clock nanoseconds."""

    def __init__(self, server: tuple[str, int], letter: str, user: SipUser) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, _STAMP, 1)
        self.socket.settimeout(PATIENCE)
        self.socket.bind((LOOPBACK, 0))
        self._server = server
        host, port = self.socket.getsockname()
        super().__init__(letter, user.username, host, port, password=user.password.encode())

    def send(self, data: bytes) -> int:
        """Send; when, in nanoseconds."""
        now = time.time_ns()
        self.socket.sendto(data, self._server)
        return now

    def receive(self) -> tuple[int, Request | Response]:
        """The next message that is no 100, and when it arrived. Raises TimeoutError."""
        while True:
            data, notes, _, _ = self.socket.recvmsg(65535, 64)
            message = parse(data)
            if isinstance(message, Request) or message.status != 100:
                seconds, rest = struct.unpack("qq", notes[0][2][:16])
                return seconds * 10**9 + rest, message

    def response(self, status: int) -> tuple[int, Response]:
        at, message = self.receive()
        if not isinstance(message, Response) or message.status != status:
            raise RuntimeError(f"{status} was expected, not {message.start_line()!r}")
        return at, message

    def registers(self) -> None:
        """REGISTER with the challenge in between."""
        data = self.register()
        self.send(data)
        _, challenge = self.response(401)
        self.send(proven(self, data, challenge))
        self.response(200)

    def drain(self) -> None:
        """Throw away what still comes of a call that failed."""
        with suppress(TimeoutError):
            while True:
                self.receive()

    def asked(self, method: bytes) -> tuple[int, Request]:
        at, message = self.receive()
        if not isinstance(message, Request) or message.method != method:
            raise RuntimeError(f"{method!r} was expected, not {message.start_line()!r}")
        return at, message


@dataclass
class Delays:
    """Of one server, in seconds: the INVITE's way, the 180's way back, both together; and what went wrong meanwhile."""

    server: str
    forward: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    probes_failed: int = 0
    load_failed: int = 0
    retransmissions: int = 0

    @property
    def both(self) -> list[float]:
        """The delay that one call sees."""
        return [one + other for one, other in zip(self.forward, self.back, strict=True)]


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the table and figures."""
    parser = argparse.ArgumentParser(prog="bench sip_delay", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times each server is measured (default 3)")
    parser.add_argument("--users", type=int, default=400, help="users registered with each server (default 400)")
    parser.add_argument("--probes", type=int, default=400, help="calls of the probe in a round (default 400)")
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second of the load; 0: half of the capacity (default)")
    options = parser.parse_args(arguments)
    absent = [name for name in ("sipp", "kamailio") if program(name) is None]
    if absent:
        raise SystemExit(f"bench sip_delay needs {' and '.join(absent)}: type 'sudo apt-get install sip-tester kamailio'")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        pairs = [_apart(one) for one in start(stack, folder, options.users + 2) if one.name in (PORTICO, KAMAILIO)]
        servers, probing = [warm(server) for server, _ in pairs], [probe for _, probe in pairs]
        capacity = 0.0 if options.rate else _capacity(console, servers[0])
        rate = options.rate or capacity / 2
        found = {server.name: Delays(server.name) for server in servers}
        before = os.getloadavg()[0]
        for number in range(options.rounds):
            for server, users in zip(servers, probing, strict=True):
                _measure(server, users, rate, options.probes, found[server.name])
                console.print(f"round {number + 1} of {options.rounds}  {_in_words(found[server.name])}", highlight=False)
    return _outcome(list(found.values()), options, capacity, rate, before)


def _capacity(console: Console, server: Server) -> float:
    """Calls a second that the server still carries."""
    good, rate = 0.0, FIRST_RATE
    while True:
        calls, since = int(rate * RUN_SECONDS), time.monotonic()
        made, answered = call(server.address, server.folder, server.users, server.port, calls=calls, rate=int(rate))
        took = time.monotonic() - since
        resent = made.retransmissions + answered.retransmissions
        carried = made.successful == calls and resent <= RETRANSMITTED * calls and took <= LATE * (RUN_SECONDS + END_SECONDS)
        console.print(f"{server.name} at {rate:.0f} calls a second: {calls} calls in {took:.1f} s, {resent} retransmissions")
        if not carried:
            if not good:
                raise SystemExit(f"bench sip_delay: {server.name} carries not even {rate:.0f} calls a second")
            time.sleep(SETTLING_SECONDS)
            return good
        good, rate = rate, rate * STEP


def _apart(server: Server) -> tuple[Server, Sequence[SipUser]]:
    """The server with the users of the load alone, and the last two for the probe: nobody else rings where they do."""
    *load, caller, callee = server.users
    return replace(server, users=[*load[:-1], replace(load[-1], target=load[0].username)]), (caller, callee)


def _measure(server: Server, users: Sequence[SipUser], rate: float, probes: int, found: Delays) -> None:
    """One round: the load, and the probe's calls one after the other while it lasts."""
    caller, callee = (Probe(server.address, letter, user) for letter, user in zip("AB", users, strict=True))
    calls = int(rate * (probes * PROBE_SECONDS + 2 * END_SECONDS))
    with (
        caller.socket,
        callee.socket,
        Sipp("uas", server.folder, calls=calls, local_port=server.port) as answering,
        Sipp("uac_call", server.folder, calls=calls, remote=server.address, users=server.users, rate=int(rate)) as calling,
    ):
        for phone in (caller, callee):
            phone.registers()
        began = time.monotonic() + END_SECONDS
        for number in range(probes):
            # A pace, not a wait for something: the probe must not be a load of its own.
            time.sleep(max(0.0, began + number * PROBE_SECONDS - time.monotonic()))
            try:
                _one_call(caller, callee, found)
            except (TimeoutError, RuntimeError):
                found.probes_failed += 1
                for phone in (caller, callee):
                    phone.drain()
        made = calling.result(60 + calls / rate)
        answered = answering.result(10)
    found.load_failed += calls - made.successful
    found.retransmissions += made.retransmissions + answered.retransmissions


def _one_call(caller: Probe, callee: Probe, found: Delays) -> None:
    """INVITE, 407, ACK, INVITE, 180, 200, ACK, BYE, 200; the two spans are kept once the call is over."""
    first = invite(caller, callee)
    caller.send(first)
    _, challenge = caller.response(407)
    caller.send(ack(first, challenge))
    data = proven(caller, first, challenge)
    left = caller.send(data)
    arrived, request = callee.asked(b"INVITE")
    rang = callee.send(callee.reply(request, 180))
    heard, _ = caller.response(180)
    callee.send(callee.reply(request, 200))
    _, answer = caller.response(200)
    sent = parse(data)
    assert isinstance(sent, Request)
    caller.send(caller.in_dialog(b"ACK", answer, sent))
    callee.asked(b"ACK")
    caller.send(caller.in_dialog(b"BYE", answer, sent))
    _, bye = callee.asked(b"BYE")
    callee.send(callee.reply(bye, 200))
    caller.response(200)
    found.forward.append((arrived - left) / 1e9)
    found.back.append((heard - rang) / 1e9)


def proven(phone: Phone, data: bytes, challenge: Response) -> bytes:
    """The request again with an MD5 digest, whether the challenge names the algorithm (ours) or means it (Kamailio's)."""
    named = any(b"algorithm=" in line for line in challenge.lines)
    return with_md5(phone, data, challenge) if named else phone.with_credentials(data, challenge)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; infinite without values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("inf")


def _in_words(one: Delays) -> str:
    return (
        f"{one.server}: p50 {percentile(one.both, 0.5) * 1e3:.2f} ms, p99 {percentile(one.both, 0.99) * 1e3:.2f} ms of "
        f"{len(one.both)} so far, {one.probes_failed} probes and {one.load_failed} calls of the load failed"
    )


def _outcome(found: Sequence[Delays], options: argparse.Namespace, capacity: float, rate: float, load: float) -> Outcome:
    table = Table(
        title=f"Delay added to a call being set up, at {rate:.0f} calls a second (ms: p50, p99, most)", title_justify="left"
    )
    for column in ("server", "INVITE", "180 back", "both", "calls"):
        table.add_column(column, justify="left" if column == "server" else "right", no_wrap=True)
    for one in found:
        table.add_row(one.server, *(_cell(values) for values in (one.forward, one.back, one.both)), str(len(one.both)))
    figures = {
        "options": vars(options),
        "capacity_calls_a_second": capacity,
        "load_calls_a_second": rate,
        "load_average_before": load,
        "target_p99_seconds": TARGET,
        "servers": {
            one.server: {
                **{
                    name: {str(share): percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)}
                    for name, values in (("invite", one.forward), ("ringing_back", one.back), ("both", one.both))
                },
                "probes": len(one.both),
                "probes_failed": one.probes_failed,
                "load_failed": one.load_failed,
                "retransmissions": one.retransmissions,
            }
            for one in found
        },
    }
    return Outcome("sip_delay", [table], figures, all(one.both and not one.load_failed for one in found))


def _cell(values: Sequence[float]) -> str:
    return ", ".join(f"{percentile(values, share) * 1e3:.2f}" for share in (0.5, 0.99, 1.0))
