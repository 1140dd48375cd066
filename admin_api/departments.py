"""`/departments`: the parts of a site that users and devices belong to. What belongs to none is in the Public Area."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field

from admin_api.audit import changed_fields
from admin_api.autop_scopes import forget_scope
from admin_api.calls import Call, CallOf
from admin_api.credentials import new_id
from admin_api.models import Body, Floors, Id, LongName, OptionalDialNumber, Warnings, merged
from admin_api.pages import ListPage, PagingOf, SiteQuery, page, shelves
from admin_api.permissions import Permission
from admin_api.plans import warnings
from admin_api.problems import Problem, documented
from admin_api.roster import Delta, enrol, roster_of
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.configuration import department_scope
from registry.records import Department, Device, User
from registry.ring_plan import RingPlan
from registry.store import Stored

routes = router()


class DepartmentBody(Body):
    """A department. Its number rings its guard phones (where it has none, the site's) and the monitors of it and its users."""

    site: Id
    name: LongName
    number: Annotated[OptionalDialNumber, Field(description="Unique at the site, among users' numbers too.")] = ""
    floors: Floors


class DepartmentView(DepartmentBody):
    """A department as the gateway holds it."""

    id: str
    warnings: Warnings


def _body(department: Department) -> DepartmentBody:
    return DepartmentBody(site=department.site, name=department.name, number=department.number, floors=list(department.floors))


def _view(stored: Stored[Department]) -> DepartmentView:
    return _shown(stored.record, {})


def _shown(department: Department, plans: Mapping[str, RingPlan]) -> DepartmentView:
    plan = plans.get(department.id)
    told = warnings(plan) if plan is not None else []
    return DepartmentView(**_body(department).model_dump(), id=department.id, warnings=told)


def _record(body: DepartmentBody, key: str) -> Department:
    return Department(id=key, site=body.site, name=body.name, number=body.number, floors=tuple(body.floors))


async def _find(call: Call, department: str) -> Stored[Department]:
    return await call.find(Department, department, "department", lambda record: record.site)


@routes.post(
    "/departments",
    status_code=201,
    tags=["departments"],
    response_model=DepartmentView,
    responses=documented("forbidden", "not-found", "number-taken", "invalid-fields"),
)
@needs(Permission.DEPARTMENTS_WRITE)
async def create_department(call: CallOf, body: DepartmentBody) -> Response:
    """Create a department of a site."""

    async def attempt(work: Work) -> Answer:
        await call.find_site(body.site)
        roster = await roster_of(call.ports.store, body.site)
        department = _record(body, new_id(call.ports.entropy))
        path = f"department/{department.id}"
        work.create(department, action="department.created", object=path, site=body.site)
        plans = await enrol(work, roster, Delta(department_after=department))
        return Answer(201, _shown(department, plans), of=department, location=f"/api/v1/departments/{department.id}")

    return await run(call, attempt, site=body.site)


@routes.get("/departments", tags=["departments"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.DEPARTMENTS_READ)
async def list_departments(call: CallOf, paging: PagingOf, site: SiteQuery) -> ListPage[DepartmentView]:
    """The departments of a site."""
    return await page(call, paging, Department, shelves(call, site), _view)


@routes.get("/departments/{department}", tags=["departments"], response_model=DepartmentView, responses=documented("not-found"))
@needs(Permission.DEPARTMENTS_READ)
async def get_department(call: CallOf, department: str) -> Response:
    """One department."""
    found = await _find(call, department)
    return show(call, _view(found), found.version)


@routes.patch(
    "/departments/{department}",
    tags=["departments"],
    response_model=DepartmentView,
    responses=documented(
        "forbidden",
        "not-found",
        "site-fixed",
        "number-taken",
        "invalid-fields",
        "precondition-failed",
        "precondition-required",
    ),
)
@needs(Permission.DEPARTMENTS_WRITE)
async def change_department(call: CallOf, department: str, patch: dict[str, Any]) -> Response:
    """Change a department by a JSON Merge Patch: absent keeps, null clears. Users' copies of its floors do not follow."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, department)
        call.conditions.check_change(found.version)
        before = found.record
        roster = await roster_of(call.ports.store, before.site)
        after = _record(merged(DepartmentBody, _body(before), patch), before.id)
        if after.site != before.site:
            raise Problem("site-fixed", "A department stays at its site.")
        if after == before:
            return Answer(200, _view(found), version=found.version)
        path, changed = f"department/{department}", changed_fields(before, after)
        work.change(found, after, action="department.changed", object=path, site=before.site, changed=changed)
        plans = await enrol(work, roster, Delta(department_before=before, department_after=after))
        return Answer(200, _shown(after, plans), of=after)

    return await run(call, attempt)


@routes.delete(
    "/departments/{department}",
    status_code=204,
    tags=["departments"],
    responses=documented("forbidden", "not-found", "not-empty", "precondition-failed", "precondition-required"),
)
@needs(Permission.DEPARTMENTS_WRITE)
async def delete_department(call: CallOf, department: str) -> Response:
    """Delete a department that no user and no device belongs to."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, department)
        call.conditions.check_change(found.version)
        store, site = call.ports.store, found.record.site
        roster = await roster_of(store, site)
        for kind, word in ((User, "users"), (Device, "devices")):
            if (await store.list(kind, "department", department, limit=1)).items:
                raise Problem("not-empty", f"The department still has {word}. Move them to another one first.")
        work.remove(found, action="department.deleted", object=f"department/{department}", site=site)
        await forget_scope(work, department_scope(department))
        await enrol(work, roster, Delta(department_before=found.record))
        return Answer(204)

    return await run(call, attempt)
