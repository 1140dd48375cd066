"""`/trunks`: the ways to carriers that landlines are reached over; `/sites/{site}/landlines`: what a site may spend on them.

A token that is limited to some sites sees and changes a trunk only if all of the trunk's sites are its own: a trunk costs
money wherever it is used.
"""

from dataclasses import replace
from typing import Any

from fastapi import Response

from admin_api.audit import changed_fields
from admin_api.auth import Caller
from admin_api.calls import Call, CallOf
from admin_api.credentials import new_id
from admin_api.models import merged
from admin_api.pages import ListPage, PagingOf, Shelf, page
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid, not_found
from admin_api.routing import needs, router
from admin_api.trunk_models import (
    LandlinesBody,
    LandlinesView,
    TrunkBody,
    TrunkStatus,
    TrunkView,
    body_of,
    faults_of,
    landlines_view,
    leads_elsewhere,
    record_of,
    status_of,
    trunk_site,
    view_of,
)
from admin_api.work import Answer, Work, run, show
from registry.records import Site
from registry.store import Stored
from registry.trunk import SiteLandlines, Trunk, trunk_secret

routes = router()


def _view(stored: Stored[Trunk]) -> TrunkView:
    return view_of(stored.record)


def _covers(caller: Caller, trunk: Trunk) -> bool:
    return caller.everywhere or (bool(trunk.sites) and all(caller.sees(site) for site in trunk.sites))


async def _find(call: Call, trunk: str) -> Stored[Trunk]:
    found = await call.ports.store.get(Trunk, trunk)
    if found is None or not _covers(call.caller, found.record):
        raise not_found("trunk", trunk)
    return found


async def _checked(work: Work, body: TrunkBody, present: Trunk, password: str | None) -> Trunk:
    """The record of a body. `password` None keeps the present one, "" removes it. Raises Problem."""
    call = work.call
    after = record_of(body, present)
    faults = faults_of(body, bool(present.sealed_password) if password is None else bool(password))
    if password is None and present.sealed_password and leads_elsewhere(present, after):
        faults.append(("/password", "give it anew: the trunk's registrar or a gateway is another one"))
    for at, site in enumerate(body.sites):
        if await call.ports.store.get(Site, site) is None or not call.caller.sees(site):
            faults.append((f"/sites/{at}", "there is no such site"))
    if faults:
        raise invalid(*faults)
    if not _covers(call.caller, after):
        raise Problem("forbidden", "A token that is limited to some sites can only set up trunks of these; name them in `sites`.")
    if password is None:
        return after
    sealed = call.ports.vault.seal_text(password, trunk_secret(after.id)) if password else b""
    return replace(after, sealed_password=sealed)


@routes.post(
    "/trunks", status_code=201, tags=["trunks"], response_model=TrunkView, responses=documented("forbidden", "invalid-fields")
)
@needs(Permission.TRUNKS_WRITE)
async def create_trunk(call: CallOf, body: TrunkBody) -> Response:
    """Add a trunk. The gateway registers and probes at once."""

    async def attempt(work: Work) -> Answer:
        empty = Trunk(id=new_id(call.ports.entropy), name="", gateways=(), created=call.wall)
        trunk = await _checked(work, body, empty, body.password.get_secret_value() if body.password else "")
        work.create(trunk, action="trunk.created", object=f"trunk/{trunk.id}", site=trunk_site(trunk))
        return Answer(201, view_of(trunk), of=trunk, location=f"/api/v1/trunks/{trunk.id}")

    return await run(call, attempt)


