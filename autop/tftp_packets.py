"""TFTP packets (RFC 1350, options of RFC 2347): datagrams in, values out, and what is sent as datagrams.

A request is text from anybody: its length is bounded before it is read, a number is ASCII digits and nothing else. Options whose
value is no such number are as if they had not been asked for (RFC 2347: what a server cannot honour it leaves out).
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

MAX_REQUEST = 512
"""Octets of a request (RFC 2347)."""
MAX_OPTIONS = 16
"""Options read of one request; there are four in use."""
MAX_BLOCK = 65464
"""Octets of one DATA that an option can ask for (RFC 2348)."""
_MAX_DIGITS = 12


class Opcode(IntEnum):
    """RFC 1350 section 5, RFC 2347."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """The error codes that we send (RFC 1350 appendix)."""

    NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER = 5


class Mode(StrEnum):
    """How octets travel. RFC 1350's third mode, mail, is obsolete and refused."""

    OCTET = "octet"
    NETASCII = "netascii"


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A request for a file. `name` is as sent, with whatever token it holds; `options` have lower-case names, each once, and
    values below 10**12."""

    name: bytes = field(repr=False)
    mode: Mode
    options: tuple[tuple[bytes, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that gets an ERROR for what it is. `why` is one of a few words, fit for a label."""

    code: ErrorCode
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The client has this block (its number modulo 65536), and all before it."""

    block: int


@dataclass(frozen=True, slots=True)
class PeerError:
    """The client gives the transfer up."""


def parse_request(datagram: bytes) -> ReadRequest | Rejected | None:
    """What came to the port that everybody knows. None: noise, an ERROR or a stray packet, none of which is ever answered."""
    opcode = datagram[:2]
    if len(datagram) > MAX_REQUEST or opcode not in (_RRQ, _WRQ):
        return None
    if opcode == _WRQ:
        return Rejected(ErrorCode.ACCESS_VIOLATION, "Access violation", "write")
    fields = datagram[2:].split(b"\0")
    # "filename 0 mode 0 *(option 0 value 0)" leaves one empty field at the end.
    if len(fields) < 3 or fields[-1] or not fields[0] or len(fields) % 2 == 0:
        return Rejected(ErrorCode.ILLEGAL_OPERATION, "Malformed request", "malformed")
    mode = _MODES.get(fields[1].lower())
    if mode is None:
        return Rejected(ErrorCode.ILLEGAL_OPERATION, "Unknown mode", "mode")
    options: dict[bytes, int] = {}
    for name, value in zip(fields[2:-1:2], fields[3:-1:2], strict=True):
        number = _decimal(value)
        if number is not None and len(options) < MAX_OPTIONS:
            options.setdefault(name.lower(), number)
    return ReadRequest(fields[0], mode, tuple(options.items()))


def parse_reply(datagram: bytes) -> Ack | PeerError | None:
    """What came to the port of a transfer. None: nothing that a client which reads may send."""
    if len(datagram) < 4:
        return None
    if datagram[:2] == _ERROR:
        return PeerError()
    return Ack(int.from_bytes(datagram[2:4])) if datagram[:2] == _ACK and len(datagram) == 4 else None


def data(block: int, octets: bytes) -> bytes:
    """One block; its number is sent modulo 65536, so that after 65535 comes 0."""
    return _DATA + (block & 0xFFFF).to_bytes(2) + octets


def oack(options: tuple[tuple[bytes, int], ...]) -> bytes:
    """The options that are accepted, with our values (RFC 2347)."""
    return _OACK + b"".join(b"%b\0%d\0" % option for option in options)


def error(code: ErrorCode, text: str) -> bytes:
    """`text` is for people and of our own words."""
    return _ERROR + code.to_bytes(2) + text.encode("ascii") + b"\0"


def netascii(octets: bytes) -> bytes:
    """The octets of a text file as netascii (RFC 764 page 8): line ends as CR LF, a bare CR as CR NUL."""
    return octets.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


def _decimal(text: bytes) -> int | None:
    # bytes.isdigit() knows ASCII digits only.
    return int(text) if text.isdigit() and len(text) <= _MAX_DIGITS else None


_RRQ, _WRQ, _DATA, _ACK, _ERROR, _OACK = (code.to_bytes(2) for code in Opcode)
_MODES = {mode.value.encode(): mode for mode in Mode}
