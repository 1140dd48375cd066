"""`Digest`: HTTP Digest (RFC 7616) for devices, where the password is the device's token. The server's side, for one realm.

A nonce is a signed value, so nothing a stranger sends makes memory grow: 6 octets of milliseconds, 6 random ones, 12 of a MAC
over both, in base64url. What is remembered is the highest nonce count used with a nonce, and only after the response was right.
Counts must rise: one that was used already, or came late, is answered with `stale=true`, upon which a client goes on by itself
with a fresh nonce.

The answer to everything else that is wrong is the plain challenge.
"""

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import Enum, auto

from autop.authorization import DigestLogin

MD5 = b"MD5"
SHA_256 = b"SHA-256"
ALGORITHMS = (MD5, SHA_256)
"""In the order they are offered. libcurl reads only the first challenge of the scheme, and before 7.57 (2017) knew MD5 only; what
devices have is not known. Against a password of 128 random bits MD5 has no weakness that matters here."""
REALM = b"portico"
LIFETIME = 60.0
"""Seconds a nonce may be used."""
CLOCK_TOLERANCE = 1.0
"""Seconds by which a nonce may seem to be ahead of our clock."""

_TIME_OCTETS = 6
_SIGNED = 12
_MAC_OCTETS = 12
_NONCE_LENGTH = 32


class Verdict(Enum):
    """What came of a login."""

    RIGHT = auto()
    WRONG = auto()
    STALE = auto()
    """Right, but over a nonce that is too old or a count that was used."""


class Digest:
    """Challenges and verdicts. Times are seconds of a clock that never goes back (a wall clock that is set back would make every
    fresh nonce older than `started`); a nonce of another machine is stale, and one more round gets a good one."""

    def __init__(
        self,
        *,
        secret: bytes,
        entropy: Callable[[int], bytes],
        started: float,
        algorithms: Sequence[bytes] = ALGORITHMS,
        limit: int = 16_384,
    ) -> None:
        """`secret` keys the nonces. Nonces issued before `started` are stale, because the counts used with them are not known. At
        most `limit` nonces are remembered; past that the oldest are void."""
        self._key = hashlib.blake2b(b"autop digest nonce", key=secret[:64], digest_size=32).digest()
        self._entropy = entropy
        self._algorithms = tuple(algorithms)
        self._floor = started - 0.002  # a nonce tells its time in whole milliseconds, rounded down
        self._limit = limit
        self._used: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """Nonces remembered."""
        return len(self._used)

    def challenges(self, now: float, *, stale: bool) -> tuple[bytes, ...]:
        """The WWW-Authenticate values of one 401, one for each algorithm, over one fresh nonce."""
        signed = int(now * 1000).to_bytes(_TIME_OCTETS) + self._entropy(_SIGNED - _TIME_OCTETS)
        nonce = base64.urlsafe_b64encode(signed + self._mac(signed))
        end = b", stale=true" if stale else b""
        return tuple(
            b'Digest realm="%b", nonce="%b", algorithm=%b, qop="auth"%b' % (REALM, nonce, name, end) for name in self._algorithms
        )

    def verdict(self, login: DigestLogin, *, method: bytes, target: bytes, passwords: Sequence[bytes], now: float) -> Verdict:
        """Whether the login was made for this request, with one of the passwords."""
        issued = self._issued(login.nonce)
        if (
            login.algorithm not in self._algorithms
            or login.realm != REALM
            or login.qop != b"auth"
            or not login.cnonce
            or not login.count
            or issued is None
            or login.uri not in (target, _without_host(target))
        ):
            return Verdict.WRONG
        right = False
        for password in passwords:  # all of them, so that the time does not tell which
            right |= hmac.compare_digest(response(login, method, password), login.response)
        if not right:
            return Verdict.WRONG
        if not now - LIFETIME <= issued <= now + CLOCK_TOLERANCE:
            return Verdict.STALE
        return Verdict.RIGHT if self._use(login.nonce, issued, login.count, now) else Verdict.STALE

    def _use(self, nonce: bytes, issued: float, count: int, now: float) -> bool:
        """Note that a count was used. False: it, or a later one, had been, or may have been."""
        held = self._used.get(nonce)
        if held is not None:
            if count <= held[1]:
                return False
            self._used[nonce] = issued, count
            return True
        if issued <= self._floor:
            return False
        while self._used:
            oldest, (since, _) = next(iter(self._used.items()))
            if since >= now - LIFETIME:
                if len(self._used) < self._limit:
                    break
                self._floor = max(self._floor, since)
            del self._used[oldest]
        self._used[nonce] = issued, count
        return True

    def _mac(self, signed: bytes) -> bytes:
        return hashlib.blake2b(signed, key=self._key, digest_size=_MAC_OCTETS).digest()

    def _issued(self, nonce: bytes) -> float | None:
        """When a nonce of ours was issued; None for any other."""
        try:
            octets = base64.b64decode(nonce, b"-_", validate=True) if len(nonce) == _NONCE_LENGTH else b""
        except binascii.Error:
            return None
        if len(octets) != _SIGNED + _MAC_OCTETS or not hmac.compare_digest(self._mac(octets[:_SIGNED]), octets[_SIGNED:]):
            return None
        return int.from_bytes(octets[:_TIME_OCTETS]) / 1000


def response(login: DigestLogin, method: bytes, password: bytes) -> bytes:
    """What `response` must be (RFC 7616 section 3.4.1, qop=auth), in hexadecimal. Raises KeyError for an unknown algorithm."""
    ha1 = _hash(login.algorithm, login.username, login.realm, password)
    ha2 = _hash(login.algorithm, method, login.uri)
    return _hash(login.algorithm, ha1, login.nonce, login.nc, login.cnonce, login.qop, ha2)


def _hash(algorithm: bytes, *parts: bytes) -> bytes:
    text = b":".join(parts)
    made = {MD5: hashlib.md5, SHA_256: hashlib.sha256}[algorithm](text, usedforsecurity=False)
    return made.hexdigest().encode()


def _without_host(target: bytes) -> bytes:
    """The path of a target in absolute form, which a client may name as either."""
    scheme, marked, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if marked and b"/" not in scheme else target
