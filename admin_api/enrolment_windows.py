"""`/enrolment-windows`: how long devices of a site, or one device, may fetch a bootstrap configuration (autop/enrolment.py)."""

from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.credentials import new_id
from admin_api.devices import find_device
from admin_api.models import Body, Id, MacText, Timestamp, Whole, optional_timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, SiteFilter, page, shelves
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid, not_found
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from autop.enrolment import MAX_WINDOW_SECONDS, is_open, new_window
from registry.enrolment import Enrolment, EnrolmentWindow, device_window, site_window
from registry.records import Device, Site
from registry.store import Stored

routes = router()


class WindowBody(Body):
    """A window for a site or for one device: exactly one of the two."""

    site: Annotated[Id | None, Field(description="Devices of this site that have not fetched their configuration yet.")] = None
    mac: Annotated[MacText | None, Field(description="This device, also after a factory reset.")] = None
    minutes: Annotated[Whole, Field(ge=1, le=int(MAX_WINDOW_SECONDS // 60), description="How long it is open; at most 7 days.")]


class WindowView(BaseModel):
    """An enrolment window, without its URL."""

    id: str
    site: str
    mac: str | None = Field(description="The one device it is for; null: devices of the site.")
    opened_by: str
    opened: Timestamp
    ends: Timestamp
    state: str = Field(description="open or over.")


class NewWindowView(WindowView):
    """A window just opened: the only time its URL is shown."""

    enrolment_url: str = Field(description="The directory URL for the autop field of every device that is to enrol.")


class EnrolmentView(BaseModel):
    """A device that was given its bootstrap configuration."""

    mac: str
    window: str
    address: str = Field(description="Where it was given to: an IPv4 address, or the /64 of an IPv6 one.")
    bootstrapped: Timestamp
    enrolled: str | None = Field(description="When its first fetch with its own token was complete; null: not yet.")
    contested: bool = Field(description="Whether another address asked for the same device in this window, and was refused.")


def enrolment_view(enrolment: Enrolment) -> EnrolmentView:
    """How a device enrolled last."""
    return EnrolmentView(
        mac=enrolment.mac.text,
        window=enrolment.window,
        address=enrolment.address,
        bootstrapped=timestamp(enrolment.since),
        enrolled=optional_timestamp(enrolment.confirmed),
        contested=enrolment.contested,
    )


def _fields(window: EnrolmentWindow, wall: float) -> dict[str, object]:
    return {
        "id": window.id,
        "site": window.site,
        "mac": window.mac.text if window.mac is not None else None,
        "opened_by": window.opened_by,
        "opened": timestamp(window.opened),
        "ends": timestamp(window.ends),
        "state": "open" if is_open(window, wall) else "over",
    }


def _view(call: Call, stored: Stored[EnrolmentWindow]) -> WindowView:
    return WindowView.model_validate(_fields(stored.record, call.wall))


async def _find(call: Call, window: str) -> Stored[EnrolmentWindow]:
    found = await call.ports.store.get_unique(EnrolmentWindow, "id", window)
    if found is None or not call.caller.sees(found.record.site):
        raise not_found("enrolment window", window)
    return found


@routes.post(
    "/enrolment-windows",
    status_code=201,
    tags=["enrolment"],
    response_model=NewWindowView,
    responses=documented("forbidden", "not-found", "invalid-fields", "already-exists"),
)
@needs(Permission.ENROLMENT_WRITE)
async def open_window(call: CallOf, body: WindowBody) -> Response:
    """Open a window. Answers once the URL that an installer types into the devices, or DHCP hands out.

    A device gets, once, a configuration that holds nothing but the URL with its own new token. There is one window per site
    and one per device; one that is over makes room for the next.
    """
    if (body.site is None) == (body.mac is None):
        raise invalid(("/site", "exactly one of site and mac"))

    async def attempt(work: Work) -> Answer:
        mac = parse_mac(body.mac) if body.mac is not None else None
        if mac is not None:
            site = (await find_device(call, mac)).record.site
            work.require(Device, mac.text)
            scope, of = device_window(mac), f"device {mac}"
        else:
            site = (await call.find_site(body.site or "")).record.id
            work.require(Site, site)
            scope, of = site_window(site), f"site {site}"
        present = await call.ports.store.get(EnrolmentWindow, scope)
        if present is not None and is_open(present.record, call.wall):
            raise Problem("already-exists", f"The {of} has an open window, {present.record.id}. Close it first.")
        made = new_window(
            id=new_id(call.ports.entropy),
            site=site,
            mac=mac,
            opened_by=call.caller.actor,
            now=call.wall,
            seconds=body.minutes * 60.0,
            entropy=call.ports.entropy,
            vault=call.ports.vault,
        )
        path, note = f"enrolment-window/{made.record.id}", f"{of}, {body.minutes} minutes"
        if present is not None:
            work.delete(EnrolmentWindow, scope, expect=present.version)
        work.create(made.record, action="enrolment-window.opened", object=path, site=site, note=note)
        url = call.ports.enrolment_url(made.token)
        answer = NewWindowView.model_validate({**_fields(made.record, call.wall), "enrolment_url": url})
        return Answer(201, answer, of=made.record, location=f"/api/v1/enrolment-windows/{made.record.id}")

    return await run(call, attempt)


@routes.get("/enrolment-windows", tags=["enrolment"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.ENROLMENT_READ)
async def list_windows(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[WindowView]:
    """The windows of a site, or of all sites in the token's scope, over or not. A closed one is gone; the audit has it."""
    return await page(call, paging, EnrolmentWindow, shelves(call, site), lambda stored: _view(call, stored))


@routes.get(
    "/enrolment-windows/{window}",
    tags=["enrolment"],
    response_model=WindowView,
    responses=documented("forbidden", "not-found"),
)
@needs(Permission.ENROLMENT_READ)
async def get_window(call: CallOf, window: str) -> Response:
    """One window. Its state follows the clock, so it has no 304."""
    found = await _find(call, window)
    return show(call, _view(call, found), found.version, may_be_unmodified=False)


@routes.get(
    "/enrolment-windows/{window}/devices",
    tags=["enrolment"],
    responses=documented("forbidden", "not-found", "invalid-fields", "malformed-cursor"),
)
@needs(Permission.ENROLMENT_READ)
async def list_enrolled(call: CallOf, window: str, paging: PagingOf) -> ListPage[EnrolmentView]:
    """The devices that were last given their bootstrap configuration in this window."""
    found = await _find(call, window)
    where = (Shelf("window", found.record.id),)
    return await page(call, paging, Enrolment, where, lambda stored: enrolment_view(stored.record))


@routes.delete(
    "/enrolment-windows/{window}",
    status_code=204,
    tags=["enrolment"],
    responses=documented("forbidden", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.ENROLMENT_WRITE)
async def close_window(call: CallOf, window: str) -> Response:
    """Close a window: from now on its URL, and every one-time URL made from it, is as good as none. What has enrolled stays."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, window)
        call.conditions.check_change(found.version)
        path = f"enrolment-window/{window}"
        work.remove(found, action="enrolment-window.closed", object=path, site=found.record.site)
        return Answer(204)

    return await run(call, attempt)
