"""What an operator may write: autop commands (manual, L249-254) checked line by line, and settled so that no key stands twice.

Keys that only the gateway writes are refused with the reason: a line that moved a device to another server or account would
take it away from the gateway, and with it the way to put that right.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from autop.cfg_format import parse_commands, parse_line
from autop.errors import MalformedLine

MAX_LINES = 200
"""Lines of one scope."""
MAX_BYTES = 8000
"""Bytes of one scope's lines together. Six scopes, One-Time lines and our own then fit the vault's largest secret."""

_OWNED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"Config\.(?:{pattern})", re.ASCII | re.IGNORECASE), reason)
    for pattern, reason in (
        (r"Autoprovision\..*", "where and when a device fetches; another value would cut it off from here"),
        (r"Portico\..*", "the channel's server and key"),
        (r"Account\d*\.GENERAL\.(?:Enable|UserName|AuthName|Pwd)", "the account is the device's own at this gateway"),
        (r"Account\d*\.SIP\.(?:Server|Port)\d*", "devices register at this gateway"),
        (r"Account\d*\.SIP\.TransType\d*", "set the device's `transmission`"),
        (r"Account\d*\.OUTPROXY\..*", "devices register at this gateway"),
        (r"Settings\.WEB_LOGIN\.Password", "each device has a password of its own"),
        (r"Firmware\.Url", "images are sent by an upgrade, which checks the model"),
    )
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A line that was not retained, because a later one sets the same key. Rows count from 1; `by` is the row that won."""

    row: int
    key: str
    by: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Lines to be kept, in order, and those that were dropped. Comments and blank lines are kept as they are."""

    lines: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def owned(key: str) -> str:
    """Why only the gateway writes this key, or empty."""
    return next((reason for pattern, reason in _OWNED if pattern.fullmatch(key)), "")


def is_blank(line: str) -> bool:
    """Whether a line sets nothing: empty, or a comment."""
    bare = line.strip(" \t")
    return not bare or bare.startswith("#")


def check_command(line: str, row: int = 1) -> None:
    """Raises MalformedLine with row and reason, unless an operator may write this line."""
    if is_blank(line):
        parse_line(f"Config.A.B.C = {line.strip()}", row)  # the same bounds on length and characters
        return
    key, _ = parse_line(line, row)
    reason = owned(key)
    if reason:
        raise MalformedLine(row, f"{key} is set by the gateway: {reason}")


def faults(lines: Sequence[str]) -> tuple[MalformedLine, ...]:
    """Every line that may not stand, with its reason; all at once. Row 0: all lines together."""
    found: list[MalformedLine] = []
    for row, line in enumerate(lines, 1):
        try:
            check_command(line, row)
        except MalformedLine as fault:
            found.append(fault)
    if len(lines) > MAX_LINES:
        found.append(MalformedLine(0, f"more than {MAX_LINES} lines"))
    elif sum(len(line.encode(errors="replace")) + 1 for line in lines) > MAX_BYTES:
        found.append(MalformedLine(0, f"more than {MAX_BYTES} bytes together"))
    return tuple(found)


def settle(lines: Iterable[str]) -> Settled:
    """Good lines without duplicates: of equal keys, whatever their case, the last one stays, in its own place."""
    written = tuple(lines)
    last: dict[str, int] = {}
    keys: dict[int, str] = {}
    for row, line in enumerate(written, 1):
        if not is_blank(line):
            key = parse_line(line, row)[0]
            keys[row] = key
            last[key.lower()] = row
    dropped = tuple(Dropped(row, key, last[key.lower()]) for row, key in keys.items() if last[key.lower()] != row)
    gone = {one.row for one in dropped}
    return Settled(tuple(line for row, line in enumerate(written, 1) if row not in gone), dropped)


@lru_cache(maxsize=4096)
def settings_of(lines: tuple[str, ...]) -> Mapping[str, str]:
    """Key to value of lines that were kept. One that is not well formed is left out: it was refused where entered.

    Remembered, because the lines of a site are those of every device there.
    """
    return MappingProxyType(parse_commands(lines).settings)
