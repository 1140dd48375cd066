"""Digest access authentication: RFC 3261 22, RFC 7616, RFC 8760. Server side first, client side at the end.

A nonce is a signed value: issue time, random octets and a MAC over both, in base64url, so no table of issued nonces exists,
nothing an unauthenticated peer sends makes memory grow, and a nonce holds on every node that has the secret. It is short,
because a challenge repeats it for each algorithm and what is sent to strangers is counted (`sip.amplification`). What is
remembered is which nonce counts were used, per nonce, bounded, and only after the digest was right (`sip.nonce_window`).

The answer to a wrong password, an unknown user, a forged nonce and a missing qop is the same challenge; only a right digest over
a nonce that is ours but can no longer be used is told `stale=true`, which lets an honest device go on without asking its user.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import Final

from sip import base64url
from sip.credentials import MD5 as MD5
from sip.credentials import Credentials, parameters
from sip.errors import MalformedMessage
from sip.grammar import LWS
from sip.nonce_window import NonceWindow
from sip.uri import equivalent

SHA_256: Final = b"SHA-256"
SHA_512_256: Final = b"SHA-512-256"

CLOCK_TOLERANCE: Final = 1.0
"""Seconds by which the clock of the node that issued a nonce may be ahead of ours."""

_HASHES: Final[dict[bytes, str]] = {SHA_512_256: "sha512_256", SHA_256: "sha256", MD5: "md5"}
"""Strongest first: the order of preference of a client (RFC 8760 2.4)."""

ALGORITHMS: Final = tuple(_HASHES)
"""What is offered, strongest first."""

_TIME_OCTETS: Final = 6
_RANDOM_OCTETS: Final = 6
_MAC_OCTETS: Final = 12
_SIGNED: Final = _TIME_OCTETS + _RANDOM_OCTETS
NONCE_LENGTH: Final = (_SIGNED + _MAC_OCTETS) * 4 // 3
"""Octets of a nonce on the wire. A multiple of four: no padding, no unused bits, so each nonce has one spelling."""

_LOW_COUNTS: Final = {b"%08x" % number: number for number in range(256)}
_HEX = re.compile(rb"[0-9A-Fa-f]+")


def _hash(algorithm: bytes, text: bytes) -> bytes:
    if algorithm == MD5:
        return hashlib.md5(text, usedforsecurity=False).hexdigest().encode()
    if algorithm == SHA_256:
        return hashlib.sha256(text).hexdigest().encode()
    return hashlib.new(_HASHES[algorithm], text).hexdigest().encode()


def ha1(algorithm: bytes, username: bytes, realm: bytes, password: bytes) -> bytes:
    """H(A1) in hex: as secret as the password. Raises KeyError for an algorithm that is not one of ours."""
    return _hash(algorithm, b"%b:%b:%b" % (username, realm, password))


def response_of(
    algorithm: bytes, ha1_hex: bytes, *, nonce: bytes, nc: bytes, cnonce: bytes, qop: bytes, method: bytes, uri: bytes
) -> bytes:
    """The `response` value (RFC 7616 3.4.1); with qop b"" the form of RFC 2069, which only a client may still need."""
    ha2 = _hash(algorithm, method + b":" + uri)
    if qop == b"":
        return _hash(algorithm, b":".join((ha1_hex, nonce, ha2)))
    return _hash(algorithm, b":".join((ha1_hex, nonce, nc, cnonce, qop, ha2)))


class Verdict(IntEnum):
    """What came of checking credentials."""

    ACCEPTED = 0
    REFUSED = 1
    """Wrong response, unknown user, nonce that is not ours, other uri, no qop, unknown algorithm: challenge again."""
    EXPIRED = 2
    """Right, over a nonce of ours that is too old: challenge again with stale=true."""
    REPLAYED = 3
    """Right, but this nonce count was used before: challenge again with stale=true. A right digest over a used-up count is a
    nonce that can no longer be used, and door stations do reuse counts honestly (sip-core.md section 6): told stale they go on by
    themselves, told otherwise they ask for a password. A replayer learns nothing from it, and it counts as no guess."""
    LIMITED = 4
    """Not looked at: too many wrong passwords from there for this user (guessing.py). The answer is the plain challenge."""

    @property
    def stale(self) -> bool:
        """Whether the new challenge says stale=true: the secret was right, so the device need not ask its user."""
        return self is Verdict.EXPIRED or self is Verdict.REPLAYED


class Verifier:
    """Challenges and checks credentials for one realm.

    `secret` keys the nonces and is the same on every node; `entropy(n)` gives n random octets; `algorithms` are offered in this
    order (RFC 8760: strongest first). `started` is the present `now`: nonces issued before it are stale, because the counts used
    with them are forgotten. All times are seconds of the clock that the caller passes as `now`.
    """

    __slots__ = (
        "_challenges",
        "_dummy",
        "_entropy",
        "_ha1",
        "_ha1_limit",
        "_key",
        "_lifetime",
        "_mac_begun",
        "_random",
        "_random_at",
        "_window",
        "algorithms",
        "realm",
    )

    def __init__(
        self,
        *,
        realm: bytes,
        secret: bytes,
        entropy: Callable[[int], bytes],
        algorithms: Sequence[bytes] = ALGORITHMS,
        lifetime: float = 300.0,
        started: float = 0.0,
        max_nonces: int = 65536,
        max_ha1: int = 65536,
    ) -> None:
        self.realm = realm
        self.algorithms = tuple(algorithms)
        self._key = hmac.digest(secret, b"sip digest nonce\0" + realm, "sha256")
        # Keyed once: to begin from a copy costs half.
        self._mac_begun = blake2b(key=self._key, digest_size=_MAC_OCTETS)
        self._entropy = entropy
        self._random = b""
        self._random_at = 0
        self._lifetime = lifetime
        self._window = NonceWindow(lifetime=lifetime, limit=max_nonces, started=started)
        self._challenges = [
            (b'Digest realm="' + _quote(realm) + b'", nonce="', b'", algorithm=' + name + b', qop="auth"') for name in algorithms
        ]
        self._ha1: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
        self._ha1_limit = max_ha1
        self._dummy = {name: ha1(name, b"", realm, self._key) for name in algorithms}

    def challenge(self, now: float, *, stale: bool = False) -> list[bytes]:
        """The WWW-Authenticate or Proxy-Authenticate values of one 401 or 407, one per algorithm, with one fresh nonce."""
        nonce = self.nonce(now)
        end = b", stale=true" if stale else b""
        return [before + nonce + after + end for before, after in self._challenges]

    def nonce(self, now: float) -> bytes:
        """A fresh nonce: 6 octets of milliseconds, 6 random, 12 of MAC, in base64url."""
        at = self._random_at
        if at + _RANDOM_OCTETS > len(self._random):
            # Drawn in blocks, because each draw is a system call.
            self._random = self._entropy(_RANDOM_OCTETS * 64)
            at = 0
        self._random_at = at + _RANDOM_OCTETS
        signed = int(now * 1000.0).to_bytes(_TIME_OCTETS, "big") + self._random[at : at + _RANDOM_OCTETS]
        return base64url.encode(signed + self._mac(signed))

    def verify(self, credentials: Credentials, *, method: bytes, uri: bytes, password: bytes | None, now: float) -> Verdict:
        """Check credentials against the request they came with.

        `uri` is the Request-URI, `password` the secret of `credentials.username` or None for a user that does not exist, who is
        refused after the same work. Raises nothing.
        """
        algorithm = credentials.algorithm
        count = _nonce_count(credentials.nc)
        well_formed = (
            credentials.realm == self.realm
            and algorithm in self._dummy
            and credentials.qop == b"auth"
            and credentials.cnonce != b""
            and count > 0
        )
        if not well_formed:
            return Verdict.REFUSED
        issued = self._issued(credentials.nonce)
        if issued < 0.0 or not _same_uri(credentials.uri, uri):
            return Verdict.REFUSED
        expected = response_of(
            algorithm,
            self._dummy[algorithm] if password is None else self._ha1_of(credentials.username, algorithm, password),
            nonce=credentials.nonce,
            nc=credentials.nc,
            cnonce=credentials.cnonce,
            qop=b"auth",
            method=method,
            uri=credentials.uri,
        )
        right = hmac.compare_digest(expected, credentials.response.lower())
        if not right or password is None:
            return Verdict.REFUSED
        if issued > now + CLOCK_TOLERANCE or issued + self._lifetime < now:
            return Verdict.EXPIRED
        return Verdict.ACCEPTED if self._window.use(credentials.nonce, issued, count, now) else Verdict.REPLAYED

    def _mac(self, signed: bytes) -> bytes:
        mac = self._mac_begun.copy()
        mac.update(signed)
        return mac.digest()

    def _issued(self, nonce: bytes) -> float:
        """When a nonce of ours was issued, -1.0 for any other."""
        octets = base64url.decode(nonce) if len(nonce) == NONCE_LENGTH else None
        if octets is None:
            return -1.0
        signed = octets[:_SIGNED]
        if not hmac.compare_digest(self._mac(signed), octets[_SIGNED:]):
            return -1.0
        return int.from_bytes(signed[:_TIME_OCTETS], "big") / 1000.0

    def _ha1_of(self, username: bytes, algorithm: bytes, password: bytes) -> bytes:
        """H(A1), remembered for as long as the password is the same."""
        held = self._ha1.get((username, algorithm))
        if held is not None and held[0] == password:
            return held[1]
        if len(self._ha1) >= self._ha1_limit:
            del self._ha1[next(iter(self._ha1))]
        fresh = ha1(algorithm, username, self.realm, password)
        self._ha1[(username, algorithm)] = (password, fresh)
        return fresh


def _nonce_count(text: bytes) -> int:
    """`nc-value = 8LHEX`, or -1."""
    low = _LOW_COUNTS.get(text)
    if low is not None:
        return low
    return int(text, 16) if len(text) == 8 and _HEX.fullmatch(text) else -1


def _same_uri(claimed: bytes, actual: bytes) -> bool:
    """RFC 7616 3.4.6: the uri must be the Request-URI, in any equivalent spelling (RFC 3261 19.1.4)."""
    if claimed == actual:
        return True
    try:
        return equivalent(claimed, actual)
    except MalformedMessage:
        return False


def _quote(text: bytes) -> bytes:
    return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def answer(
    challenges: bytes | Sequence[bytes],
    *,
    username: bytes,
    password: bytes,
    method: bytes,
    uri: bytes,
    entropy: Callable[[int], bytes],
    nc: int = 1,
) -> bytes:
    """The Authorization value that answers the strongest challenge we know (RFC 8760 2.4). Client side: simulators, trunks.

    `challenges` are the values of WWW-Authenticate or Proxy-Authenticate. Raises `MalformedMessage` (status 0) when none is
    usable.
    """
    best: dict[bytes, bytes] = {}
    algorithm = b""
    for value in [challenges] if isinstance(challenges, bytes) else challenges:
        params = parameters(value, b"Malformed Challenge")
        offered = params.get(b"algorithm", MD5).upper()
        if b"nonce" in params and _strength(offered) > _strength(algorithm):
            best, algorithm = params, offered
    if not best:
        raise MalformedMessage(0, b"No Usable Challenge")
    offers = [offer.strip(LWS).lower() for offer in best.get(b"qop", b"").split(b",")]
    qop = b"auth" if b"auth" in offers else b""
    realm, nonce, count, cnonce = best.get(b"realm", b""), best[b"nonce"], b"%08x" % nc, entropy(8).hex().encode()
    response = response_of(
        algorithm,
        ha1(algorithm, username, realm, password),
        nonce=nonce,
        nc=count,
        cnonce=cnonce,
        qop=qop,
        method=method,
        uri=uri,
    )
    text = b'Digest username="%b", realm="%b", nonce="%b", uri="%b", response="%b", algorithm=%b' % (
        _quote(username),
        _quote(realm),
        _quote(nonce),
        uri,
        response,
        algorithm,
    )
    if qop:
        text += b', qop=auth, nc=%b, cnonce="%b"' % (count, cnonce)
    if b"opaque" in best:
        text += b', opaque="' + _quote(best[b"opaque"]) + b'"'
    return text


def _strength(algorithm: bytes) -> int:
    """Larger is stronger; 0 for what we do not know."""
    return len(_HASHES) - list(_HASHES).index(algorithm) if algorithm in _HASHES else 0
