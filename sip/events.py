"""What the SIP core is given and what it gives back: flows, and the outputs its shell carries out.

Outputs are values. `Send` is made once per message on the wire, so it is a named tuple (a frozen dataclass costs three
times as much to build); the rare ones are too, for one way of reading them.
"""

from typing import Final, NamedTuple

from registry.location import Binding
from registry.records import CallResult
from sip.directory import Question

UDP: Final = "udp"


class Flow:
    """One way to a peer (RFC 5626): for UDP our socket and its address and port, for a stream one connection.

    `local` names our socket or connection among the shell's (no colon in it); `host` is an IP literal without brackets.
    Two flows are equal if their names are. A UDP shell keeps the objects, so that a datagram makes none.
    """

    __slots__ = ("host", "host_bytes", "local", "name", "port", "reliable", "transport")

    def __init__(self, transport: str, local: str, host: str, port: int) -> None:
        self.transport = transport
        self.local = local
        self.host = host
        self.port = port
        self.reliable = transport != UDP
        self.name = f"{transport}:{local}:{host}:{port}"
        self.host_bytes = host.encode("ascii", "replace")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<Flow {self.name}>"


def parse_flow(name: str) -> Flow | None:
    """The flow that `Flow.name` names, or None for a text that is no such name. Stored bindings hold these names."""
    head = name.split(":", 2)
    if len(head) != 3:
        return None
    host, colon, port = head[2].rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        return None
    return Flow(head[0], head[1], host, int(port))


class Send(NamedTuple):
    """Put these bytes on the flow."""

    flow: Flow
    data: bytes


class Fetch(NamedTuple):
    """Facts are wanted that are not in memory: load them, then call `SipCore.answered(question, now)`."""

    question: Question


class BindingsChanged(NamedTuple):
    """All bindings an AOR has now (none: it is gone). `Binding.expires` holds seconds to live here, not wall-clock time."""

    aor: str
    bindings: tuple[Binding, ...]


class CallFacts(NamedTuple):
    """One call as its signalling told it. Seconds are lengths of time; the shell knows the wall clock.

    `since_start` is how long ago the INVITE came. `rang` and `answered_by` are account names. `ended_by` is the account
    that hung up, or "" when nobody did (timeout, failure). `status` is the final status the caller was sent.
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


class CallStarted(NamedTuple):
    """An INVITE passed authentication and call policy and is being forwarded. `facts.result` is None."""

    facts: CallFacts


class CallEnded(NamedTuple):
    """A call is over. Exactly one for each CallStarted."""

    facts: CallFacts


class Refused(NamedTuple):
    """A request was answered with an error for a reason of ours, or dropped (status 0). `reason` is one of a fixed set."""

    reason: str
    status: int
    flow: Flow


class Malformed(NamedTuple):
    """Bytes that are no SIP message. `reason` names the header at fault (a fixed set, never text from the wire)."""

    reason: str
    flow: Flow


Output = Send | Fetch | BindingsChanged | CallStarted | CallEnded | Refused | Malformed
