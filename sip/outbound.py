"""The dialog token: proof that this gateway let a dialog begin, and where its two ends are (in the spirit of RFC 5626 5.2).

A request inside a dialog is not challenged, so "inside a dialog" must be proven, not claimed by a To tag. Our Record-Route URI
has the token as its user part. The signature covers the Call-ID and the caller's tag, which are not in the token: a token
copied into another call, or sent with other tags, is void. Which of the two tags verifies tells the direction. No memory is
needed, so calls outlive a restart of the node, and any node with the same secret can route them.
"""

from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

from sip import base64url

_MAC_BYTES = 12
_LONGEST = 600
SHORTEST_TOKEN = 40
"""Octets that no token is shorter than: two flow names in base64 alone are longer."""


class Hop(NamedTuple):
    """Where a request inside a dialog goes: to the user's flow. `sender` is the user at the other end, last on `sender_flow`.

    `trunk` is the id of the trunk that the callee was reached over, "" for an account; `cseq_offset` see `cseq_offset.py`.
    `relayed`: the dialog's media goes through the media engine.
    """

    sender: str
    user: str
    flow: str
    to_callee: bool
    sender_flow: str
    trunk: str = ""
    cseq_offset: int = 0
    relayed: bool = False


class DialogTokens:
    """Signs and checks the tokens. `secret` is the same on every node; keys for other uses are derived elsewhere."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(b"portico dialog token", key=secret[:64], digest_size=32).digest()

    def mint(
        self,
        call_id: bytes,
        caller_tag: bytes,
        caller: str,
        callee: str,
        caller_flow: str,
        callee_flow: str,
        trunk: str = "",
        cseq_offset: int = 0,
        relayed: bool = False,
    ) -> bytes:
        """The token for a dialog from `caller` to `callee` over these flows (`Flow.name`). Fit for the user part of a URI.

        A dialog over a trunk names it, and the offset of the leg to it.
        """
        parts = [caller, callee, caller_flow, callee_flow]
        if trunk or relayed:
            parts += [trunk, str(cseq_offset)]
        if relayed:
            parts.append("r")
        facts = "\0".join(parts).encode("utf-8", "surrogateescape")
        return b"%b.%b" % (base64url.encode(facts), base64url.encode(self._sign(facts, call_id, caller_tag)))

    def read(self, token: bytes, call_id: bytes, from_tag: bytes, to_tag: bytes) -> Hop | None:
        """Where a request with these tags goes, or None if the token is not ours, not of this call, or there is no To tag."""
        if len(token) > _LONGEST or not to_tag or not from_tag:
            return None
        encoded, _, mac_text = token.partition(b".")
        facts = base64url.decode(encoded)
        mac = base64url.decode(mac_text)
        if facts is None or mac is None:
            return None
        if compare_digest(mac, self._sign(facts, call_id, from_tag)):
            to_callee = True
        elif compare_digest(mac, self._sign(facts, call_id, to_tag)):
            to_callee = False
        else:
            return None
        parts = facts.decode("utf-8", "surrogateescape").split("\0")
        caller, callee, caller_flow, callee_flow = parts[:4]
        trunk, offset = (parts[4], int(parts[5])) if len(parts) > 4 else ("", 0)
        relayed = len(parts) > 6
        if to_callee:
            return Hop(caller, callee, callee_flow, True, caller_flow, trunk, offset, relayed)
        return Hop(callee, caller, caller_flow, False, callee_flow, trunk, offset, relayed)

    def _sign(self, facts: bytes, call_id: bytes, caller_tag: bytes) -> bytes:
        # Each part is preceded by its length, so that no two different triples sign alike.
        signed = b"%d:%b%d:%b%b" % (len(call_id), call_id, len(caller_tag), caller_tag, facts)
        return blake2b(signed, key=self._key, digest_size=_MAC_BYTES).digest()
