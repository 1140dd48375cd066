"""Header lines that were read once: the same line again costs one lookup.

Most lines of most messages were on the wire just before. Max-Forwards, Allow and User-Agent are the same in every message of a
device; From, To, Call-ID and Contact come back with the answer to a challenge and with everything that is said in a dialog. So a
line's name, value and what its value means are kept with its octets. A `HeaderLine` never changes and messages share it.

The memory is bounded in lines and in octets, and is emptied when it is full: a flood of lines that are never seen again costs
one dict insertion each. Lines that cannot come back (Via) and lines with secrets (credentials, challenges) are not kept.
"""

from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import LF, LWS, SPACE, decimal, unfold
from sip.header_values import NameAddr, parse_cseq, parse_name_addr
from sip.headers import SINGLE, SPELLINGS, canonical

LINES: Final = 4096
"""Lines kept. With what was read from it, one takes up to 1 KiB."""
LONGEST: Final = 256
"""Octets of a line that is kept."""

NO_NUMBER: Final = -1
"""`HeaderLine.number` of a value that is no number, or too large a one."""

_NOT_KEPT: Final = frozenset(
    (b"via", b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate", b"authentication-info")
)
_SINGLE_BITS: Final[dict[bytes, int]] = {name: 1 << at for at, name in enumerate(sorted(SINGLE))}
_spelling: Final = SPELLINGS.get
_kept: Final[dict[bytes, "HeaderLine"]] = {}


class HeaderLine:
    """One header line. `name` is canonical, `value` unfolded and without the white space around it.

    `single` is a bit of its own for each header that may come once in a message, 0 for all others.
    """

    __slots__ = ("_address", "_cseq", "_number", "name", "single", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.single: int = _SINGLE_BITS.get(name, 0)
        self._address: NameAddr | None = None
        self._cseq: tuple[int, bytes] | None = None
        self._number: int = -2

    def address(self, malformed: bytes) -> NameAddr:
        """The value as one name-addr. Raises `MalformedMessage` 400 with this reason."""
        address = self._address
        if address is None:
            address = self._address = parse_name_addr(self.value, malformed)
        return address

    def cseq(self) -> tuple[int, bytes]:
        """The value as a CSeq. Raises `MalformedMessage`."""
        cseq = self._cseq
        if cseq is None:
            cseq = self._cseq = parse_cseq(self.value)
        return cseq

    def number(self) -> int:
        """The value as a number below 2**31, or `NO_NUMBER`."""
        number = self._number
        if number == -2:
            number = self._number = decimal(self.value, 2**31 - 1)
        return number


def header_line(line: bytes) -> HeaderLine | None:
    """The line read; None where it is a fold, or has no header name."""
    held = _kept.get(line)
    if held is not None:
        return held
    # Without a colon the name is b"", which is none.
    colon = max(line.find(b":"), 0)
    raw = line[:colon]
    name = _spelling(raw) or canonical(raw)
    if name == b"":
        return None
    made = HeaderLine(name, value_of(line))
    if len(line) <= LONGEST and name not in _NOT_KEPT:
        if len(_kept) >= LINES:
            _kept.clear()
        _kept[line] = made
    return made


def value_of(line: bytes) -> bytes:
    """What stands behind the colon, unfolded, without the white space around it."""
    at = line.find(b":") + 1
    if line[at : at + 1] == b" ":
        at += 1
    value = line[at:]
    if value and value[0] > SPACE and value[-1] > SPACE and LF not in value:
        return value
    return unfold(value).strip(LWS)


def required(line: HeaderLine | None, missing: bytes) -> HeaderLine:
    """The line, which must be there and not empty. Raises `MalformedMessage` 400 with this reason."""
    if line is None or line.value == b"":
        raise MalformedMessage(400, missing)
    return line
