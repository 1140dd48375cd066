"""What autop tells its observer: an outcome for every answer, and who fetched which bytes."""

from enum import StrEnum
from typing import Protocol

from registry.mac import MacAddress


class Outcome(StrEnum):
    """How a request or a connection ended, as metrics count it."""

    SERVED = "served"
    NOT_MODIFIED = "not_modified"
    REFUSED = "refused"
    LIMITED = "limited"
    ERROR = "error"


class Reason(StrEnum):
    """Why, within an outcome. A closed list, fit for a label; never told to the client."""

    NONE = ""
    NO_SUCH_FILE = "no_such_file"
    NO_PROOF = "no_proof"
    NO_LOGIN = "no_login"
    """Challenged: the first half of every login, so no refusal of its own."""
    STALE_LOGIN = "stale_login"
    """Challenged again: the password was right, the nonce is used up."""
    THROTTLED = "throttled"
    """Might enrol, but its source guesses."""
    BAD_REQUEST = "bad_request"
    BUSY = "busy"
    CONDITION = "condition"
    METHOD = "method"
    BODY = "body"
    HEAD_TOO_LARGE = "head_too_large"
    TOO_SLOW = "too_slow"
    UNRENDERABLE = "unrenderable"
    UNSEALED = "unsealed"
    UNAVAILABLE = "unavailable"
    ENROL_UNKNOWN = "enrol_unknown"
    """A bootstrap for a MAC that no device has, or for whose device and site no window was opened."""
    ENROL_NO_PROOF = "enrol_no_proof"
    """A bootstrap under a token that is not its window's, or a one-time token that has run out."""
    ENROL_OVER = "enrol_over"
    ENROL_DONE = "enrol_done"
    """The device has enrolled already: this is a factory reset, or not that device."""
    ENROL_SECOND_ADDRESS = "enrol_second_address"
    """Another address was given this device's bootstrap in the same window."""


class AutopObserver(Protocol):
    """Given to the shells by the composition root. Both methods are called on the event loop and must not block."""

    def answered(self, outcome: Outcome, reason: Reason, peer: str = "") -> None:
        """One request from address `peer` was answered, or one connection ended without an answer."""
        ...

    def fetched(self, mac: MacAddress, etag: str, peer: str, wall: float) -> None:
        """A device that proved itself asked for its file and now has the bytes of `etag` (also by a 304), from address `peer`."""
        ...
