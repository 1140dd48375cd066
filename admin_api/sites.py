"""`/sites`: offices and communities. Calls, contacts, openings and tokens never cross a site's border."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Response
from pydantic import AfterValidator, Field

from admin_api.audit import changed_fields
from admin_api.autop_scopes import MAX_SCOPES, forget_scope
from admin_api.calls import Call, CallOf
from admin_api.connectors import remove_connectors
from admin_api.credentials import new_id
from admin_api.models import Body, Flag, Name, RingSeconds, Timestamp, Whole, check_time_zone, merged, timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, page
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented
from admin_api.roster import Delta, enrol, roster_of
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.configuration import AutopCommands
from registry.enrolment import EnrolmentWindow, site_window
from registry.records import Site, SiteRoster
from registry.ring_plan import DEFAULT_RING_SECONDS, OnReject
from registry.store import Stored
from registry.trunk import SiteLandlines

routes = router()
ON_REJECT = "What a rejection does to the call: `next-stage` rings on, `end` ends it."
_RING_RULES = frozenset(("ring_seconds", "on_reject", "app_first"))


class SiteBody(Body):
    """A site."""

    name: Name
    time_zone: Annotated[str, AfterValidator(check_time_zone), Field(examples=["Europe/Berlin"])] = "UTC"
    log_unopened_calls: Annotated[Flag, Field(description="Whether a call whose door was not opened enters the door log.")] = True
    ring_seconds: RingSeconds = DEFAULT_RING_SECONDS
    on_reject: Annotated[OnReject, Field(description=ON_REJECT)] = OnReject.NEXT_STAGE
    app_first: Annotated[
        Flag, Field(description="Call type 3 rings the app, then monitors and guard phones, then the phone (manual, L155).")
    ] = False
    app_grace_hours: Annotated[
        Whole, Field(ge=0, le=24 * 90, description="How long apps go on after their subscription has run out.")
    ] = 72
    allow_forward: Annotated[
        Flag, Field(description="Whether operators may forward ports of the site's devices (ssh, RTSP): `portico forward`.")
    ] = False


class SiteView(SiteBody):
    """A site as the gateway holds it."""

    id: str
    created: Timestamp


def _body(site: Site) -> SiteBody:
    return SiteBody(
        name=site.name,
        time_zone=site.time_zone,
        log_unopened_calls=site.log_unopened_calls,
        ring_seconds=site.ring_seconds,
        on_reject=site.on_reject,
        app_first=site.app_first,
        app_grace_hours=site.app_grace_hours,
        allow_forward=site.allow_forward,
    )


def _view(stored: Stored[Site]) -> SiteView:
    site = stored.record
    return SiteView(**_body(site).model_dump(), id=site.id, created=timestamp(site.created))


async def _list_scoped(call: Call, paging: PagingOf) -> ListPage[SiteView]:
    """The sites of a token that is limited to some: at most 100, one page."""
    found = [await call.ports.store.get(Site, site) for site in sorted(call.caller.sites)]
    return ListPage(items=[_view(stored) for stored in found if stored is not None], next=None)


@routes.post(
    "/sites", status_code=201, tags=["sites"], response_model=SiteView, responses=documented("forbidden", "invalid-fields")
)
@needs(Permission.SITES_WRITE)
async def create_site(call: CallOf, body: SiteBody) -> Response:
    """Create a site. Needs a token for every site."""

    async def attempt(work: Work) -> Answer:
        if not call.caller.everywhere:
            raise Problem("forbidden", "A token that is limited to some sites cannot create one.")
        site = Site(id=new_id(call.ports.entropy), created=call.wall, **body.model_dump())
        work.create(site, action="site.created", object=f"site/{site.id}", site=site.id)
        work.put(SiteRoster(site.id), expect=0)
        return Answer(201, _view(Stored(site, 0)), of=site, location=f"/api/v1/sites/{site.id}")

    return await run(call, attempt)


@routes.get("/sites", tags=["sites"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.SITES_READ)
async def list_sites(call: CallOf, paging: PagingOf) -> ListPage[SiteView]:
    """The sites in the token's scope."""
    if call.caller.everywhere:
        return await page(call, paging, Site, (Shelf("all", ""),), _view)
    return await _list_scoped(call, paging)


@routes.get("/sites/{site}", tags=["sites"], response_model=SiteView, responses=documented("not-found"))
@needs(Permission.SITES_READ)
async def get_site(call: CallOf, site: str) -> Response:
    """One site."""
    found = await call.find_site(site)
    return show(call, _view(found), found.version)


@routes.patch(
    "/sites/{site}",
    tags=["sites"],
    response_model=SiteView,
    responses=documented("forbidden", "not-found", "invalid-fields", "precondition-failed", "precondition-required"),
)
@needs(Permission.SITES_WRITE)
async def change_site(call: CallOf, site: str, patch: dict[str, Any]) -> Response:
    """Change a site by a JSON Merge Patch of SiteBody: absent keeps, null clears. Its ring rules hold for every plan at once."""

    async def attempt(work: Work) -> Answer:
        found = await call.find_site(site)
        call.conditions.check_change(found.version)
        roster = await roster_of(call.ports.store, site)
        after = replace(found.record, **merged(SiteBody, _body(found.record), patch).model_dump())
        if after == found.record:
            return Answer(200, _view(found), version=found.version)
        changed = changed_fields(found.record, after)
        work.change(found, after, action="site.changed", object=f"site/{site}", site=site, changed=changed)
        if _RING_RULES.intersection(changed):
            await enrol(work, roster, Delta(site_after=after))
        return Answer(200, _view(Stored(after, 0)), of=after)

    return await run(call, attempt, site=site)


@routes.delete(
    "/sites/{site}",
    status_code=204,
    tags=["sites"],
    responses=documented("forbidden", "not-found", "not-empty", "precondition-failed", "precondition-required"),
)
@needs(Permission.SITES_WRITE)
async def delete_site(call: CallOf, site: str) -> Response:
    """Delete a site that holds no devices, users and departments. Its logs stay."""

    async def attempt(work: Work) -> Answer:
        found = await call.find_site(site)
        call.conditions.check_change(found.version)
        roster = await roster_of(call.ports.store, site)
        held = roster.record
        if held.devices or held.users or held.departments:
            counts = f"{held.devices} devices, {held.users} users and {held.departments} departments"
            raise Problem("not-empty", f"The site still holds {counts}. Delete them first.")
        work.remove(found, action="site.deleted", object=f"site/{site}", site=site)
        work.delete(SiteRoster, site, expect=roster.version)
        work.delete(SiteLandlines, site)
        work.delete(EnrolmentWindow, site_window(site))
        await remove_connectors(work, site)
        for stored in (await call.ports.store.list(AutopCommands, "site", site, limit=MAX_SCOPES)).items:
            await forget_scope(work, stored.record.scope)
        return Answer(204)

    return await run(call, attempt, site=site)
