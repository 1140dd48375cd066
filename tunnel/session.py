"""Pure rules of a Remote Control session: opened with a one-use ticket, alive while cookie and clock agree, closed for ever.

The record (`registry.records.RemoteSession`) lives in the Store, so any node may serve the session and none holds state alone.
Ticket and cookie are kept as SHA-256 only. Times are wall-clock seconds, given; shells hold a monotonic deadline besides,
so that no clock step makes a session live longer (`seconds_left`).
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from registry.errors import StaleVersion
from registry.mac import MacAddress
from registry.records import RemoteSession
from registry.store import Put, Store
from tunnel.errors import SessionRefused

TICKET_SECONDS = 60.0
SESSION_SECONDS = 3600.0
IDLE_SECONDS = 900
CLOCK_SKEW = 5.0
"""Seconds by which the clock of the node that made a session may be ahead of the one that serves it."""
_ID_BYTES = 20
"""160 random bits: 32 base32 letters, a DNS label."""
_SECRET_BYTES = 32
_ID = re.compile(r"[a-z2-7]{32}", re.ASCII)
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
OPEN_PATH = "/.portico/open/"
WEB, WEB_TLS = "web", "web-tls"
"""The device's own web page, plain and over TLS."""
FORWARDED = {"ssh": 22, "rtsp": 554}
"""What a port forward may reach, and the port by which people know it. Which port it really is, the device's end says."""
MAX_PAGES = 50
MAX_PATH = 120
_SECRET_LIKE = re.compile(r"[0-9A-Fa-f]{16,}|[A-Za-z0-9_-]{24,}|[A-Za-z0-9+/=_-]{40,}", re.ASCII)
_METHOD = re.compile(r"[A-Z]{1,10}", re.ASCII)

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to store and its ticket, which is shown once."""

    record: RemoteSession
    ticket: str = field(repr=False)

    @property
    def link_path(self) -> str:
        """The path of the link that spends the ticket."""
        return OPEN_PATH + self.ticket


def is_session_id(text: str) -> bool:
    """Whether `text` could be a session's host label, so that a guess costs no look-up."""
    return _ID.fullmatch(text) is not None


def new_session(
    *,
    mac: MacAddress,
    site: str,
    opened_by: str,
    wall: float,
    entropy: Entropy,
    ticket_seconds: float = TICKET_SECONDS,
    session_seconds: float = SESSION_SECONDS,
    idle_seconds: int = IDLE_SECONDS,
    service: str = WEB,
    port: int = 0,
) -> NewSession:
    """Make a session that nobody has opened yet. `port`: the visitors' port that is this session's alone, 0 if none."""
    ticket = _secret(entropy)
    record = RemoteSession(
        id=base64.b32encode(entropy(_ID_BYTES)).decode("ascii").lower(),
        mac=mac,
        site=site,
        opened_by=opened_by,
        ticket_hash=_hash(ticket),
        created=wall,
        ticket_expires=wall + ticket_seconds,
        expires=wall + session_seconds,
        idle_seconds=idle_seconds,
        service=service,
        port=port,
    )
    return NewSession(record, ticket)


def open_with_ticket(session: RemoteSession, ticket: str, wall: float, entropy: Entropy) -> tuple[RemoteSession, str]:
    """Spend the ticket: the changed record and the cookie to set. Raises SessionRefused for anything but a fresh, right ticket.

    The caller stores the record with the version it read, so that of two browsers with one link only one gets in.
    """
    right = _SECRET.fullmatch(ticket) is not None and _same(_hash(ticket), session.ticket_hash)
    in_time = session.created - CLOCK_SKEW <= wall < session.ticket_expires
    if not right or not in_time or session.used is not None or not _runs(session, wall):
        raise SessionRefused("no such link")
    cookie = _secret(entropy)
    return replace(session, cookie_hash=_hash(cookie), used=wall), cookie


def is_alive(session: RemoteSession, wall: float) -> bool:
    """Whether the session was opened and has not ended, by record and wall clock."""
    return session.used is not None and _runs(session, wall)


