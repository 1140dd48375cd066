"""What a mux tells its shell, in order (`Mux.take`). Each stream that was offered or opened ends with one StreamEnded."""

from dataclasses import dataclass

from tunnel.messages import Call, DeviceEvent, Result


@dataclass(frozen=True, slots=True)
class StreamOffered:
    """The peer opened a stream: look `service` up in the own list, then `accept` or `reset` it. `device`: of which device, where
    this end is a connector."""

    stream: int
    service: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer connected the service. `authority` is what an HTTP client names as Host, or empty; `spki` as in `Opened`."""

    stream: int
    authority: str
    spki: bytes = b""


class DataReceived:
    """Bytes of a stream; the shell calls `consumed` when its application took them. (A plain class for speed, as `Frame` is.)"""

    __slots__ = ("data", "stream")

    def __init__(self, stream: int, data: bytes) -> None:
        self.stream = stream
        self.data = data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataReceived):
            return NotImplemented
        return self.stream == other.stream and self.data == other.data

    def __repr__(self) -> str:
        return f"DataReceived({self.stream}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The peer will send no more on this stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is forgotten: both ends finished (code 0, `clean`), or it was reset by an end or with its link."""

    stream: int
    code: int
    clean: bool = False


@dataclass(frozen=True, slots=True)
class EventArrived:
    """Gateway: a device reports. Call `acknowledge` once it is kept, or `forget_event` to have it sent again."""

    event: DeviceEvent


@dataclass(frozen=True, slots=True)
class EventAcknowledged:
    """Agent: the gateway keeps the event."""

    id: bytes


@dataclass(frozen=True, slots=True)
class CallArrived:
    """Agent: the gateway asks for something; answer with `send_result`."""

    call: Call


@dataclass(frozen=True, slots=True)
class ResultArrived:
    """Gateway: the device's answer to a call."""

    result: Result


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """GOAWAY arrived: open nothing new here. Times in seconds."""

    code: int
    retry_after: float
    jitter: float


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """The link is over. If `by_peer` the peer said so; otherwise an ERROR frame is queued as the last thing to send."""

    code: int
    text: str
    by_peer: bool = False


Output = (
    StreamOffered
    | StreamOpened
    | DataReceived
    | StreamFinished
    | StreamEnded
    | EventArrived
    | EventAcknowledged
    | CallArrived
    | ResultArrived
    | PeerLeaving
    | LinkFailed
)
