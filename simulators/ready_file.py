"""The gateway's ready file: where a running gateway listens, and where its admin token and CA are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = tuple[str, int]


class NotReady(Exception):
    """The ready file cannot be used. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the simulators need of it. `folder` is where it lies: device secrets are kept beside it."""

    folder: Path
    sip_udp: Address
    autop_https: Address
    admin: Address
    admin_token_file: Path
    ca_file: Path | None

    @property
    def ca_file_text(self) -> str | None:
        """The CA's file name for TLS contexts; None where the gateway's certificate is not of its own CA."""
        return None if self.ca_file is None else str(self.ca_file)

    def autop_url(self, path: str) -> str:
        """The directory URL of a device whose autop path is known. The port may be another one after a restart."""
        host, port = self.autop_https
        return f"https://{f'[{host}]' if ':' in host else host}:{port}{path}"


def read_ready(file: Path) -> Ready:
    """Read a ready file. Raises NotReady."""
    try:
        facts = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise NotReady(f"{file} is not there: start a gateway first (portico run --ready-file {file})") from None
    except (OSError, ValueError) as broken:
        raise NotReady(f"{file} cannot be read: {broken}") from None
    try:
        return Ready(
            folder=file.resolve().parent,
            sip_udp=_address(facts["sip_udp"]),
            autop_https=_address(facts["autop_https"]),
            admin=_address(facts["admin"]),
            admin_token_file=Path(facts["admin_token_file"]),
            ca_file=Path(facts["ca_file"]) if facts.get("ca_file") else None,
        )
    except (KeyError, TypeError, ValueError) as missing:
        raise NotReady(f"{file} lacks {missing}: the devices need SIP over UDP, autop over HTTPS and the admin API") from None


def _address(value: Any) -> Address:
    host, port = value
    return str(host), int(port)
