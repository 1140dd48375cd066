"""What can go wrong with what a peer sent. Nothing else leaves the message layer."""

from typing import Any


class SipError(Exception):
    """Root of every error of this package."""


class MalformedMessage(SipError):
    """A peer broke the grammar or a bound. This is always the remote side's fault.

    `status` is what the RFC wants answered to a request (400, 413, 416, 505, ...) and 0 where silence is right: a
    malformed response or ACK, noise, or a message whose Via could not be found. `reason` names the header or the part
    at fault; it is made of our own words only, so it may be logged and sent. `partial` is the `sip.message.Request` read
    so far, good enough for `make_response`, or None (typed loosely because messages stand above errors in the layers).
    """

    def __init__(self, status: int, reason: bytes, partial: Any = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.partial = partial

    def __str__(self) -> str:
        return f"{self.status} {self.reason.decode('ascii', 'replace')}"


class MalformedSdp(SipError):
    """A body that is no session description (RFC 8866), or goes past a bound. `reason` is of our own words: it may be logged."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
