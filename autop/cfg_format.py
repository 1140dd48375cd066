"""The text devices read: `Config.<Group>.<SECTION>.<Item> = value`, one setting a line (akuvox-devices.md section 1).

Two readers. `parse_line` and `parse_commands` are for what an operator wrote: strict, with a reason per row. `read_as_device`
is for what a device got: it skips what it cannot read, as the vendor's exports force it to. One writer: same settings, same
bytes, because devices compare an MD5 of the file and apply it again when it differs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from autop.errors import MalformedLine, RejectedValue

Settings = Mapping[str, str]
"""Key to value, in the order of writing."""

MAX_FILE = 1024 * 1024
"""Bytes of the largest file a device takes (its web import ends at 1 MB)."""
MAX_LINE = 1024
"""Characters of the longest line an operator may write; far above every value field of the devices."""
MAX_PASSWORD = 63
"""Characters of the longest SIP password."""
MAX_LABEL = 63
"""Characters of the longest label."""
MAX_URL = 127
"""Characters of the autop URL field."""

REJECTED_IN_TEXT = "%'=&"
"""What labels and SIP passwords must not hold: there is no quoting and no escape."""

_KEY = re.compile(r"Config(?:\.[A-Za-z0-9_-]{1,40}){2,3}", re.ASCII)
_LINE = re.compile(r"[ \t]*(Config(?:\.[A-Za-z0-9_-]{1,40}){2,3})[ \t]*=(.*)", re.ASCII | re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9._:/*#;+()-]{0,63}", re.ASCII)
"""A value that every key takes: most are, and one look at them is enough."""
_PLAIN_LABEL = re.compile(r"(?:[A-Za-z0-9._/()-]+(?: [A-Za-z0-9._/()-]+)*)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TEXT_ITEM = re.compile(r"(?:Label|DisplayName|UserName|AuthName|RelayName[A-D]|Pwd|Password)(?:\d{1,2})?", re.ASCII)
_SECRET_ITEM = re.compile(
    r"[A-Za-z0-9_-]{0,40}(?:Pwd|Password|Passwd|Pass|Key|Token|Code|Pin|Secret)(?:\d{1,2}|16Mac)?", re.ASCII | re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@]*@|[^/]*/autop/)")
MASK = "********"
"""Stands for a secret value where people read; sent back, it keeps the value that is stored."""


@dataclass(frozen=True, slots=True)
class AsRead:
    """What a device made of a file: the settings it understood and how many lines it skipped."""

    settings: dict[str, str]
    skipped: int


@dataclass(frozen=True, slots=True)
class Commands:
    """What an operator's lines mean: settings (of a repeated key the last), the rows that a later row replaced, the faults."""

    settings: dict[str, str]
    replaced: tuple[int, ...]
    faults: tuple[MalformedLine, ...]


@lru_cache(maxsize=4096)
def is_key(text: str) -> bool:
    """Whether `text` is a setting's full name: `Config` and two or three parts (`Config.Firmware.Url` has two)."""
    return _KEY.fullmatch(text) is not None


def is_secret(key: str) -> bool:
    """Whether a value under `key` is to be masked where people read it (previews, diffs)."""
    return _SECRET_ITEM.fullmatch(key.rpartition(".")[2]) is not None


def masked(key: str, value: str) -> str:
    """`value` as people may read it: the mask for a secret, also for a URL that holds a login or a device's token."""
    return MASK if value and (is_secret(key) or _SECRET_VALUE.match(value)) else value


def check_value(key: str, value: str) -> str:
    """`value`, if a device takes it under `key`. Raises RejectedValue for control characters, line ends, a leading or
    trailing blank (readers strip it), characters that labels and passwords reject, and what is too long."""
    if _PLAIN.fullmatch(value):
        return value
    if _CONTROL.search(value):
        raise RejectedValue(key, "control characters and line ends are not allowed")
    if value != value.strip(" \t"):
        raise RejectedValue(key, "a blank at either end would be lost")
    if len(value) > MAX_LINE - len(key) - 3:
        raise RejectedValue(key, f"a line holds at most {MAX_LINE} characters")
    is_text, is_password = _kind(key)
    if is_text and any(mark in value for mark in REJECTED_IN_TEXT):
        raise RejectedValue(key, "the characters % ' = & are not allowed here")
    if is_password and len(value) > MAX_PASSWORD:
        raise RejectedValue(key, f"a password has at most {MAX_PASSWORD} characters")
    if key == "Config.Autoprovision.GENERAL.Url" and len(value) > MAX_URL:
        raise RejectedValue(key, f"the autop URL has at most {MAX_URL} characters")
    return value


