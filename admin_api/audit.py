"""The audit: who changed what, written in the batch of the change itself, so there is never the one without the other.

An entry names the fields that changed, not their values: no secret and no personal detail ends there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from registry.logs import AuditEntry, time_key

_LONGEST_DETAIL = 2048


@dataclass(frozen=True, slots=True)
class Noted:
    """One change, as the audit tells it. `before` and `after` are versions; 0: it was not, or is no more, there."""

    action: str
    object: str
    site: str = ""
    before: int = 0
    after_back: int = 0
    changed: tuple[str, ...] = ()
    note: str = ""


def entry(noted: Noted, actor: str, wall: float, serial: int) -> AuditEntry:
    """The record of a change. Its key sorts by time.

    The version after the change is not known before the batch is written, only how many writes the entry stands behind the
    change (`after_back`); sequence numbers of a batch follow one another, so a reader takes it off the entry's own version.
    """
    detail: dict[str, Any] = {"before": noted.before, "after_back": noted.after_back}
    if noted.changed:
        detail["changed"] = list(noted.changed)
    if noted.note:
        detail["note"] = noted.note
    text = json.dumps(detail, separators=(",", ":"))
    assert len(text) <= _LONGEST_DETAIL
    return AuditEntry(
        id=time_key(wall, serial),
        at=wall,
        actor=actor,
        action=noted.action,
        object=noted.object,
        site=noted.site,
        detail=text,
    )


def changed_fields(before: object, after: object, *, leave_out: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the fields in which two records of one class differ."""
    assert type(before) is type(after)
    names = [found.name for found in fields(before)]  # type: ignore[arg-type]
    return tuple(name for name in names if name not in leave_out and getattr(before, name) != getattr(after, name))
