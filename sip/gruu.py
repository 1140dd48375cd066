"""GRUUs (RFC 5627): URIs of our domain that reach exactly one device of a user.

    pub-gruu  = the AOR with the URI parameter gr=<the instance-id without its angle brackets>
    temp-gruu = sip:<token>@<the AOR's host>;gr

The public one follows from the AOR and the instance-id alone, so none is remembered. A temporary one shows neither, each REGISTER
gives another, and nobody but us can tell that two are of one device. It is valid as long as the registration that gave it lives:
until the binding ends, or the device registers with another Call-ID (3.2, 5.4). No table of them exists either. The token says
which account, instance, Call-ID and CSeq it was given for, and the binding remembers with which CSeq its series began
(`LiveBinding.gruu_since`), so what was given before the binding ended and came back stays void.

The token is a deterministic authenticated encryption (the shape of RFC 5297, SIV) made of keyed BLAKE2b, for the standard library
has no cipher:

    facts = instance[8] | Call-ID[8] | CSeq[4] | account, a zero, and zeros up to a multiple of 16 octets
    tag   = BLAKE2b(facts, key K1, 12 octets)
    token = base64url(tag | facts XOR (BLAKE2b(tag | 0, key K2) | BLAKE2b(tag | 1, key K2) | ...))

instance and Call-ID stand there as keyed hashes of 8 octets. K1, K2 and the hashes' key come from the node's secret, which is the
same on every node. No chance is needed: two registrations differ in their facts, so their tags and keystreams do, and the same
facts give the same token, which is what asking for one's bindings again is to show. A tag of 96 bits is not guessed by asking us.
"""

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, NamedTuple

from sip import base64url
from sip.binding import LiveBinding
from sip.errors import MalformedMessage
from sip.own_address import MAX_USER
from sip.uri import SipUri, escape, parse_uri

_PARAM_CHARACTERS: Final = b"[]/:&+$"
_TAG: Final = 12
_HASH: Final = 8
_FIXED: Final = 2 * _HASH + 4
_BLOCK: Final = 16


def pub_gruu(aor: bytes, instance: bytes) -> bytes:
    """The public GRUU of the device `instance` (`<urn:uuid:...>`) of the user that the sip URI `aor` names.

    Raises `MalformedMessage` when `aor` is none.
    """
    uri = parse_uri(aor, b"Malformed To")
    name = instance.removeprefix(b"<").removesuffix(b">").decode("utf-8", "surrogateescape")
    return _at_home(uri, escape(uri.user, b"&=+$,;?/")) + b";gr=" + escape(name, _PARAM_CHARACTERS)


def instance_of(uri: bytes) -> bytes:
    """The instance-id (`<...>`) that a public GRUU asks for by its gr parameter; b"" where the URI is none."""
    name = _gr(uri)
    return b"<" + name.encode("utf-8", "surrogateescape") + b">" if name else b""


def is_temporary(uri: bytes) -> bool:
    """Whether the URI claims to be a temporary GRUU: a gr parameter without a value."""
    return _gr(uri) == ""


class TempGruu(NamedTuple):
    """What a token was given for; `instance` and `call_id` are hashes."""

    account: str
    instance: bytes
    call_id: bytes
    cseq: int


class TempGruus:
    """Makes and reads temporary GRUUs. `secret` is the same on every node."""

    __slots__ = ("_cipher_key", "_hash_key", "_tag_key")

    def __init__(self, secret: bytes) -> None:
        self._tag_key = _derived(secret, b"portico temp-gruu tag")
        self._cipher_key = _derived(secret, b"portico temp-gruu cipher")
        self._hash_key = _derived(secret, b"portico temp-gruu hash")

    def given(self, aor: bytes, account: str, binding: LiveBinding) -> bytes:
        """The temporary GRUU for the last REGISTER of this binding of the account; b"" where it has no series of them, or the
        account's name is too long for one. Raises `MalformedMessage` when `aor`, the account's AOR, is no sip URI."""
        if binding.gruu_since < 0 or not binding.instance_id:
            return b""
        token = self.mint(account, binding.instance_id, binding.call_id, binding.cseq)
        return _at_home(parse_uri(aor, b"Malformed To"), token) + b";gr" if len(token) <= MAX_USER else b""

    def mint(self, account: str, instance: bytes, call_id: bytes, cseq: int) -> bytes:
        """The token for these facts. The account's name has no zero in it."""
        name = account.encode("utf-8", "surrogateescape") + b"\0"
        name += bytes(-len(name) % _BLOCK)
        facts = self._hashed(b"i", instance) + self._hashed(b"c", call_id) + cseq.to_bytes(4, "big") + name
        tag = self._tag(facts)
        return base64url.encode(tag + self._masked(facts, tag))

    def read(self, token: bytes) -> TempGruu | None:
        """What a token was given for, None if it is not ours."""
        if len(token) > MAX_USER:
            return None
        octets = base64url.decode(token)
        if octets is None or len(octets) < _TAG + _FIXED + _BLOCK or base64url.encode(octets) != token:
            return None
        tag = octets[:_TAG]
        facts = self._masked(octets[_TAG:], tag)
        if not compare_digest(tag, self._tag(facts)):
            return None
        account = facts[_FIXED:].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        return TempGruu(account, facts[:_HASH], facts[_HASH : 2 * _HASH], int.from_bytes(facts[2 * _HASH : _FIXED], "big"))

    def instance(self, temporary: TempGruu, bindings: Sequence[LiveBinding]) -> bytes:
        """The instance-id of the device among the live bindings of its account, b"" where the GRUU is valid no more."""
        for one in bindings:
            if (
                0 <= one.gruu_since <= temporary.cseq
                and self._hashed(b"c", one.call_id) == temporary.call_id
                and self._hashed(b"i", one.instance_id) == temporary.instance
            ):
                return one.instance_id
        return b""

    def _tag(self, facts: bytes) -> bytes:
        return blake2b(facts, key=self._tag_key, digest_size=_TAG).digest()

    def _hashed(self, what: bytes, value: bytes) -> bytes:
        return blake2b(what + value, key=self._hash_key, digest_size=_HASH).digest()

    def _masked(self, text: bytes, tag: bytes) -> bytes:
        """Encrypts, and decrypts."""
        stream = b""
        while len(stream) < len(text):
            stream += blake2b(tag + bytes((len(stream) // 64,)), key=self._cipher_key).digest()
        mask = int.from_bytes(stream[: len(text)], "big")
        return (int.from_bytes(text, "big") ^ mask).to_bytes(len(text), "big")


def _derived(secret: bytes, use: bytes) -> bytes:
    return blake2b(use, key=secret[:64], digest_size=32).digest()


def _at_home(aor: SipUri, user: bytes) -> bytes:
    """A URI of this user (escaped) at the AOR's host, without parameters."""
    bare = aor.scheme.encode() + b":" + user + b"@" + aor.host.encode("ascii")
    return bare if aor.port is None else bare + b":%d" % aor.port


def has_gr(uri: bytes) -> bool:
    """Whether the URI may have a gr parameter: at once, for nearly none has."""
    return b";gr" in uri.lower()


def _gr(uri: bytes) -> str | None:
    """The value of the gr parameter, None where there is none."""
    if not has_gr(uri):
        return None
    try:
        return parse_uri(uri).params.get("gr")
    except MalformedMessage:
        return None
