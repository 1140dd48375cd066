"""The client side of digest at one device (RFC 3261 22.2, RFC 7616): proves requests, and knows when to give up."""

from collections.abc import Callable

from sip import digest
from sip.errors import MalformedMessage
from sip.message import Request, Response

MAX_PROOFS = 3
"""Proofs tried for one request; a server that still says `stale` after them is not going to be content."""

_KINDS = ((b"www-authenticate", b"authorization"), (b"proxy-authenticate", b"proxy-authorization"))
_CHALLENGE_OF = {401: b"www-authenticate", 407: b"proxy-authenticate"}


class Authentication:
    """The credentials of one account. After the first challenge later requests are proven at once, with a growing nonce count."""

    def __init__(self, username: str, password: str, entropy: Callable[[int], bytes]) -> None:
        self._username = username.encode("utf-8")
        self._password = password.encode("utf-8")
        self._entropy = entropy
        self._challenges: dict[bytes, list[bytes]] = {}
        self._counts: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"<Authentication of {self._username!r}>"

    def prove(self, request: Request) -> None:
        """Add credentials for every kind of challenge seen so far. An ACK or CANCEL must not come here (22.1)."""
        for kind, credentials in _KINDS:
            challenges = self._challenges.get(kind)
            if not challenges:
                continue
            self._counts[kind] += 1
            value = digest.answer(
                challenges,
                username=self._username,
                password=self._password,
                method=request.method,
                uri=request.uri,
                entropy=self._entropy,
                nc=self._counts[kind],
            )
            request.append(credentials, value)

    def learn(self, response: Response, proofs: int) -> bool:
        """Take the challenge of a 401 or 407 over. Returns whether another try makes sense after `proofs` answered challenges.

        A proof made from the very challenge it answers and refused again means a wrong password, unless the nonce was stale.
        """
        kind = _CHALLENGE_OF.get(response.status)
        challenges = response.all(kind) if kind else []
        if kind is None or not challenges:
            return False
        try:
            digest.answer(challenges, username=b"", password=b"", method=b"", uri=b"", entropy=self._entropy)
        except MalformedMessage:
            return False
        self._challenges[kind] = challenges
        self._counts[kind] = 0
        stale = any(b"stale=true" in challenge.replace(b" ", b"").replace(b'"', b"").lower() for challenge in challenges)
        return proofs == 0 or (stale and proofs < MAX_PROOFS)
