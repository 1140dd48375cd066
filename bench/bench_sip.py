"""CPU time per authenticated registration and per full call: Portico beside Kamailio, under the same SIPp in the same run.

Registration: REGISTER, 401, REGISTER with digest, 200. Call: INVITE, 407, ACK, INVITE with digest, 180, 200, ACK, BYE, 200, all
through the proxy, which stays in the path. The servers take turns in every round; what counts is the CPU time of the server's
processes, not wall time, as SIPp shares the machine. Kamailio runs as Debian ships it, and with its faster allocator (-x fm).
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.outcome import Outcome, Round, Spread, each, ratio
from tests.system.fleet import add_devices, add_site, each_calls_the_next
from tests.system.kamailio import PASSWORD, RunningKamailio
from tests.system.peers import RunningGateway, free_udp_port, loopback_config, process_cpu_seconds, program
from tests.system.sipp_load import SippResult, SipUser, call, register

PORTICO = "portico"
KAMAILIO = "kamailio"
KAMAILIO_FM = "kamailio -x fm"
REGISTRATION = "registration"
CALL = "call"
CONFIG = '[sip]\ndomains = ["gw.test"]\n'
"""The name that the probes of `bench_sip_delay` use for every server."""
SETTLE_SECONDS = 3.0
"""What was put off during the warm-up (bindings written behind, call records) is done by then and counts as no idle time."""
IDLE_SECONDS = 5.0
"""How long each server is watched idle before the first round."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: where it listens, its main process, and its users, all registered from `port`."""

    name: str
    pid: int
    address: tuple[str, int]
    users: Sequence[SipUser]
    port: int
    folder: Path
    idle_rate: float = 0.0
    """CPU seconds per second of the server with nothing to do."""


def run(console: Console, arguments: Sequence[str]) -> Outcome:
    """Measure, and give the tables and figures."""
    options = _options(arguments)
    absent = [name for name in ("sipp", "kamailio") if program(name) is None]
    if absent:
        raise SystemExit(f"bench sip needs {' and '.join(absent)}: type 'sudo apt-get install sip-tester kamailio'")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bench-")))
        console.print(f"Starting the servers and registering {options.users} users with each ...")
        servers = [warm(server) for server in start(stack, folder, options.users)]
        rounds: list[Round] = []
        for number in range(options.rounds):
            for server in servers:
                for one in (_registrations(server, options), _calls(server, options)):
                    rounds.append(one)
                    console.print(f"round {number + 1} of {options.rounds}  {_in_words(one)}", highlight=False)
    return _outcome(rounds, servers, options)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench sip", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times each server is measured (default 5)")
    parser.add_argument("--users", type=int, default=400, help="users registered with each server (default 400)")
    parser.add_argument("--registrations", type=int, default=4000, help="registrations in a round (default 4000)")
    parser.add_argument("--calls", type=int, default=1000, help="calls in a round (default 1000)")
    parser.add_argument("--registration-rate", type=int, default=400, help="registrations a second (default 400)")
    parser.add_argument("--call-rate", type=int, default=100, help="calls a second (default 100)")
    return parser.parse_args(arguments)


def start(stack: ExitStack, folder: Path, users: int) -> list[Server]:
    """Portico on its embedded store, and two Kamailios; the same user names everywhere, so that messages are equally long."""
    own, plain, fm = (folder / name for name in ("portico", "kamailio", "kamailio-fm"))
    for each_folder in (own, plain, fm):
        each_folder.mkdir()
    gateway = stack.enter_context(RunningGateway(own, loopback_config("warning", more=CONFIG)))
    accounts = each_calls_the_next(add_devices(gateway, add_site(gateway, "Bench"), users))
    shared = [replace(user, password=PASSWORD) for user in accounts]
    servers = [Server(PORTICO, gateway.pid, gateway.address("sip_udp"), accounts, free_udp_port(), own)]
    for name, place, words in ((KAMAILIO, plain, ()), (KAMAILIO_FM, fm, ("-x", "fm"))):
        peer = stack.enter_context(RunningKamailio(place, words))
        servers.append(Server(name, peer.pid, peer.address, shared, free_udp_port(), place))
    return servers


