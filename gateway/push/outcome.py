"""What a push says, what may become of it, and what a driver is."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """What became of one push. The values are metric labels and reasons in a call's trace: a closed set."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The service answered that it will not."""
    DEAD_TOKEN = "dead-token"  # noqa: S105 - no secret
    """The service does not know the app's installation any more: its parameters are forgotten."""
    UNAUTHORISED = "unauthorised"
    """The service does not take our credentials: an operator has to look."""
    OVERLOADED = "overloaded"
    """The service has no room now."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    """Too many pushes wait here already."""
    NO_DRIVER = "no-driver"


@dataclass(frozen=True, slots=True)
class Notice:
    """One push to one app. `purpose` is "call" or "cancel"; after `seconds` it is of no use any more."""

    purpose: str
    account: str
    provider: str
    prid: str = field(repr=False)
    param: str
    call_id: str
    site: str
    caller: str
    dialled: str
    reason: str
    seconds: int


class Driver(Protocol):
    """One push service. A driver keeps no queue and no deadline: who calls it does."""

    @property
    def providers(self) -> tuple[str, ...]:
        """The RFC 8599 names it serves."""
        ...

    async def send(self, notice: Notice) -> Outcome:
        """Hand one notice to the service. Raises HttpError; cancelled at the caller's deadline."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
