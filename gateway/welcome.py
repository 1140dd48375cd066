"""What `portico run` tells the person who started it: where everything is, and what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.version import VERSION

_LISTENERS = {
    "sip_udp": "SIP (UDP)",
    "sip_tcp": "SIP (TCP)",
    "sip_tls": "SIP (TLS)",
    "sip_ws": "SIP (WebSocket)",
    "sip_wss": "SIP (secure WebSocket)",
    "autop_https": "autop (HTTPS)",
    "autop_http": "autop (HTTP)",
    "tftp": "autop (TFTP)",
    "channel": "device channel (TLS)",
    "remote_control": "Remote Control (HTTPS)",
    "admin": "admin API",
    "metrics": "metrics and health",
}


def address(bound: tuple[str, int]) -> str:
    """host:port, with brackets around an IPv6 address."""
    host, port = bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Welcome:
    """The facts of a start. `first_token` is the admin token when this start made it."""

    bound: Mapping[str, Sequence[tuple[str, int]]]
    state: Path
    token_file: Path
    ca_file: Path | None
    public_host: str
    first_token: str | None

    def lines(self) -> list[str]:
        """Where everything is, the first token, and what to do next."""
        said = self.places()
        if self.first_token is not None:
            said += ["", f"Admin token, shown this once (it is also in {self.token_file}): {self.first_token}"]
        if "admin" in self.bound:
            said += self._next_steps(f"http://{address(self.bound['admin'][0])}/api/v1")
        return said

    def places(self) -> list[str]:
        """Where everything is."""
        said = [f"Portico {VERSION} is up. State folder: {self.state}"]
        for name, places in self.bound.items():
            if name in _LISTENERS:
                said.append(f"  {_LISTENERS[name]:<24}{', '.join(address(one) for one in places)}")
        said.append(f"  {'devices dial':<24}{self.public_host}   (public.host in portico.toml)")
        if self.ca_file is not None:
            said.append(f"  {'local CA':<24}{self.ca_file}")
        return said

    def _next_steps(self, api: str) -> list[str]:
        device = '{"site": "<site id>", "kind": 0, "model": "R29", "name": "Gate"}'
        return [
            "",
            "Next: make a site, register a device's MAC, add the device. The answer holds the URL to type into the device.",
            f'  T="Authorization: Bearer $(cat {self.token_file})"',
            f'  curl -H "$T" --json \'{{"name": "My house"}}\' {api}/sites',
            f'  curl -H "$T" --json \'{{"mac": "0C:11:05:AA:BB:CC"}}\' {api}/mac-library',
            f"  curl -H \"$T\" -X PUT --json '{device}' {api}/devices/0C1105AABBCC",
            f"All calls: {api}/openapi.json  Stop with Ctrl-C.",
        ]
