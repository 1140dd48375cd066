"""`/remote-sessions`: Remote Control. A session opens one device's own web page, once, for a while, for whoever has the link.

Everything goes through the store: whichever node serves the session sees it begin, and end, through the change feed.
"""

from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.models import Body, Timestamp, Whole, optional_timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, SiteQuery, page, shelves
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.records import RemoteSession, Site
from registry.store import Stored
from tunnel.session import IDLE_SECONDS, SESSION_SECONDS, closed, new_session

routes = router()


class SessionBody(Body):
    """How long a Remote Control session may last. Both may be left out."""

    seconds: Annotated[Whole, Field(ge=60, le=int(SESSION_SECONDS), description="Until it ends in any case.")] = int(
        SESSION_SECONDS
    )
    idle_seconds: Annotated[Whole, Field(ge=60, le=int(SESSION_SECONDS), description="Without use, until it ends.")] = (
        IDLE_SECONDS
    )


class SessionView(BaseModel):
    """A Remote Control session, without its link."""

    id: str
    mac: str
    site: str
    opened_by: str
    created: Timestamp
    link_expires: Timestamp
    expires: Timestamp
    idle_seconds: int
    used: str | None = Field(description="When the link was opened; null if it never was.")
    ended: str | None
    end_reason: str
    state: str = Field(description="waiting (the link was not opened yet), open, or ended.")
    service: str = Field(description="web: the device's own page; ssh or rtsp: a port forward.")
    address: str = Field(description="Who opened it; empty if nobody did.")
    requests: int = Field(
        description="Requests, or connections of a forward. Half a minute old at most while it runs; so is the rest."
    )
    bytes_to_device: int
    bytes_to_visitor: int
    pages: list[str] = Field(
        description="Pages opened and changes made, in order of the first time, without queries; at most 50."
    )


class NewSession(SessionView):
    """A session just made: the only time its link is shown."""

    link: str = Field(description="Open it in a browser. It works once.")
    online: bool = Field(
        description="Whether the device can be reached now, over its channel or its connector; else the page can only say so."
    )


def session_fields(session: RemoteSession, wall: float) -> dict[str, object]:
    return {
        "id": session.id,
        "mac": session.mac.text,
        "site": session.site,
        "opened_by": session.opened_by,
        "created": timestamp(session.created),
        "link_expires": timestamp(session.ticket_expires),
        "expires": timestamp(session.expires),
        "idle_seconds": session.idle_seconds,
        "used": optional_timestamp(session.used),
        "ended": optional_timestamp(session.ended),
        "end_reason": session.end_reason,
        "state": _state(session, wall),
        "service": session.service,
        "address": session.address,
        "requests": session.requests,
        "bytes_to_device": session.bytes_to_device,
        "bytes_to_visitor": session.bytes_to_visitor,
        "pages": list(session.pages),
    }


def _state(session: RemoteSession, wall: float) -> str:
    over = session.ended is not None or wall >= session.expires
    if over or (session.used is None and wall >= session.ticket_expires):
        return "ended"
    return "waiting" if session.used is None else "open"


async def free_port(work: Work) -> int:
    """A port for a session where each has one of its own; 0 where they have host names. Raises Problem `too-many-sessions`.

    A port is free again when its session is over; that it is, is written here if nobody did.
    """
    call = work.call
    ports = call.ports.remote_control.ports
    start = int.from_bytes(call.ports.entropy(4), "big")
    for turn in range(len(ports)):
        port = ports[(start + turn) % len(ports)]
        holder = await call.ports.store.get_unique(RemoteSession, "port", str(port))
        if holder is None:
            return port
        if _state(holder.record, call.wall) == "ended":
            work.put(closed(holder.record, "expired", call.wall), expect=holder.version)
            return port
    if ports:
        raise Problem("too-many-sessions", headers={"Retry-After": "60"})
    return 0


async def _find(call: Call, session: str) -> Stored[RemoteSession]:
    return await call.find(RemoteSession, session, "remote session", lambda record: record.site)


def _view(call: Call, stored: Stored[RemoteSession]) -> SessionView:
    return SessionView.model_validate(session_fields(stored.record, call.wall))


