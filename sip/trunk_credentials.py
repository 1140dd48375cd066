"""What we prove to a trunk, and to nobody else (RFC 3261 22.2, RFC 7616).

An answer is made only for a response that came over a flow to a gateway of the very trunk whose password it is: a callee that
answers 401 or 407 to harvest digests (CVE-2021-41158) gets nothing, for no account has credentials here, and a gateway gets
those of its own trunk only. Where the operator named the realm, other realms get nothing either.
"""

from collections.abc import Callable
from typing import Final

from sip import credentials, digest
from sip.errors import MalformedMessage
from sip.message import Response

MAX_PROOFS: Final = 3
"""Proofs tried for one request; a server that still says `stale` after them is not going to be content."""
_HEADERS: Final = {401: (b"www-authenticate", b"authorization"), 407: (b"proxy-authenticate", b"proxy-authorization")}


class TrunkCredentials:
    """The user name and password of one trunk. Its representation shows neither."""

    __slots__ = ("_entropy", "_password", "_realm", "_username")

    def __init__(self, username: bytes, password: bytes, realm: bytes, entropy: Callable[[int], bytes]) -> None:
        self._username = username
        self._password = password
        self._realm = realm
        self._entropy = entropy

    def __repr__(self) -> str:
        return "<TrunkCredentials>"

    def answer(self, response: Response, method: bytes, uri: bytes, proofs: int) -> tuple[bytes, bytes] | None:
        """(canonical header name, value) for the request's next try, or None: it is refused for good.

        `proofs` counts the challenges answered for this request before. A proof refused again means a wrong password,
        unless the server says that only the nonce was stale.
        """
        names = _HEADERS.get(response.status)
        if names is None or not self._username or proofs >= MAX_PROOFS:
            return None
        challenges = [value for value in response.all(names[0]) if self._is_ours(value)]
        if not challenges or (proofs and not any(map(_is_stale, challenges))):
            return None
        try:
            value = digest.answer(
                challenges, username=self._username, password=self._password, method=method, uri=uri, entropy=self._entropy
            )
        except MalformedMessage:
            return None
        return names[1], value

    def _is_ours(self, challenge: bytes) -> bool:
        try:
            found = credentials.parse_credentials(challenge)
        except MalformedMessage:
            return False
        return found is not None and (not self._realm or found.realm == self._realm)


def _is_stale(challenge: bytes) -> bool:
    return b"stale=true" in challenge.replace(b" ", b"").replace(b'"', b"").lower()
