"""Autop lines as the API takes and shows them: an error per row, secrets masked, duplicates told."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from autop.cfg_format import MASK, is_secret
from autop.cfg_format import masked as masked_value
from autop.commands import MAX_BYTES, MAX_LINES, check_command, settle
from autop.errors import MalformedLine


def _check_line(line: str) -> str:
    """The row is in the error's path (`/lines/2` is the third line)."""
    try:
        check_command(line)
    except MalformedLine as fault:
        raise ValueError(fault.reason) from None
    return line


def _check_size(lines: list[str]) -> list[str]:
    if sum(len(line.encode()) + 1 for line in lines) > MAX_BYTES:
        raise ValueError(f"all lines together have at most {MAX_BYTES} bytes")
    return lines


AutopLine = Annotated[str, Field(max_length=1024), AfterValidator(_check_line)]
AutopLines = Annotated[list[AutopLine], Field(default_factory=list, max_length=MAX_LINES), AfterValidator(_check_size)]


DROPPED = "Lines of this request that were not retained, because a later one sets the same key."


class DroppedLine(BaseModel):
    """A line that is not retained, because a later one sets the same key."""

    row: int = Field(description="Counts from 1.")
    key: str
    won_by: int = Field(description="The row that is kept.")


def dropped(lines: Sequence[str]) -> list[DroppedLine]:
    """What `settle` drops of good lines."""
    return [DroppedLine(row=one.row, key=one.key, won_by=one.by) for one in settle(lines).dropped]


def masked(line: str) -> str:
    """An autop command as an answer may hold it."""
    key, equals, value = line.partition("=")
    if not equals or line.lstrip().startswith("#"):
        return line
    shown = masked_value(key.strip(), value.strip())
    return f"{key}= {shown}" if shown != value.strip() or is_secret(key.strip()) else line


def unmasked(lines: Sequence[str], stored: Sequence[str]) -> tuple[str, ...]:
    """`lines` with masked values put back from the stored lines of the same key."""
    known = {line.partition("=")[0].strip().lower(): line for line in stored}
    return tuple(known.get(line.partition("=")[0].strip().lower(), line) if _is_mask(line) else line for line in lines)


def _is_mask(line: str) -> bool:
    return line.partition("=")[2].strip() == MASK