def warm(server: Server) -> Server:
    """Register everybody, make some calls, then watch the server doing nothing."""
    registered = register(server.address, server.folder, server.users, server.port, rate=200)
    made, _ = call(server.address, server.folder, server.users, server.port, calls=20)
    for result in (registered, made):
        if result.exit_code != 0:
            raise SystemExit(f"bench sip: {server.name} fails before any load: {result.said or result}")
    time.sleep(SETTLE_SECONDS)
    cpu, begun = process_cpu_seconds(server.pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return replace(server, idle_rate=(process_cpu_seconds(server.pid) - cpu) / (time.monotonic() - begun))


def _registrations(server: Server, options: argparse.Namespace) -> Round:
    cpu, begun = process_cpu_seconds(server.pid), time.monotonic()
    result = register(
        server.address,
        server.folder,
        server.users,
        server.port,
        times=options.registrations,
        rate=options.registration_rate,
    )
    return _round(server, REGISTRATION, cpu, begun, options.registrations, result)


def _calls(server: Server, options: argparse.Namespace) -> Round:
    cpu, begun = process_cpu_seconds(server.pid), time.monotonic()
    made, answered = call(server.address, server.folder, server.users, server.port, calls=options.calls, rate=options.call_rate)
    done = _round(server, CALL, cpu, begun, options.calls, made)
    return replace(done, retransmissions=made.retransmissions + answered.retransmissions)


def _round(server: Server, work: str, cpu: float, begun: float, wanted: int, result: SippResult) -> Round:
    wall = time.monotonic() - begun
    spent = process_cpu_seconds(server.pid) - cpu
    failed = max(wanted - result.successful, int(result.exit_code != 0))
    return Round(
        server.name, work, spent, server.idle_rate * wall, wall, result.successful, failed, result.retransmissions, result.said
    )


def _in_words(one: Round) -> str:
    if one.void:
        return f"{one.server}: void, {one.failed} {one.work}s failed. {one.said.strip()[:500]}"
    resent = f", {one.retransmissions} retransmissions" if one.retransmissions else ""
    return f"{one.server}: {one.each * 1e6:.0f} us CPU per {one.work} ({one.done} in {one.wall:.1f} s{resent})"


def _outcome(rounds: Sequence[Round], servers: Sequence[Server], options: argparse.Namespace) -> Outcome:
    table = Table(title="CPU time of the server's processes, median of the rounds (least - greatest)", title_justify="left")
    for column in ("server", "per registration", "per call", "idle"):
        table.add_column(column, justify="left" if column == "server" else "right", no_wrap=True)
    for server in servers:
        cells = [_microseconds(each(rounds, server.name, work)) for work in (REGISTRATION, CALL)]
        table.add_row(server.name, *cells, f"{server.idle_rate * 1e3:.2f} ms/s")
    table.add_section()
    for peer in (KAMAILIO, KAMAILIO_FM):
        cells = [_times(ratio(rounds, PORTICO, peer, work)) for work in (REGISTRATION, CALL)]
        table.add_row(f"portico / {peer}", *cells, "")
    figures = {
        "options": vars(options),
        "peers": {"sipp": _version("sipp"), "kamailio": _version("kamailio")},
        "idle_cpu_seconds_per_second": {server.name: server.idle_rate for server in servers},
        "cpu_seconds_each": {
            server.name: {work: _plain(each(rounds, server.name, work)) for work in (REGISTRATION, CALL)} for server in servers
        },
        "ratio_portico_to": {
            peer: {work: _plain(ratio(rounds, PORTICO, peer, work)) for work in (REGISTRATION, CALL)}
            for peer in (KAMAILIO, KAMAILIO_FM)
        },
        "rounds": [{**asdict(one), "void": one.void} for one in rounds],
    }
    usable = all(each(rounds, server.name, work) for server in servers for work in (REGISTRATION, CALL))
    return Outcome("sip", [table], figures, usable)


def _microseconds(found: Spread | None) -> str:
    return "void" if found is None else f"{found.median * 1e6:.0f} us ({found.least * 1e6:.0f} - {found.greatest * 1e6:.0f})"


def _times(found: Spread | None) -> str:
    return "void" if found is None else f"{found.median:.2f} ({found.least:.2f} - {found.greatest:.2f})"


def _plain(found: Spread | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


def _version(name: str) -> str:
    """The first line that names a version. SIPp says it on standard output and exits with 99."""
    said = subprocess.run([str(program(name)), "-v"], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (said.stdout + said.stderr).splitlines()]
    return next((line for line in lines if any(character.isdigit() for character in line)), "unknown")
