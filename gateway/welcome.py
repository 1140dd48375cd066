"""What `portico run` tells the person who started it: where everything is, and what to do next."""

from collections.abc import Mapping
from pathlib import Path

from gateway.version import VERSION

_LISTENERS = {
    "sip_udp": "SIP (UDP)",
    "autop_https": "autop (HTTPS)",
    "autop_http": "autop (HTTP)",
    "channel": "device channel (TLS)",
    "remote_control": "Remote Control (HTTPS)",
    "admin": "admin API",
    "metrics": "metrics and health",
}


def address(bound: tuple[str, int]) -> str:
    """host:port, with brackets around an IPv6 address."""
    host, port = bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def welcome(
    bound: Mapping[str, tuple[str, int]],
    *,
    state: Path,
    token_file: Path,
    ca_file: Path | None,
    public_host: str,
    first: str | None,
) -> list[str]:
    """The lines to print. `first` is the admin token when this start made it."""
    lines = [f"Portico {VERSION} is up. State folder: {state}"]
    lines += [f"  {_LISTENERS[name]:<24}{address(where)}" for name, where in bound.items() if name in _LISTENERS]
    lines.append(f"  {'devices dial':<24}{public_host}   (public.host in portico.toml)")
    if ca_file is not None:
        lines.append(f"  {'local CA':<24}{ca_file}")
    if first is not None:
        lines += ["", f"Admin token, shown this once (it is also in {token_file}): {first}"]
    if "admin" in bound:
        api = f"http://{address(bound['admin'])}/api/v1"
        lines += [
            "",
            "Next: register a device's MAC, make a site, add the device. The answer holds the URL to type into the device.",
            f'  T="Authorization: Bearer $(cat {token_file})"',
            f'  curl -H "$T" --json \'{{"name": "My house"}}\' {api}/sites',
            f'  curl -H "$T" --json \'{{"mac": "0C:11:05:AA:BB:CC"}}\' {api}/mac-library',
            f'  curl -H "$T" -X PUT --json \'{{"site": "<site id>", "kind": 0, "model": "R29", "name": "Gate"}}\' '
            f"{api}/devices/0C1105AABBCC",
            f"All calls: {api}/openapi.json  Stop with Ctrl-C.",
        ]
    return lines
