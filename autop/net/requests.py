"""What a request's head alone says: whether it can be accepted at all, and who it says it is from."""

import asyncio

from autop.certificate import certified_macs
from autop.http_messages import Request
from autop.identify import Asked, OwnFile
from autop.net.proof import Presented
from autop.observer import Reason


def unacceptable(request: Request) -> tuple[int, Reason]:
    """Status and reason if the head alone says no; 0 if it does not. The same for every target."""
    if request.http_version not in (b"1.1", b"1.0"):
        return 505, Reason.BAD_REQUEST
    names = [name for name, _ in request.headers]
    if b"host" not in names:
        return 400, Reason.BAD_REQUEST  # h11 asks it of HTTP/1.1 only
    if b"transfer-encoding" in names:
        # With a length beside it two parsers may disagree where the request ends (RFC 9112 section 6.1).
        return (400, Reason.BAD_REQUEST) if b"content-length" in names else (413, Reason.BODY)
    if any(name == b"content-length" and value.strip(b"0") for name, value in request.headers):
        return 413, Reason.BODY
    if request.method not in (b"GET", b"HEAD"):
        return 405, Reason.METHOD
    return 0, Reason.NONE


def user_agent(request: Request) -> str:
    """The User-Agent, "" without one. Anybody may write anything there."""
    return next((value for name, value in request.headers if name == b"user-agent"), b"").decode("latin-1")


def presented(asked: Asked | None, request: Request, peer: str, transport: asyncio.Transport | None) -> Presented:
    """What the request brings along as proof. Only where the target itself has none are the others looked at."""
    if not isinstance(asked, OwnFile):
        return Presented(peer)
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return Presented(
        peer,
        request.method,
        request.target,
        tuple(value for name, value in request.headers if name == b"authorization"),
        certified_macs(tls.getpeercert() or {}) if tls is not None else frozenset(),
        is_tls=tls is not None,
    )
