"""Secrets and names that the API makes up. Every one is drawn from the entropy source given, without bias."""

import base64
from collections.abc import Callable

Entropy = Callable[[int], bytes]
"""n -> n unpredictable bytes (os.urandom)."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FAIR = 256 - 256 % len(_BASE62)
_FAIR_DIGITS = 250


def base62(entropy: Entropy, length: int) -> str:
    """`length` random letters and digits: 5.95 bits each, nothing that a device's label or password rules reject."""
    found: list[str] = []
    while len(found) < length:
        found += [_BASE62[byte % 62] for byte in entropy(length) if byte < _FAIR]
    return "".join(found[:length])


def sip_password(entropy: Entropy) -> str:
    """A SIP password: 24 letters and digits, 142 bits. Devices reject & % ' = and more than 63 characters."""
    return base62(entropy, 24)


def web_password(entropy: Entropy) -> str:
    """The password of a device's own web page: 16 letters and digits, 95 bits."""
    return base62(entropy, 16)


def account_name(entropy: Entropy) -> str:
    """A SIP account's user name: nine digits that do not begin with 0. Unique only once the store took it."""
    digits: list[int] = []
    while len(digits) < 9:
        for byte in entropy(16):
            if byte < _FAIR_DIGITS and len(digits) < 9 and (digits or byte % 10):
                digits.append(byte % 10)
    return "".join(map(str, digits))


def api_secret(entropy: Entropy) -> str:
    """A bearer token: a prefix that secret scanners find, then 40 letters and digits, 238 bits."""
    return "portico_" + base62(entropy, 40)


def new_id(entropy: Entropy) -> str:
    """The id of a site, user or other thing: 80 bits, 16 characters of lower-case base32."""
    return base64.b32encode(entropy(10)).decode("ascii").lower()


def serial(entropy: Entropy) -> int:
    """The random part of a `time_key`."""
    return int.from_bytes(entropy(4), "big")