@routes.get("/trunks", tags=["trunks"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.TRUNKS_READ)
async def list_trunks(call: CallOf, paging: PagingOf) -> ListPage[TrunkView]:
    """The trunks whose sites are all in the token's scope."""
    return await page(call, paging, Trunk, (Shelf("all", ""),), _view, keep=lambda trunk: _covers(call.caller, trunk))


@routes.get("/trunks/{trunk}", tags=["trunks"], response_model=TrunkView, responses=documented("not-found"))
@needs(Permission.TRUNKS_READ)
async def get_trunk(call: CallOf, trunk: str) -> Response:
    """One trunk."""
    found = await _find(call, trunk)
    return show(call, _view(found), found.version)


@routes.get("/trunks/{trunk}/status", tags=["trunks"], response_model=TrunkStatus, responses=documented("not-found"))
@needs(Permission.TRUNKS_READ)
async def get_trunk_status(call: CallOf, trunk: str) -> TrunkStatus:
    """Whether a trunk is registered, and which of its gateways are up, since when."""
    found = await _find(call, trunk)
    return status_of(call.ports.trunk_presence(found.record.id))


@routes.patch(
    "/trunks/{trunk}",
    tags=["trunks"],
    response_model=TrunkView,
    responses=documented("forbidden", "not-found", "invalid-fields", "precondition-failed", "precondition-required"),
)
@needs(Permission.TRUNKS_WRITE)
async def change_trunk(call: CallOf, trunk: str, patch: dict[str, Any]) -> Response:
    """Change a trunk by a JSON Merge Patch: absent keeps (the password too), null clears."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, trunk)
        call.conditions.check_change(found.version)
        body = merged(TrunkBody, body_of(found.record), patch)
        password = None if "password" not in patch else body.password.get_secret_value() if body.password else ""
        after = await _checked(work, body, found.record, password)
        if after == found.record:
            return Answer(200, _view(found), version=found.version)
        changed = changed_fields(found.record, after)
        work.change(found, after, action="trunk.changed", object=f"trunk/{trunk}", site=trunk_site(found.record), changed=changed)
        return Answer(200, view_of(after), of=after)

    return await run(call, attempt)


@routes.delete(
    "/trunks/{trunk}",
    status_code=204,
    tags=["trunks"],
    responses=documented("forbidden", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.TRUNKS_WRITE)
async def delete_trunk(call: CallOf, trunk: str) -> Response:
    """Delete a trunk. Its registration is taken back; calls that go over it go on."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, trunk)
        call.conditions.check_change(found.version)
        work.remove(found, action="trunk.deleted", object=f"trunk/{trunk}", site=trunk_site(found.record))
        return Answer(204)

    return await run(call, attempt)


async def _landlines(call: Call, site: str) -> Stored[SiteLandlines]:
    await call.find_site(site)
    return await call.ports.store.get(SiteLandlines, site) or Stored(SiteLandlines(site), 0)


@routes.get("/sites/{site}/landlines", tags=["trunks"], response_model=LandlinesView, responses=documented("not-found"))
@needs(Permission.TRUNKS_READ)
async def get_landlines(call: CallOf, site: str) -> Response:
    """What a site may spend on landlines; the defaults where nobody has set it."""
    found = await _landlines(call, site)
    return show(call, landlines_view(found.record), found.version)


@routes.put(
    "/sites/{site}/landlines",
    tags=["trunks"],
    response_model=LandlinesView,
    responses=documented("forbidden", "not-found", "invalid-fields", "precondition-failed", "precondition-required"),
)
@needs(Permission.TRUNKS_WRITE)
async def put_landlines(call: CallOf, site: str, body: LandlinesBody) -> Response:
    """Set what a site may spend on landlines. The same body twice is the same as once; another body needs If-Match."""

    async def attempt(work: Work) -> Answer:
        found = await _landlines(call, site)
        after = SiteLandlines(site, tuple(body.allowed_prefixes), body.max_calls)
        if after == found.record and call.conditions.if_match is None:
            return Answer(200, landlines_view(after), version=found.version)
        call.conditions.check_change(found.version)
        work.require(Site, site)
        work.change(
            found,
            after,
            action="landlines.changed",
            object=f"site/{site}/landlines",
            site=site,
            changed=changed_fields(found.record, after),
        )
        return Answer(200, landlines_view(after), of=after)

    return await run(call, attempt, site=site)
