"""`portico forward`: a port of this machine that reaches ssh or RTSP of a device, for as long as the gateway allows it."""

import asyncio
import contextlib
import json
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import StartError
from registry.errors import MalformedMac
from registry.mac import MacAddress
from tunnel.net.forward_client import ForwardClient, ForwardRefused, forward_context
from tunnel.session import FORWARDED

API_DEADLINE = 30.0
_WORDS = {
    "no-session": "the ticket was not taken: it works once, within a minute, and only while the site allows forwards",
    "store": "the gateway's store cannot answer now; try again",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for. `listen`: address and port (0: a free one). `seconds` 0: as long as it may."""

    mac: str
    what: str
    listen: tuple[str, int]
    api: str
    token_file: Path
    ca_file: Path | None
    seconds: int = 0


def run_forward(wanted: Wanted) -> int:
    """Make the forward and carry it until it ends or Ctrl-C. Raises StartError in words."""
    service = service_of(wanted.what)
    try:
        mac = MacAddress.parse(wanted.mac)
    except MalformedMac:
        raise StartError(f"{wanted.mac} is no MAC address: 12 hexadecimal digits, plain or with : - . between them.") from None
    made = _ask(wanted, mac, service)
    if not made["online"]:
        print(f"The device {mac.colons} is offline now: connections will fail until it is back.", file=sys.stderr)
    try:
        tls = forward_context(str(wanted.ca_file) if wanted.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"--ca {wanted.ca_file}: {error}.") from None
    client = ForwardClient(
        host=made["host"],
        port=made["port"],
        session=made["id"],
        ticket=made["ticket"],
        tls=tls,
        say=lambda text: print(f"portico forward: {text}", file=sys.stderr, flush=True),
    )

    def told(host: str, port: int) -> None:
        print(f"{mac.colons} {service} is at {host}:{port} until {made['expires']}, or {made['idle_seconds']} s without use.")
        print("Ctrl-C ends it.", flush=True)

    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(client.run(*wanted.listen, told))
        except ForwardRefused as error:
            raise StartError(f"the gateway refused: {_WORDS.get(str(error), str(error))}.") from None
        except ssl.SSLCertVerificationError as error:
            raise StartError(
                f"{made['host']}:{made['port']}: its certificate is not trusted: {error.verify_message}. "
                "Give the gateway's CA with --ca (tls/ca.pem in its state folder)."
            ) from None
        except OSError as error:
            raise StartError(f"{made['host']}:{made['port']} or the local address: {error}.") from None
        print("The session is over.", file=sys.stderr)
    return 0


def service_of(what: str) -> str:
    """The service that a word or a well-known port means. Raises StartError."""
    for service, port in FORWARDED.items():
        if what in (service, str(port)):
            return service
    offered = ", ".join(f"{service} ({port})" for service, port in FORWARDED.items())
    raise StartError(f"{what} cannot be forwarded; what can: {offered}.")


def _ask(wanted: Wanted, mac: MacAddress, service: str) -> dict[str, Any]:
    """The new session, from the admin API. Raises StartError."""
    if urlsplit(wanted.api).scheme not in ("http", "https"):
        raise StartError(f"--api {wanted.api} is no http or https URL.")
    try:
        token = wanted.token_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise StartError(f"--token-file {wanted.token_file}: {error}.") from None
    body: dict[str, Any] = {"service": service}
    if wanted.seconds:
        body["seconds"] = wanted.seconds
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        f"{wanted.api.rstrip('/')}/api/v1/devices/{mac.text}/forwards",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    context = ssl.create_default_context(cafile=str(wanted.ca_file) if wanted.ca_file else None)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=API_DEADLINE) as answer:
            made: dict[str, Any] = json.load(answer)
            return made
    except urllib.error.HTTPError as error:
        with error:
            raise StartError(f"the admin API refused: {_told(error.read(65_536), error.code)}") from None
    except (OSError, ValueError) as error:
        raise StartError(f"the admin API at {wanted.api} cannot be asked: {error}.") from None


def _told(body: bytes, status: int) -> str:
    """What a problem says, with its way out where it has one."""
    try:
        problem = json.loads(body)
        return " ".join(str(problem[name]) for name in ("title", "detail") if problem.get(name))
    except (ValueError, TypeError):
        return f"status {status}."