@lru_cache(maxsize=4096)
def _kind(key: str) -> tuple[bool, bool]:
    """Whether a value under `key` is text that devices show or log in with, and whether it is a SIP password."""
    item = key.rpartition(".")[2]
    return _TEXT_ITEM.fullmatch(item) is not None, item == "Pwd"


def label(text: str) -> str:
    """`text` as a device can show it: what it would reject becomes a blank, runs of blanks become one, at most 63 characters.

    A label is for people; a site's odd name must never cost a device its configuration, so this repairs instead of refusing.
    """
    if len(text) <= MAX_LABEL and _PLAIN_LABEL.fullmatch(text):
        return text
    kept = "".join(" " if mark in REJECTED_IN_TEXT else mark for mark in _CONTROL.sub(" ", text))
    return " ".join(kept.split())[:MAX_LABEL].rstrip()


def parse_line(line: str, row: int = 1) -> tuple[str, str]:
    """Key and value of one line that an operator wrote. Raises MalformedLine with the row and the reason."""
    if len(line) > MAX_LINE:
        raise MalformedLine(row, f"longer than {MAX_LINE} characters")
    if _CONTROL.search(line.replace("\t", " ")):
        raise MalformedLine(row, "control characters and line ends are not allowed")
    found = _LINE.fullmatch(line)
    if found is None:
        raise MalformedLine(row, "not of the form Config.<Group>.<SECTION>.<Item> = value")
    try:
        return found[1], check_value(found[1], found[2].strip(" \t"))
    except RejectedValue as rejected:
        raise MalformedLine(row, rejected.reason) from None


def parse_commands(lines: Iterable[str]) -> Commands:
    """Read an operator's lines, all faults at once. Blank lines and `#` comments are passed over; the last of equal keys wins."""
    settings: dict[str, str] = {}
    rows: dict[str, tuple[int, str]] = {}
    replaced: list[int] = []
    faults: list[MalformedLine] = []
    for row, line in enumerate(lines, 1):
        if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
            continue
        try:
            key, value = parse_line(line, row)
        except MalformedLine as fault:
            faults.append(fault)
            continue
        earlier = rows.pop(key.lower(), None)
        if earlier is not None:
            replaced.append(earlier[0])
            del settings[earlier[1]]
        rows[key.lower()] = (row, key)
        settings[key] = value
    return Commands(settings, tuple(sorted(replaced)), tuple(faults))


def write(settings: Settings) -> bytes:
    """The file: a line per setting in the order given, UTF-8, LF. Raises RejectedValue before anything a device would reject."""
    lines = []
    for key, value in settings.items():
        if not is_key(key):
            raise RejectedValue(repr(key), "not a key of the form Config.<Group>.<SECTION>.<Item>")
        lines.append(f"{key} = {check_value(key, value)}\n")
    return "".join(lines).encode()


def read_as_device(file: bytes) -> AsRead:
    """Read a file the way a device does: lines it cannot parse are skipped, later keys win, case does not matter.

    Undecodable bytes spoil their own line only. Keys come back in the case they were first seen in.
    """
    settings: dict[str, str] = {}
    spelling: dict[str, str] = {}
    skipped = 0
    for raw in file[:MAX_FILE].split(b"\n"):
        line = raw.removesuffix(b"\r").strip(b" \t")
        if not line or line.startswith(b"#"):
            continue
        found = _read_line(line)
        if found is None:
            skipped += 1
            continue
        key, value = found
        settings[spelling.setdefault(key.lower(), key)] = value
    return AsRead(settings, skipped)


def _read_line(line: bytes) -> tuple[str, str] | None:
    try:
        found = _LINE.fullmatch(line.decode())
    except UnicodeDecodeError:
        return None
    if found is None or _CONTROL.search(found[2].replace("\t", " ")):
        return None
    return found[1], found[2].strip(" \t")
