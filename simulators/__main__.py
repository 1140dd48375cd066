"""`python -m simulators demo|fleet|lan`: simulated devices against a running gateway, in a process and loop of their own."""

import argparse
import sys
from collections.abc import Awaitable
from pathlib import Path

import uvloop

from simulators.admin_client import AdminProblem
from simulators.ready_file import NotReady


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 0, or 1 with one sentence on stderr saying what stopped it."""
    options = _parser().parse_args(arguments)
    try:
        status: int = uvloop.run(options.command(options))
    except (NotReady, AdminProblem, OSError, ValueError) as stopped:
        sys.stderr.write(f"simulators: {stopped}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="demo|fleet|lan")

    demo = commands.add_parser("demo", help="a house with two devices; a visitor rings, the door opens, everything is shown")
    _ready(demo)
    demo.add_argument("--once", action="store_true", help="exit after the main job instead of staying up")
    demo.add_argument(
        "--resident-seconds",
        type=float,
        default=1.2,
        metavar="S",
        help="how long the resident takes for each thing (default 1.2)",
    )
    demo.add_argument("--json", action="store_true", help="one JSON object per step instead of text")
    demo.set_defaults(command=_demo)

    fleet = commands.add_parser("fleet", help="many devices in sites of 50 that boot, register, refresh and call")
    _ready(fleet)
    fleet.add_argument("--devices", type=int, default=100, metavar="N", help="how many (default 100)")
    fleet.add_argument(
        "--boot-seconds", type=float, metavar="S", help="spread of their boot (default 20 devices a second, 60 at most)"
    )
    fleet.add_argument("--calls-per-minute", type=float, default=0.0, metavar="C", help="calls begun a minute, all in all")
    fleet.add_argument("--minutes", type=float, default=1.0, metavar="M", help="how long to call once booted (default 1)")
    fleet.add_argument(
        "--transports",
        default="udp",
        metavar="T,T",
        help="SIP transports of new devices, dealt out in turn: udp, tcp, tls (default udp)",
    )
    fleet.set_defaults(command=_fleet)

    lan = commands.add_parser("lan", help="door phones as they stand on a LAN: web page and HTTP API, no channel")
    lan.add_argument("--ready-file", type=Path, metavar="F", help="with --lan: the running gateway's ready file")
    lan.add_argument(
        "--lan", default="", metavar="A,A", help="instead of one: a site with a door phone at each of these addresses"
    )
    lan.add_argument("--mac", default="", metavar="M", help="its MAC address")
    lan.add_argument("--autop-url", default="", metavar="URL", help="its autop directory URL, as the admin API showed it")
    lan.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="without an autop URL: what it holds")
    lan.add_argument("--ca-file", metavar="F", help="the CA of the gateway's certificate")
    lan.add_argument("--address", default="", metavar="A", help="an address of this machine for its page and API")
    lan.add_argument("--port", type=int, default=80, metavar="P", help="their port (default 80)")
    lan.add_argument("--https", action="store_true", help="its page over HTTPS too (443), with a certificate of its own")
    lan.set_defaults(command=_lan)
    return parser


def _ready(command: argparse.ArgumentParser) -> None:
    command.add_argument("--ready-file", type=Path, required=True, metavar="F", help="the running gateway's ready file")


def _demo(options: argparse.Namespace) -> Awaitable[int]:
    from simulators.demo import run_demo

    return run_demo(options.ready_file, once=options.once, as_json=options.json, resident_seconds=options.resident_seconds)


def _lan(options: argparse.Namespace) -> Awaitable[int]:
    from simulators.lan_device import run_lan_device
    from simulators.lan_site import run_lan_site

    if options.lan and options.ready_file is not None:
        return run_lan_site(options.ready_file, tuple(options.lan.split(",")), options.port)
    settings = dict(word.split("=", 1) for word in options.setting)
    return run_lan_device(options.mac, options.autop_url, options.ca_file, options.address, options.port, settings, options.https)


def _fleet(options: argparse.Namespace) -> Awaitable[int]:
    from simulators.fleet import FleetPlan, run_fleet

    spread = min(60.0, options.devices / 20) if options.boot_seconds is None else options.boot_seconds
    plan = FleetPlan(options.devices, spread, options.calls_per_minute, options.minutes, tuple(options.transports.split(",")))
    return run_fleet(options.ready_file, plan)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
