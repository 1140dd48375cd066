"""What `portico` understands. Each command explains itself, prints the next step, and fails in one sentence with a way out."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import compiled, config_file
from gateway.errors import ConfigError, StartError
from gateway.version import VERSION

DEFAULT_STATE = Path("portico-state")
DEMO_STATE = Path("portico-demo")


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit status: 0 done, 1 could not, 2 wrong configuration or usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        return 0
    try:
        status = options.command(options)
    except StartError as error:
        print(f"portico: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        return 1
    assert isinstance(status, int)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="portico",
        description="Portico: the cloud gateway for door phones, indoor monitors and apps.",
        epilog="First time here? `portico demo` shows a call with simulated devices; `portico run` starts an empty gateway.",
    )
    parser.add_argument("--version", action="version", version=f"portico {VERSION}, SIP core: {compiled.form()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    run = commands.add_parser("run", help="start the gateway and stay until Ctrl-C or SIGTERM")
    _common(run)
    run.add_argument(
        "--ready-file", type=Path, metavar="F", help="write the bound addresses here as JSON once all listeners are up"
    )
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="start a gateway with a demo site and let simulated devices make a call")
    _common(demo, DEMO_STATE)
    demo.add_argument("--once", action="store_true", help="end after the call instead of staying up")
    demo.set_defaults(command=_demo)

    check = commands.add_parser("check-config", help="say whether a configuration file is right")
    check.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to check")
    check.add_argument("--defaults", action="store_true", help="print every key with its default and meaning instead")
    check.set_defaults(command=_check_config)

    simulate = commands.add_parser("simulate", help="run a fleet of simulated devices against a running gateway")
    simulate.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help="state folder of the running gateway")
    simulate.add_argument("--devices", type=int, default=10, metavar="N", help="how many devices (default 10)")
    simulate.add_argument("--calls-per-minute", type=int, default=6, metavar="C", help="calls a minute among them (default 6)")
    simulate.add_argument("--minutes", type=float, default=1.0, metavar="M", help="how long (default 1)")
    simulate.add_argument(
        "--lan", metavar="A,A", help="instead: door phones without a channel at these addresses of this machine, for a connector"
    )
    simulate.set_defaults(command=_simulate)

    connector = commands.add_parser(
        "connector", help="on a site's LAN: speak for the devices there that have no channel of their own"
    )
    connector.add_argument("--gateway", metavar="HOST:PORT", help="the gateway's channel; the port is 7443 unless given")
    connector.add_argument("--token-file", metavar="F", help="the file that holds the site token")
    connector.add_argument(
        "--ca", metavar="FILE", help="the CA of the gateway's certificate; without it the system's trust counts"
    )
    connector.add_argument(
        "--ca-sha256", metavar="X", help="or the SHA-256 of that CA's certificate, which the gateway shows itself"
    )
    connector.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file with the same words: gateway, token_file, ..."
    )
    connector.add_argument(
        "--pnp", metavar="IFACE,...", help="answer SIP PnP on these network interfaces, for devices that may enrol"
    )
    connector.add_argument("--tftp", metavar="ADDRESS", help="serve configurations over TFTP at this address of the LAN")
    connector.set_defaults(command=_connector)

    token = commands.add_parser("token", help="make a new admin API token (shown once)")
    token.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help="state folder of the gateway")
    token.add_argument("--name", default="command line", help="what the token is for, as the audit log will show it")
    token.add_argument(
        "--role", default="distributor", help="distributor, installer, sub-installer, property-manager or read-only"
    )
    token.add_argument("--site", action="append", default=[], metavar="ID", help="limit the token to this site (repeatable)")
    token.set_defaults(command=_token)

    forward = commands.add_parser("forward", help="reach ssh or RTSP of a device from this machine, where its site allows it")
    forward.add_argument("mac", metavar="MAC", help="the device")
    forward.add_argument("what", metavar="PORT", help="ssh, rtsp, or the port by which these are known (22, 554)")
    forward.add_argument(
        "--listen", default="127.0.0.1:0", metavar="ADDR:PORT", help="where to listen (default: a free local port)"
    )
    forward.add_argument("--api", default="http://127.0.0.1:8088", metavar="URL", help="the admin API (default: %(default)s)")
    forward.add_argument("--token-file", type=Path, required=True, metavar="F", help="file with an admin API token")
    forward.add_argument("--ca", type=Path, metavar="F", help="PEM file of the gateway's CA; without it the system's trust holds")
    forward.add_argument("--seconds", type=int, default=0, metavar="S", help="end it after so long (default and most: an hour)")
    forward.set_defaults(command=_forward)

    backup = commands.add_parser("backup", help="write everything a new machine needs into one file; the gateway may be running")
    backup.add_argument("file", type=Path, metavar="FILE", help="the backup to write, for example portico-2026-11-23.tar.gz")
    backup.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help="state folder of the gateway")
    backup.set_defaults(command=_backup)

    restore = commands.add_parser("restore", help="fill a new state folder from a backup")
    restore.add_argument("file", type=Path, metavar="FILE", help="the backup to read")
    restore.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR", help="a state folder that is still empty")
    restore.set_defaults(command=_restore)
    return parser


def _common(command: argparse.ArgumentParser, state: Path = DEFAULT_STATE) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="TOML configuration; without it the defaults hold")
    command.add_argument("--state", type=Path, default=state, metavar="DIR", help=f"state folder (default: ./{state})")


def _run(options: argparse.Namespace) -> int:
    from gateway.run import run_node

    return run_node(config_file.load(options.config), options.state, options.ready_file)


def _demo(options: argparse.Namespace) -> int:
    from gateway.demo import run_demo

    return run_demo(options.config, options.state, once=options.once)


def _check_config(options: argparse.Namespace) -> int:
    if options.defaults:
        print(config_file.reference())
        return 0
    config_file.load(options.config)
    print(f"{options.config or 'the defaults'}: all right. Start it with: portico run" + _config_flag(options.config))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    ready = options.state / "ready.json"
    if not ready.exists():
        raise StartError(
            f"no gateway is running on state folder {options.state}. Start one first: portico run --state {options.state}"
        )
    flags = {
        "--ready-file": ready,
        "--devices": options.devices,
        "--calls-per-minute": options.calls_per_minute,
        "--minutes": options.minutes,
    }
    if options.lan:
        arguments = ["lan", "--ready-file", str(ready), "--lan", options.lan]
        os.execv(sys.executable, [sys.executable, "-m", "simulators", *arguments])  # noqa: S606
    command = [sys.executable, "-m", "simulators", "fleet"]
    os.execv(sys.executable, command + [str(word) for flag in flags.items() for word in flag])  # noqa: S606


def _connector(options: argparse.Namespace) -> int:
    from gateway.connector import options as words
    from gateway.connector.program import run_connector

    return run_connector(words.options({key: getattr(options, key) for key in words.KEYS}, options.config))


def _token(options: argparse.Namespace) -> int:
    from gateway.tokens import make_token

    secret = make_token(options.state, name=options.name, role=options.role, sites=tuple(options.site))
    print(secret)
    print("This is shown once. Use it as:  Authorization: Bearer <token>", file=sys.stderr)
    return 0


def _forward(options: argparse.Namespace) -> int:
    from gateway.forward import Wanted, run_forward

    host, colon, port = str(options.listen).rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"--listen {options.listen}: not ADDR:PORT, for example 127.0.0.1:2222.")
    listen = (host.strip("[]") or "127.0.0.1", int(port))
    return run_forward(Wanted(options.mac, options.what, listen, options.api, options.token_file, options.ca, options.seconds))


def _backup(options: argparse.Namespace) -> int:
    from gateway.backup import backup

    names = backup(options.state, options.file)
    print(f"{options.file}: {', '.join(names)}")
    print("It opens every secret of this installation: keep it where only you can read it.")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from gateway.backup import restore

    names = restore(options.file, options.state)
    print(f"{options.state}: restored {', '.join(names)}. Start it with: portico run --state {options.state}")
    return 0


def _config_flag(path: Path | None) -> str:
    return f" --config {path}" if path else ""
