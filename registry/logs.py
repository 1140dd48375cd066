"""What the logs hold: calls, door openings, and the audit of who did what. Keys sort by time; no entry is ever changed.

Like the records of records.py, frozen values whose versions are the store's.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from registry.mac import MacAddress


class CallResult(StrEnum):
    """How a call ended, as portico_calls_total counts it."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    FAILED = "failed"


class CallEvent(StrEnum):
    """What a step of a call's trace tells. It answers "why did my phone not ring"."""

    INVITE = "invite"
    """The INVITE was sent to a device of the account."""
    UNREACHABLE = "unreachable"
    """The account has no device that is registered and no app that could be woken."""
    REFUSED = "refused"
    """The landline is not called; the reason says why, of a fixed set (`sip/trunk_limits.py`, `sip/e164.py`)."""
    PUSH = "push"
    """The push service was asked to wake the account's apps."""
    PUSH_ACCEPTED = "push-accepted"
    PUSH_REFUSED = "push-refused"
    """The push service did not take it; the reason says why, of a fixed set (`gateway/push/outcome.py`)."""
    REGISTERED = "registered"
    """An app that was waited for has registered."""
    RINGING = "ringing"
    ANSWERED = "answered"
    FAILED = "failed"
    """The account's device ended its part; the reason is the SIP status."""
    CANCELLED = "cancelled"
    """Its ringing, or the waiting for it, was ended; the reason says why: answered-elsewhere, given-up, or moved."""


@dataclass(frozen=True, slots=True)
class CallStep:
    """One step of a call's trace: seconds since its INVITE came, what, for which account, and why."""

    at: float
    event: CallEvent
    account: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call: who called what, who rang, who answered, for how long. Keys sort by time (see `time_key`).

    `woken` are the accounts whose apps got a push, `missed` those that should have been reached and were not, in a call that
    nobody answered. `trace` is bounded (`sip/call_record.py`).
    """

    id: str
    site: str
    caller: str
    dialled: str
    started: float
    rang: tuple[str, ...]
    answered_by: str
    ring_seconds: float
    talk_seconds: float
    result: CallResult
    ended_by: str
    status: int
    call_id: str
    woken: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    trace: tuple[CallStep, ...] = ()

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site, "call-id": self.call_id}


@dataclass(frozen=True, slots=True)
class DoorEvent:
    """One entry of the door log (see door_log.py): what a door device reported (`opened` only when the device said so), or that
    somebody called from it and it was not opened (`relay` 0).

    `event_id` is unique with its MAC, so that what is told twice is one entry: the device's own id of the event, or that of the
    command it obeyed.
    """

    id: str
    site: str
    mac: MacAddress
    event_id: str
    at: float
    relay: int
    method: str
    opened: bool
    by: str = ""
    call_id: str = ""
    detail: str = ""

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"event"})

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site, "mac": self.mac.text, "event": f"{self.mac}/{self.event_id}"}


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which object, over the API or through a Remote Control session. Append-only."""

    id: str
    at: float
    actor: str
    action: str
    object: str
    site: str = ""
    detail: str = ""

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site}


def time_key(wall: float, serial: int) -> str:
    """A key that sorts by time: milliseconds since the epoch, then `serial` (any number; callers pass random or counted).

    Lists of logs read `newest_first` by it.
    """
    return f"{int(wall * 1000):013d}-{serial & 0xFFFFFFFF:08x}"