@routes.post(
    "/devices/{mac}/remote-sessions",
    status_code=201,
    tags=["remote-sessions"],
    response_model=NewSession,
    responses=documented("forbidden", "malformed-mac", "not-found", "invalid-fields", "too-many-sessions"),
)
@needs(Permission.REMOTE_SESSIONS_WRITE)
async def open_session(call: CallOf, mac: str, body: SessionBody | None = None) -> Response:
    """Open the device's own web page for one browser. Answers the link once; it works once and within a minute."""
    address, wanted = parse_mac(mac), body or SessionBody()

    async def attempt(work: Work) -> Answer:
        device = (await find_device(call, address)).record
        made = new_session(
            mac=device.mac,
            site=device.site,
            opened_by=call.caller.actor,
            wall=call.wall,
            entropy=call.ports.entropy,
            session_seconds=float(wanted.seconds),
            idle_seconds=wanted.idle_seconds,
            port=await free_port(work),
        )
        work.require(type(device), device.key)
        work.require(Site, device.site)
        path, seen = f"remote-session/{made.record.id}", call.ports.presence(device)
        work.create(made.record, action="remote-session.opened", object=path, site=device.site, note=f"device {device.mac}")
        answer = NewSession.model_validate(
            {
                **session_fields(made.record, call.wall),
                "link": call.ports.remote_control.link(made.record, made.link_path),
                "online": seen.channel or seen.connector,
            }
        )
        return Answer(201, answer, of=made.record, location=f"/api/v1/remote-sessions/{made.record.id}")

    return await run(call, attempt)


@routes.get(
    "/devices/{mac}/remote-sessions",
    tags=["remote-sessions"],
    responses=documented("forbidden", "malformed-mac", "not-found", "invalid-fields", "malformed-cursor"),
)
@needs(Permission.REMOTE_SESSIONS_READ)
async def list_device_sessions(call: CallOf, mac: str, paging: PagingOf) -> ListPage[SessionView]:
    """The Remote Control sessions of a device."""
    device = await find_device(call, parse_mac(mac))
    site = device.record.site
    where = (Shelf("mac", device.record.mac.text),)
    return await page(
        call, paging, RemoteSession, where, lambda stored: _view(call, stored), keep=lambda found: found.site == site
    )


@routes.get("/remote-sessions", tags=["remote-sessions"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.REMOTE_SESSIONS_READ)
async def list_sessions(call: CallOf, paging: PagingOf, site: SiteQuery) -> ListPage[SessionView]:
    """The Remote Control sessions of a site."""
    return await page(call, paging, RemoteSession, shelves(call, site), lambda stored: _view(call, stored))


@routes.get(
    "/remote-sessions/{session}",
    tags=["remote-sessions"],
    response_model=SessionView,
    responses=documented("forbidden", "not-found"),
)
@needs(Permission.REMOTE_SESSIONS_READ)
async def get_session(call: CallOf, session: str) -> Response:
    """One Remote Control session. Its state follows the clock, so it has no 304."""
    found = await _find(call, session)
    return show(call, _view(call, found), found.version, may_be_unmodified=False)


@routes.delete(
    "/remote-sessions/{session}",
    status_code=204,
    tags=["remote-sessions"],
    responses=documented("forbidden", "not-found", "precondition-failed"),
)
@needs(Permission.REMOTE_SESSIONS_WRITE)
async def revoke_session(call: CallOf, session: str) -> Response:
    """End a Remote Control session: its connections close within a second. Twice is no error.

    Needs no If-Match: whatever the session did meanwhile, whoever revokes it means it. If sent, it counts.
    """

    async def attempt(work: Work) -> Answer:
        found = await _find(call, session)
        if call.conditions.if_match is not None:
            call.conditions.check_change(found.version)
        over = closed(found.record, "revoked", call.wall)
        if over is not found.record:
            path = f"remote-session/{session}"
            changed = ("ended", "end_reason")
            work.change(found, over, action="remote-session.revoked", object=path, site=over.site, changed=changed)
        return Answer(204)

    return await run(call, attempt)
