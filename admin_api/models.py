"""What the bodies of all resources are made of: strict fields, names people read, identifiers, times."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from admin_api.problems import MAX_FIELD_ERRORS, Problem, invalid
from registry.errors import MalformedMac
from registry.mac import MacAddress

M = TypeVar("M", bound=BaseModel)

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_REJECTED_BY_DEVICES = "%'=&"


class Body(BaseModel):
    """A request body: properties it does not know are refused with their path."""

    model_config = ConfigDict(extra="forbid")


def _one_line(text: str) -> str:
    for mark in text:
        if mark in _BIDI or unicodedata.category(mark) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"holds U+{ord(mark):04X}: control, line-end and direction characters are not allowed")
    if text != text.strip():
        raise ValueError("begins or ends with a blank")
    return text


def _device_label(text: str) -> str:
    bad = sorted({mark for mark in text if mark in _REJECTED_BY_DEVICES})
    if bad:
        raise ValueError(f"holds {' '.join(bad)}: devices reject % ' = & in labels")
    return text


def _mac(text: str) -> str:
    try:
        return MacAddress.parse(text).text
    except MalformedMac as malformed:
        raise ValueError(str(malformed)) from None


def ascii_matching(pattern: str, message: str) -> Any:
    """A validator: the whole text matches `pattern` (ASCII), or `message` says what is allowed."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(message)
        return text

    return AfterValidator(check)


def check_time_zone(text: str) -> str:
    """A validator: a name of the IANA time zone database's form. Which zones a device knows is autop's to say."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+\-]{0,31}(/[A-Za-z0-9_+\-]{1,32}){0,2}", text, re.ASCII):
        raise ValueError("not the name of a time zone; for example UTC or Europe/Berlin")
    return text


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_one_line)]
OptionalName = Annotated[str, Field(max_length=64), AfterValidator(_one_line)]
LongName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_one_line)]
FullName = Annotated[str, Field(min_length=1, max_length=129), AfterValidator(_one_line)]
"""First and last name together."""
Label = Annotated[Name, AfterValidator(_device_label)]
"""A name that a device shows: its configuration rejects % ' = &."""
Reference = Annotated[str, Field(max_length=64), AfterValidator(_one_line)]
"""The id of another thing; empty where it is optional and not set."""
Id = Annotated[str, ascii_matching(r"[a-z0-9](?:[a-z0-9\-]{0,62}[a-z0-9])?", "1 to 64 of a-z 0-9 and -, not - at either end")]
MacText = Annotated[str, Field(max_length=64, examples=["0C1105AABBCC"]), AfterValidator(_mac)]
DialNumber = Annotated[str, ascii_matching(r"[0-9]{1,8}", "1 to 8 digits; longer numbers are SIP accounts and landlines")]
OptionalDialNumber = Annotated[str, ascii_matching(r"[0-9]{0,8}", "at most 8 digits; empty for none")]
RingSeconds = Annotated[StrictInt, Field(ge=1, le=300, description="How long a stage rings.")]
Warnings = Annotated[
    list[str], Field(default_factory=list, description="What the change that was just made means; empty when read later.")
]
Flag = StrictBool
Whole = StrictInt
Floor = Annotated[str, ascii_matching(r"[A-Za-z0-9\-]{1,8}", "a floor is 1 to 8 letters, digits or -")]
Floors = Annotated[list[Floor], Field(default_factory=list, max_length=10, description="At most 10 (manual, Floor).")]
Timestamp = Annotated[str, Field(description="RFC 3339, UTC.", examples=["2026-11-23T03:00:00.000Z"])]


def timestamp(wall: float) -> str:
    """Wall-clock seconds as RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", text, re.ASCII):
        raise ValueError("not an RFC 3339 time with its zone; for example 2027-01-31T00:00:00Z")
    return timestamp(wall_clock(text))


Instant = Annotated[str, AfterValidator(_instant), Field(max_length=40, examples=["2027-01-31T00:00:00Z"])]
"""A time that a caller sets; kept in UTC."""


def wall_clock(text: str) -> float:
    """Wall-clock seconds of an RFC 3339 time. Raises ValueError for a day that no calendar has."""
    return datetime.fromisoformat(text).timestamp()


def optional_timestamp(wall: float | None) -> str | None:
    """As `timestamp`; None stays None."""
    return None if wall is None else timestamp(wall)


def merged(model: type[M], present: M, patch: dict[str, Any]) -> M:
    """`present` after a JSON Merge Patch (RFC 7396): absent keeps, null clears, everything else replaces.

    Only the top level is merged: lists and the objects in them are replaced whole. The result is held to the same rules as
    a PUT. Raises Problem `invalid-fields` with all faults at once.
    """
    fields = present.model_dump(mode="json")
    for name, value in patch.items():
        if value is None and name in fields:
            del fields[name]
        else:
            fields[name] = value
    try:
        return model.model_validate(fields)
    except ValidationError as faults:
        raise invalid(*_faults(faults)) from None


def _faults(faults: ValidationError) -> list[tuple[str, str]]:
    found = faults.errors(include_url=False, include_context=False, include_input=False)[:MAX_FIELD_ERRORS]
    return [("/" + "/".join(str(step) for step in item["loc"])[:127], plain(item["msg"])) for item in found]


def plain(message: str) -> str:
    """Pydantic's message without its own prefix, not endless."""
    return message.removeprefix("Value error, ")[:256]


def check_patch(patch: object) -> dict[str, Any]:
    """A PATCH body that is an object. Raises Problem `invalid-fields`."""
    if not isinstance(patch, dict):
        raise Problem("invalid-fields", errors=[("", "a JSON Merge Patch of a thing is an object")])
    return patch
