"""The site token: what a connector proves itself with (protocol section 11). `portico_site_<connector>_<secret>`."""

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256

from registry.connector import ConnectorName

SECRET_LENGTH = 40
"""Letters and digits: 238 bits."""
_TOKEN = re.compile(r"portico_site_([a-z2-7]{16}[0-9]{4})_([0-9A-Za-z]{40})", re.ASCII)
_LABEL = b"portico-connector-key-1"


@dataclass(frozen=True, slots=True)
class SiteToken:
    """Whose token it is, and the key that the proofs of the handshake are made with."""

    name: ConnectorName
    key: bytes = field(repr=False)


def read_site_token(text: str) -> SiteToken | None:
    """The token, None if the text is none."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else SiteToken(ConnectorName(found[1]), channel_key(found[2]))


def write_site_token(name: ConnectorName, secret: str) -> str:
    """The text of a token. Raises ValueError for a secret that is none."""
    text = f"portico_site_{name.text}_{secret}"
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"a site token's secret is {SECRET_LENGTH} letters and digits")
    return text


def channel_key(secret: str) -> bytes:
    """The key of a token's secret. The gateway keeps this, never the secret."""
    return hmac.digest(secret.encode("ascii"), _LABEL, sha256)
