"""`MacAddress`: any spelling in, one canonical form out. The key of the MAC library, of devices and of autop."""

import re
from dataclasses import dataclass

from registry.errors import MalformedMac

_PLAIN = re.compile(r"[0-9A-Fa-f]{12}", re.ASCII)
_PAIRS = re.compile(r"[0-9A-Fa-f]{2}([:\- .])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}", re.ASCII)
_QUADS = re.compile(r"[0-9A-Fa-f]{4}([:\-.])[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}", re.ASCII)
_LONGEST = 17
_SEPARATORS = str.maketrans("", "", ":-. ")


@dataclass(frozen=True, slots=True, order=True)
class MacAddress:
    """A device's MAC address as 12 upper-case hexadecimal digits, the spelling Akuvox puts into file names."""

    text: str

    def __post_init__(self) -> None:
        if not _PLAIN.fullmatch(self.text) or self.text != self.text.upper():
            raise MalformedMac("a MacAddress holds 12 upper-case hexadecimal digits; use MacAddress.parse")

    @classmethod
    def parse(cls, text: str) -> "MacAddress":
        """Read a MAC in any spelling of the field: plain, or with ':' '-' '.' between pairs, or by fours.

        Raises MalformedMac for everything else, full-width digits and trailing newlines included. The message does not
        repeat the input, which may be hostile and end in a log.
        """
        if len(text) > _LONGEST or not (_PLAIN.fullmatch(text) or _PAIRS.fullmatch(text) or _QUADS.fullmatch(text)):
            raise MalformedMac("not a MAC address: 12 hexadecimal digits, for example 0C1105AABBCC or 0C:11:05:AA:BB:CC")
        return cls(text.translate(_SEPARATORS).upper())

    def __str__(self) -> str:
        return self.text

    @property
    def colons(self) -> str:
        """The spelling people read: 0C:11:05:AA:BB:CC."""
        return ":".join(self.text[i : i + 2] for i in range(0, 12, 2))
