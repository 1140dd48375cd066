"""Who a request is from (RFC 3261 22): credentials checked against the directory, challenges made, and credentials kept from
others."""

from collections.abc import Callable, Sequence

from sip.credentials import Credentials, find_credentials, parse_credentials
from sip.digest import Verdict, Verifier
from sip.directory import UNKNOWN, AccountFacts, AccountQuestion, Directory
from sip.errors import MalformedMessage
from sip.flow import Flow
from sip.guessing import Guessing
from sip.location import Location
from sip.message import Request
from sip.own_address import MAX_USER, OwnAddress
from sip.quirks import is_sipp, knows_only_md5
from sip.source_limits import SourceLimits

_CREDENTIALS = {401: b"authorization", 407: b"proxy-authorization"}
_CHALLENGES = {401: b"www-authenticate", 407: b"proxy-authenticate"}


class Authentication:
    """Checks and challenges for one realm. Statuses are 401 (as the registrar) and 407 (as a proxy).

    `sources` is told whose passwords are right; `guesses` bounds the memory of wrong ones.
    """

    def __init__(
        self,
        directory: Directory,
        own: OwnAddress,
        location: Location,
        sources: SourceLimits,
        *,
        realm: bytes,
        secret: bytes,
        entropy: Callable[[int], bytes],
        algorithms: Sequence[bytes],
        started: float,
        guesses: int,
    ) -> None:
        self._directory = directory
        self._own = own
        self._location = location
        self._sources = sources
        self._guessing = Guessing(guesses)
        self._realm = realm
        self._verifier = Verifier(realm=realm, secret=secret, entropy=entropy, algorithms=algorithms, started=started)

    def check(self, request: Request, flow: Flow, status: int, now: float) -> AccountFacts | AccountQuestion | Verdict | None:
        """The account that the request proves to be from; a question that must be answered first; a Verdict why its
        credentials are no good; None if it has none.

        A wrong password, an unknown user and a disabled one come out alike, after the same work. Raises MalformedMessage.
        """
        credentials = find_credentials(request, _CREDENTIALS[status], self._realm)
        if credentials is None:
            return None
        username = credentials.username.decode("utf-8", "surrogateescape")
        source = flow.source
        pair = source if not self._guessing else self._counted_as(source, username, flow, now)
        if self._guessing.is_limited(pair, credentials.username, now):
            return Verdict.LIMITED
        found = self._directory.account(username) if 0 < len(username) <= MAX_USER else None
        if found is UNKNOWN:
            return AccountQuestion(username)
        account = found if isinstance(found, AccountFacts) and found.enabled else None
        verdict = self._verifier.verify(
            credentials,
            method=request.method,
            uri=self._signed_uri(request, credentials),
            password=account.password if account is not None else None,
            now=now,
        )
        if account is not None and verdict is Verdict.ACCEPTED:
            self._guessing.right(pair, credentials.username)
            self._sources.authenticated(source, now)
            return account
        if verdict is Verdict.REFUSED:
            self._guessing.wrong(self._counted_as(source, username, flow, now), credentials.username, now)
        return verdict

    def _counted_as(self, source: bytes, username: str, flow: Flow, now: float) -> bytes:
        """What wrong passwords for this user count under: the source, or the flow where the user is bound over that very flow,
        so that no guesser behind the same NAT can shut the real device out."""
        if any(one.flow.name == flow.name for one in self._location.bindings(username, now)):
            return flow.name.encode()
        return source

    def challenge(self, request: Request, status: int, now: float, *, stale: bool) -> list[tuple[bytes, bytes]]:
        """The challenge headers of a 401 or 407, strongest algorithm first (RFC 8760), but for peers' faults (quirks.py)."""
        values = self._verifier.challenge(now, stale=stale)
        if is_sipp(request):
            values.reverse()
        elif knows_only_md5(request):
            values = [value for value in values if b"algorithm=MD5" in value]
        name = _CHALLENGES[status]
        return [(name, value) for value in values]

    def strip(self, request: Request) -> None:
        """Take out the credentials that were for us: the next hop could use or attack them (S08). Other realms' pass (22.3)."""
        for name in _CREDENTIALS.values():
            if not request.has(name):
                continue
            kept = [value for value in request.all(name) if not self._is_ours(value)]
            request.remove(name)
            for value in kept:
                request.append(name, value)

    def _is_ours(self, value: bytes) -> bool:
        """Whether credentials are for our realm; what cannot be read counts as ours and is not passed on."""
        if b'realm="' + self._realm + b'"' in value:
            return True
        try:
            credentials = parse_credentials(value)
        except MalformedMessage:
            return True
        return credentials is not None and credentials.realm == self._realm

    def _signed_uri(self, request: Request, credentials: Credentials) -> bytes:
        """The uri that the digest must be about: the Request-URI (RFC 7616 3.4.6), but for another fault of SIPp's."""
        if credentials.uri != request.uri and is_sipp(request) and self._own.route_user(credentials.uri) == b"":
            return credentials.uri
        return request.uri
