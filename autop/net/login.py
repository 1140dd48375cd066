"""`Logins`: how devices log in whose URL holds no token. The user name is the MAC, the password the token.

HTTP Digest always; HTTP Basic over TLS only, for devices that know nothing else: there it gives away no more than the token in a
path does. Without TLS a password is never asked for in the clear.
"""

import hmac
from collections.abc import Callable, Sequence

from autop.authorization import BasicLogin, DigestLogin, read_login
from autop.digest import REALM, Digest, Verdict
from registry.mac import MacAddress

_BASIC = b'Basic realm="%b", charset="UTF-8"' % REALM


class Logins:
    """Challenges and verdicts of one node."""

    def __init__(self, digest: Digest, clock: Callable[[], float]) -> None:
        """`clock` is the one that `digest` was made with."""
        self._digest = digest
        self._clock = clock

    def challenges(self, *, is_tls: bool, stale: bool) -> tuple[bytes, ...]:
        """The WWW-Authenticate values of a 401."""
        digest = self._digest.challenges(self._clock(), stale=stale)
        return (*digest, _BASIC) if is_tls else digest

    def verdict(
        self,
        authorizations: Sequence[bytes],
        *,
        is_tls: bool,
        mac: MacAddress,
        method: bytes,
        target: bytes,
        passwords: Sequence[bytes],
    ) -> Verdict:
        """Whether the one Authorization value of a request proves `mac`, with one of these passwords."""
        login = read_login(authorizations[0]) if len(authorizations) == 1 else None
        if login is None or login.mac != mac:
            return Verdict.WRONG
        if isinstance(login, DigestLogin):
            return self._digest.verdict(login, method=method, target=target, passwords=passwords, now=self._clock())
        return Verdict.RIGHT if is_tls and _is_one_of(login, passwords) else Verdict.WRONG


def _is_one_of(login: BasicLogin, passwords: Sequence[bytes]) -> bool:
    right = False
    for password in passwords:
        right |= hmac.compare_digest(password, login.password)
    return right
