"""What a user agent tells its device. `call` is the Call-ID, `status` a SIP status code (200 where a call ended well)."""

from dataclasses import dataclass

LOCAL = "local"
REMOTE = "remote"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Registered:
    """The registrar holds the binding for `expires` seconds, after `challenges` were answered. Not said at refreshes."""

    expires: int
    challenges: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The binding was renewed for `expires` seconds."""

    expires: int


@dataclass(frozen=True, slots=True)
class NotRegistered:
    """The registrar refused or did not answer (408); the next try is in `retry_in` seconds."""

    status: int
    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The device took its binding back and stays silent."""


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """Somebody calls and hears it ring. `caller` is the user part of From."""

    call: str
    caller: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Ringing:
    """The called side rings."""

    call: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The call is up: at the caller on the 2xx, at the called side on its ACK."""

    call: str


@dataclass(frozen=True, slots=True)
class DtmfReceived:
    """The other side pressed a key during the call. `peer` is its user name."""

    call: str
    peer: str
    key: str


@dataclass(frozen=True, slots=True)
class DtmfSent:
    """The other side answered our key with `status`."""

    call: str
    key: str
    status: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over: hung up here (`by` LOCAL) or there (REMOTE), or it never came to be (FAILED, with the refusal)."""

    call: str
    by: str
    status: int
    reason: str


AgentEvent = (
    Registered | Refreshed | NotRegistered | Unregistered | IncomingCall | Ringing | Answered | DtmfReceived | DtmfSent | Ended
)
