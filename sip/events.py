"""What the SIP core gives back: the outputs its shell carries out.

Outputs are values. `Send` is made once per message on the wire, so it is a named tuple (a frozen dataclass costs three
times as much to build); the rare ones are too, for one way of reading them.
"""

from typing import NamedTuple

from registry.logs import CallResult, CallStep
from sip.binding import LiveBinding
from sip.directory import PushParameters, Question
from sip.flow import Flow as Flow
from sip.flow import parse_flow as parse_flow
from sip.media_engine import MediaAnswer, MediaDelete, MediaOffer
from sip.push import PushChange


class Send(NamedTuple):
    """Put these bytes on the flow."""

    flow: Flow
    data: bytes


class Fetch(NamedTuple):
    """Facts are wanted that are not in memory: load them, then call `SipCore.answered(question, now)`."""

    question: Question


class BindingsChanged(NamedTuple):
    """All bindings an AOR has now (none: it is gone). `LiveBinding.stored(offset)` makes what the registry keeps of one."""

    aor: str
    bindings: tuple[LiveBinding, ...]


class CallFacts(NamedTuple):
    """One call as its signalling told it. Seconds are lengths of time; the shell knows the wall clock.

    `since_start` is how long ago the INVITE came. `rang` and `answered_by` are account names, or landlines in E.164. `ended_by`
    is the one that hung up, or "" when nobody did (timeout, failure). `status` is the final status the caller was sent. `woken`
    are the accounts whose apps were pushed, `missed` those that were rung or woken in vain (none in a call that was answered).
    """

    call_id: str
    site: str
    caller: str
    dialled: str
    rang: tuple[str, ...]
    answered_by: str
    since_start: float
    ring_seconds: float
    talk_seconds: float
    result: CallResult | None
    ended_by: str
    status: int
    woken: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    trace: tuple[CallStep, ...] = ()


class Push(NamedTuple):
    """Ask the push services of these apps to wake them for a call, or to tell them that it is over.

    The shell answers each, within seconds, with `SipCore.pushed(serial, accepted, reason, now)`. `purpose` is "call" or "cancel",
    `reason` of a cancel "answered-elsewhere" or "given-up". After `seconds` nothing rings any more.
    """

    serial: int
    purpose: str
    account: str
    apps: tuple[PushParameters, ...]
    call_id: str
    site: str
    caller: str
    dialled: str
    reason: str
    seconds: float


class PushChanged(NamedTuple):
    """A REGISTER changed how an app of this account is woken; `sip.push.applied` says what that makes of those known."""

    account: str
    change: PushChange


class CallStarted(NamedTuple):
    """An INVITE passed authentication and call policy and is being forwarded. `facts.result` is None."""

    facts: CallFacts


class CallEnded(NamedTuple):
    """A call is over. Exactly one for each CallStarted."""

    facts: CallFacts


class KeyPressed(NamedTuple):
    """`account` pressed a key in its call with `door` (both account names): in an INFO that was passed on to that door phone, or
    in relayed media, from either side. `key` is one of 0-9 * # A-D."""

    call_id: str
    account: str
    door: str
    key: str


class Notified(NamedTuple):
    """NOTIFY number `serial` (`SipCore.notify`) got this final status; 408: no answer, 430: its flow is gone, 480: no binding."""

    serial: int
    status: int


class Refused(NamedTuple):
    """A request was answered with an error for a reason of ours, or dropped (status 0). `reason` is one of a fixed set.

    "landline: ..." is one landline of a call that is not called; the call may go on without it.
    """

    reason: str
    status: int
    flow: Flow


class Authenticated(NamedTuple):
    """A request on this stream has proven an account's password: its connection is no stranger's any more."""

    flow: Flow


class Malformed(NamedTuple):
    """Bytes that are no SIP message. `reason` names the header at fault (a fixed set, never text from the wire)."""

    reason: str
    flow: Flow


class Resolve(NamedTuple):
    """The addresses of a trunk's gateway are wanted: `TrunkCore.resolved(gateway, ...)` must come, empty where there are none.

    `port` 0: by SRV, else the transport's own (RFC 3263 4.2).
    """

    gateway: str
    host: str
    port: int
    transport: str


class Dial(NamedTuple):
    """A connection to a trunk's gateway is wanted: `TrunkCore.connected` or `TrunkCore.dial_failed` must come.

    `host` is an IP literal, `name` what TLS must find in the certificate.
    """

    gateway: str
    transport: str
    host: str
    port: int
    name: str


class HangUp(NamedTuple):
    """A connection to a trunk's gateway is wanted no more."""

    flow: Flow


class TrunkChanged(NamedTuple):
    """A trunk was registered, lost its registration, or one of its gateways (`gateway` is its host and port) went up or down.

    `what` is one of "registered", "not registered", "up", "down"; `why` is of a fixed set, or a status code.
    """

    trunk: str
    gateway: str
    what: str
    why: str


class GatewayHeard(NamedTuple):
    """A call over this gateway was answered, or went unanswered: tell `TrunkCore.call_heard`."""

    gateway: str
    alive: bool


Output = (
    Send
    | Fetch
    | BindingsChanged
    | Push
    | PushChanged
    | CallStarted
    | CallEnded
    | KeyPressed
    | MediaOffer
    | MediaAnswer
    | MediaDelete
    | Refused
    | Authenticated
    | Malformed
    | Resolve
    | Dial
    | HangUp
    | TrunkChanged
    | GatewayHeard
    | Notified
)