def admits(session: RemoteSession, cookie: str, wall: float) -> bool:
    """Whether a request with this cookie may pass."""
    right = _SECRET.fullmatch(cookie) is not None and _same(_hash(cookie), session.cookie_hash)
    return right and is_alive(session, wall)


def seconds_left(session: RemoteSession, wall: float) -> float:
    """Seconds until the hard end by the wall clock, at most the session's whole length even if the clock was set back."""
    return max(0.0, min(session.expires - wall, session.expires - session.created))


def closed(session: RemoteSession, reason: str, wall: float) -> RemoteSession:
    """The record of an ended session. Closing again changes nothing."""
    return session if session.ended is not None else replace(session, ended=wall, end_reason=reason, cookie_hash="")


def opened_from(session: RemoteSession, address: str) -> RemoteSession:
    """The record with the address of the visitor who spent the ticket."""
    return replace(session, address=address[:64])


def page_of(method: bytes, target: bytes) -> str:
    """What the audit calls a request: method and path, without the query, with what looks like a secret left out."""
    verb = method.decode("ascii", "replace")
    path = target.decode("ascii", "replace").partition("?")[0].partition("#")[0].partition(";")[0]
    parts = [_SECRET_LIKE.sub("*", part) for part in path[: 4 * MAX_PATH].split("/")]
    shown = "".join(char if char.isprintable() else "?" for char in "/".join(parts))
    return f"{verb if _METHOD.fullmatch(verb) else 'other'} {shown[:MAX_PATH]}"


def with_use(session: RemoteSession, *, requests: int, to_device: int, to_visitor: int, pages: Iterable[str]) -> RemoteSession:
    """The record with so much more use on it: counts to add, and pages, of which the first MAX_PAGES are kept."""
    more = [page for page in pages if page not in session.pages]
    return replace(
        session,
        requests=session.requests + requests,
        bytes_to_device=session.bytes_to_device + to_device,
        bytes_to_visitor=session.bytes_to_visitor + to_visitor,
        pages=(*session.pages, *more)[:MAX_PAGES],
    )


def login_of(session: RemoteSession) -> str | None:
    """The id of the API token by which the session was made, None if no token made it."""
    kind, colon, token = session.opened_by.partition(":")
    return token if kind == "token" and colon else None


async def create_session(
    store: Store,
    *,
    mac: MacAddress,
    site: str,
    opened_by: str,
    wall: float,
    entropy: Entropy,
    ticket_seconds: float = TICKET_SECONDS,
    session_seconds: float = SESSION_SECONDS,
    idle_seconds: int = IDLE_SECONDS,
    service: str = WEB,
    port: int = 0,
) -> NewSession:
    """Store a new session. Raises StoreUnavailable, and Conflict if another session has the port."""
    made = new_session(
        mac=mac,
        site=site,
        opened_by=opened_by,
        wall=wall,
        entropy=entropy,
        ticket_seconds=ticket_seconds,
        session_seconds=session_seconds,
        idle_seconds=idle_seconds,
        service=service,
        port=port,
    )
    await store.batch([Put(made.record, expect=0)])
    return made


async def close_session(store: Store, session_id: str, *, reason: str, wall: float) -> RemoteSession | None:
    """End a session in the store; every node's visitor listener closes its connections. None if there is no such session.

    Raises StoreUnavailable.
    """
    while (stored := await store.get(RemoteSession, session_id)) is not None:
        record = closed(stored.record, reason, wall)
        if record is stored.record:
            return record
        try:
            await store.batch([Put(record, expect=stored.version)])
        except StaleVersion:
            continue  # somebody wrote between our read and our write: look again
        return record
    return None


def _runs(session: RemoteSession, wall: float) -> bool:
    return session.ended is None and session.created - CLOCK_SKEW <= wall < session.expires


def _secret(entropy: Entropy) -> str:
    return base64.urlsafe_b64encode(entropy(_SECRET_BYTES)).decode("ascii").rstrip("=")


def _hash(secret: str) -> str:
    return sha256(secret.encode("ascii")).hexdigest()


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("ascii"), right.encode("ascii"))
