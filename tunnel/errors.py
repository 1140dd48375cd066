"""What goes wrong on a channel, with the code the other end is told (docs/tunnel-protocol.md section 9)."""

from enum import IntEnum


class Code(IntEnum):
    """Codes of ERROR, RST and GOAWAY frames. Below 20: about the link; from 20 on: about one stream."""

    NO_ERROR = 0
    INTERNAL = 1
    PROTOCOL = 2
    NOT_AUTHORISED = 3
    VERSION = 4
    REPLACED = 5
    FLOW_CONTROL = 6
    TOO_MUCH = 7
    TIMEOUT = 8
    SHUTDOWN = 9
    CLONED = 10
    SERVICE_REFUSED = 20
    TOO_MANY_STREAMS = 21
    OPEN_TIMEOUT = 22
    TARGET_UNREACHABLE = 23
    CANCELLED = 24
    WRONG_DEVICE = 25


class TunnelError(Exception):
    """Root of the tunnel's errors."""


class PeerError(TunnelError):
    """The other end broke the protocol: the link must end with ERROR `code`.

    `text` says which rule, in words of ours; a peer's bytes never get into it, as it is logged and sent.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(f"{code.name.lower()}: {text}")
        self.code = code
        self.text = text


class LocalError(TunnelError):
    """This end asked for something the machine's state does not allow: a bug of the caller."""


class StreamClosed(TunnelError):
    """The stream is over: reset by either end, or its link is gone. `code` says why."""

    def __init__(self, code: int) -> None:
        name = Code(code).name.lower() if code in set(Code) else str(code)
        super().__init__(f"stream closed: {name}")
        self.code = code


class LinkDown(TunnelError):
    """There is no link to the device now, or it ended before the answer came."""


class SessionRefused(TunnelError):
    """A ticket, cookie or session that opens nothing. Deliberately says no more (all refusals look alike)."""
