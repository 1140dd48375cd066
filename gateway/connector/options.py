"""What `portico connector` is told: flags, or the same words in a small TOML file. Flags win."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import ConfigError
from registry.connector import ConnectorName, private_address
from tunnel.site_token import SiteToken, read_site_token

KEYS = ("gateway", "token_file", "ca", "ca_sha256", "pnp", "tftp")
TFTP_PORT = 69
DEFAULT_PORT = 7443
MAX_FILE = 65_536
_GATEWAY = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::([0-9]{1,5}))?", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9._@-]{1,15}", re.ASCII)
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """Where the gateway is, how it is known, and who this connector is; on which network interfaces PnP is answered, and at which
    address and port TFTP is served."""

    host: str
    port: int
    token: SiteToken = field(repr=False)
    ca: Path | None = None
    ca_sha256: str = ""
    pnp: tuple[str, ...] = ()
    tftp: tuple[str, int] | None = None

    @property
    def name(self) -> ConnectorName:
        return self.token.name


def options(flags: Mapping[str, str | None], file: Path | None) -> Options:
    """Put flags and file together. Raises ConfigError that says what is wrong and what to do."""
    said = {**(_from_file(file) if file is not None else {}), **{key: value for key, value in flags.items() if value is not None}}
    gateway, token_file = said.get("gateway", ""), said.get("token_file", "")
    if not gateway or not token_file:
        raise ConfigError("say where the gateway is (--gateway HOST:PORT) and which file holds the site token (--token-file F)")
    found = _GATEWAY.fullmatch(gateway)
    port = int(found[3] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65_536:
        raise ConfigError("--gateway: a host name or address, and the port of its channel, for example gate.example:7443")
    ca, ca_sha256 = said.get("ca", ""), said.get("ca_sha256", "").replace(":", "")
    if ca and ca_sha256:
        raise ConfigError("--ca and --ca-sha256: one of them")
    if ca_sha256 and not _SHA256.fullmatch(ca_sha256):
        raise ConfigError("--ca-sha256: the SHA-256 of the CA's certificate, 64 hexadecimal digits")
    known = Path(ca) if ca else None
    token = _token(Path(token_file))
    return Options(found[1] or found[2], port, token, known, ca_sha256.lower(), _interfaces(said), _tftp(said.get("tftp", "")))


def _interfaces(said: Mapping[str, str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in said.get("pnp", "").split(",") if name.strip())
    if not all(_INTERFACE.fullmatch(name) for name in names):
        raise ConfigError("--pnp: network interfaces with commas between, for example eth0")
    return names


def _tftp(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.partition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not private_address(address) or (port and not 0 < number < 65_536):
        raise ConfigError("--tftp: this machine's address on the devices' LAN, for example 192.168.1.2")
    return address, number or TFTP_PORT


def _from_file(file: Path) -> dict[str, str]:
    try:
        with file.open("rb") as opened:
            said = tomllib.loads(opened.read(MAX_FILE).decode())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    unknown = [key for key in said if key not in KEYS]
    if unknown or not all(isinstance(value, str) for value in said.values()):
        raise ConfigError(f"{file}: it may hold {', '.join(KEYS)}, each a text")
    return said


def _token(file: Path) -> SiteToken:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE)
    except OSError as error:
        raise ConfigError(f"site token {file}: {error.strerror}") from None
    token = read_site_token(text.strip().decode("ascii", "replace"))
    if token is None:
        raise ConfigError(
            f"site token {file}: it holds no site token (portico_site_...). Make one: POST /api/v1/sites/<site>/connectors"
        )
    return token
