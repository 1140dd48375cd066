"""`/call-log`, `/door-log`, `/audit`: what happened, newest first."""

import json
from typing import Any

from pydantic import BaseModel, Field

from admin_api.calls import CallOf
from admin_api.models import Timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, SiteFilter, log_shelves, page
from admin_api.permissions import Permission
from admin_api.problems import documented
from admin_api.routing import needs, router
from registry.logs import AuditEntry, CallRecord, DoorEvent
from registry.store import Stored

routes = router()
_LIST = ("invalid-fields", "malformed-cursor")


class CallStepView(BaseModel):
    """One step of a call: seconds since it began, what, for whose account, and why. See docs/push.md."""

    at: float
    event: str
    account: str
    reason: str


class CallEntry(BaseModel):
    """One call."""

    id: str
    site: str
    started: Timestamp
    caller: str
    dialled: str
    rang: list[str]
    answered_by: str
    ring_seconds: float
    talk_seconds: float
    result: str
    ended_by: str
    status: int = Field(description="The SIP status that ended its beginning.")
    call_id: str
    woken: list[str] = Field(description="Accounts whose apps were sent a push.")
    missed: list[str] = Field(description="Accounts that rang or were woken in vain, in a call that nobody answered.")
    trace: list[CallStepView] = Field(description="Why a phone rang, or did not: at most 64 steps.")


class DoorEntry(BaseModel):
    """One entry of the door log; `opened` only where the device itself said so."""

    id: str
    site: str
    at: Timestamp
    mac: str
    relay: int = Field(description="From 1; 0 where somebody called and was not let in.")
    method: str = Field(description="How: an access method, exit-button, web or other; call where nobody opened.")
    opened: bool
    by: str
    call_id: str
    detail: str


class AuditView(BaseModel):
    """One change: who did what to which thing. Versions are 0 where the thing was not, or is no more, there."""

    id: str
    at: Timestamp
    actor: str
    action: str
    object: str
    site: str
    before: int | None
    after: int | None
    changed: list[str] = Field(description="The fields that changed, by name.")
    note: str


def _call(stored: Stored[CallRecord]) -> CallEntry:
    call = stored.record
    return CallEntry(
        id=call.id,
        site=call.site,
        started=timestamp(call.started),
        caller=call.caller,
        dialled=call.dialled,
        rang=list(call.rang),
        answered_by=call.answered_by,
        ring_seconds=call.ring_seconds,
        talk_seconds=call.talk_seconds,
        result=call.result.value,
        ended_by=call.ended_by,
        status=call.status,
        call_id=call.call_id,
        woken=list(call.woken),
        missed=list(call.missed),
        trace=[CallStepView(at=step.at, event=step.event.value, account=step.account, reason=step.reason) for step in call.trace],
    )


def _door(stored: Stored[DoorEvent]) -> DoorEntry:
    event = stored.record
    return DoorEntry(
        id=event.id,
        site=event.site,
        at=timestamp(event.at),
        mac=event.mac.text,
        relay=event.relay,
        method=event.method,
        opened=event.opened,
        by=event.by,
        call_id=event.call_id,
        detail=event.detail,
    )


def _audit(stored: Stored[AuditEntry]) -> AuditView:
    entry, detail = stored.record, _detail(stored.record.detail)
    back = detail.get("after_back")
    return AuditView(
        id=entry.id,
        at=timestamp(entry.at),
        actor=entry.actor,
        action=entry.action,
        object=entry.object,
        site=entry.site,
        before=detail.get("before"),
        after=stored.version - back if back else back,
        changed=detail.get("changed", []),
        note=detail.get("note", ""),
    )


def _detail(text: str) -> dict[str, Any]:
    """What audit.py wrote; any other text (entries of other parts of the gateway) is a note."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"note": text}
    return found if isinstance(found, dict) else {"note": text}


@routes.get("/call-log", tags=["logs"], responses=documented(*_LIST))
@needs(Permission.LOGS_READ)
async def list_calls(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[CallEntry]:
    """The call log, newest first."""
    return await page(call, paging, CallRecord, log_shelves(call, site), _call, newest_first=True)


@routes.get("/door-log", tags=["logs"], responses=documented(*_LIST))
@needs(Permission.LOGS_READ)
async def list_door_events(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[DoorEntry]:
    """The door log, newest first."""
    return await page(call, paging, DoorEvent, log_shelves(call, site), _door, newest_first=True)


@routes.get("/audit", tags=["logs"], responses=documented("forbidden", *_LIST))
@needs(Permission.AUDIT_READ)
async def list_audit(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[AuditView]:
    """Every change, newest first."""
    return await page(call, paging, AuditEntry, log_shelves(call, site), _audit, newest_first=True)
