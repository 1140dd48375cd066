"""`/users`: who lives or works at a site. Their ring plans follow in the same batch (roster.py)."""

from dataclasses import dataclass, replace
from typing import Any

from fastapi import Response

from admin_api.app_accounts import drop_link, new_app, remove_apps, rename_apps, with_apps
from admin_api.audit import changed_fields
from admin_api.calls import Call, CallOf
from admin_api.credentials import new_id
from admin_api.models import Id, merged
from admin_api.pages import ListPage, PagingOf, SiteQuery, page, shelves
from admin_api.permissions import Permission
from admin_api.plans import warnings
from admin_api.problems import Problem, documented, invalid
from admin_api.roster import Delta, enrol, number_taken, roster_of
from admin_api.routing import needs, router
from admin_api.user_models import NewUser, UserBody, UserView, body_of, forced, has_app, settings_of, view_fields
from admin_api.work import Answer, Work, run, show
from registry.call_types import CustomPlan
from registry.records import Department, Device, User
from registry.store import Stored

routes = router()
_CHANGE = (
    "forbidden",
    "not-found",
    "site-fixed",
    "number-taken",
    "person-id-taken",
    "too-many-targets",
    "invalid-fields",
    "precondition-failed",
    "precondition-required",
)


@dataclass(frozen=True, slots=True)
class _App:
    """What became of the app accounts: their names, and the password where one was just made."""

    usernames: tuple[str, ...]
    password: str = ""


def _view(stored: Stored[User]) -> UserView:
    return UserView.model_validate(view_fields(stored.record))


async def _find(call: Call, user: str) -> Stored[User]:
    return await call.find(User, user, "user", lambda record: record.site)


async def _check(work: Work, body: UserBody) -> None:
    if body.department:
        department = await work.call.ports.store.get(Department, body.department)
        if department is None or department.record.site != body.site:
            raise invalid(("/department", "the site has no such department"))


async def _app_account(work: Work, body: UserBody, key: str, present: User | None) -> _App:
    """Make, keep or remove the user's app accounts as `body` says: none is left, or one is made where there is none."""
    if not has_app(body):
        if present is not None:
            await remove_apps(work, present.apps)
        return _App(())
    shown_as = f"{body.first_name} {body.last_name}"
    if present is not None and present.apps:
        if f"{present.first_name} {present.last_name}" != shown_as:
            await rename_apps(work, present, shown_as)
        return _App(present.apps)
    account, password = new_app(work.call, body.site, key, shown_as)
    work.put(account, expect=0)
    return _App((account.username,), password)


def _answer(status: int, user: User, app: _App, told: list[str]) -> Answer:
    fields = {**view_fields(user), "warnings": told}
    body: UserView = UserView.model_validate(fields)
    if app.password:
        body = NewUser.model_validate({**fields, "account": {"username": user.app_account, "password": app.password}})
    taken = {
        "site-number": number_taken(user.site, user.number, "another user"),
        "site-person-id": Problem("person-id-taken", f"The person ID belongs to another user of site {user.site}."),
    }
    location = f"/api/v1/users/{user.id}" if status == 201 else None
    return Answer(status, body, of=user, location=location, taken=taken)


async def _add(work: Work, key: str, body: UserBody) -> Answer:
    call = work.call
    await call.find_site(body.site)
    roster = await roster_of(call.ports.store, body.site)
    await _check(work, body)
    app = await _app_account(work, body, key, None)
    user = with_apps(User(id=key, created=call.wall, **settings_of(body)), app.usernames)
    work.create(user, action="user.added", object=f"user/{key}", site=user.site)
    plans = await enrol(work, roster, Delta(user_after=user))
    return _answer(201, user, app, forced(body) + warnings(plans[key]))


async def _change(work: Work, present: Stored[User], body: UserBody) -> Answer:
    call, before = work.call, present.record
    same = replace(before, **settings_of(body)) == before and has_app(body) == bool(before.apps)
    if same and call.conditions.if_match is None and call.conditions.if_none_match is None:
        return Answer(200, _view(present), version=present.version)
    call.conditions.check_change(present.version)
    if same:
        return Answer(200, _view(present), version=present.version)
    if body.site != before.site:
        raise Problem("site-fixed", f"The user {before.id} is at site {before.site}. Delete it there, then add it at the other.")
    roster = await roster_of(call.ports.store, before.site)
    await _check(work, body)
    app = await _app_account(work, body, before.id, before)
    after = with_apps(replace(before, **settings_of(body)), app.usernames)
    work.change(
        present,
        after,
        action="user.changed",
        object=f"user/{before.id}",
        site=before.site,
        changed=changed_fields(before, after),
    )
    plans = await enrol(work, roster, Delta(user_before=before, user_after=after))
    return _answer(200, after, app, forced(body) + warnings(plans[before.id]))


@routes.post("/users", status_code=201, tags=["users"], response_model=UserView | NewUser, responses=documented(*_CHANGE))
@needs(Permission.USERS_WRITE)
async def create_user(call: CallOf, body: UserBody) -> Response:
    """Add a user. Its ring plan is written with it. Where `app` is set, the answer shows the app account's password once."""

    async def attempt(work: Work) -> Answer:
        return await _add(work, new_id(call.ports.entropy), body)

    return await run(call, attempt, site=body.site)


@routes.put("/users/{user}", tags=["users"], response_model=UserView | NewUser, responses=documented(*_CHANGE))
@needs(Permission.USERS_WRITE)
async def put_user(call: CallOf, user: Id, body: UserBody) -> Response:
    """Add a user under an id of your own, or replace one. The same body twice is one user; another body needs If-Match."""

    async def attempt(work: Work) -> Answer:
        await call.find_site(body.site)  # before the user: a foreign user's id must look like a free one
        present = await call.ports.store.get(User, user)
        if present is None:
            call.conditions.check_create()
            return await _add(work, user, body)
        return await _change(work, await _find(call, user), body)

    return await run(call, attempt, site=body.site)


@routes.get("/users", tags=["users"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.USERS_READ)
async def list_users(call: CallOf, paging: PagingOf, site: SiteQuery) -> ListPage[UserView]:
    """The users of a site."""
    return await page(call, paging, User, shelves(call, site), _view)


@routes.get("/users/{user}", tags=["users"], response_model=UserView, responses=documented("not-found"))
@needs(Permission.USERS_READ)
async def get_user(call: CallOf, user: str) -> Response:
    """One user."""
    found = await _find(call, user)
    return show(call, _view(found), found.version)


@routes.patch("/users/{user}", tags=["users"], response_model=UserView | NewUser, responses=documented(*_CHANGE))
@needs(Permission.USERS_WRITE)
async def patch_user(call: CallOf, user: str, patch: dict[str, Any]) -> Response:
    """Change a user by a JSON Merge Patch of UserBody: absent keeps, null clears.

    Where the intercom feature is off, call type 6 is forced and the app accounts end (manual L110-111): `warnings` say so.
    """
    site = (await _find(call, user)).record.site

    async def attempt(work: Work) -> Answer:
        present = await _find(call, user)
        call.conditions.check_change(present.version)
        return await _change(work, present, merged(UserBody, body_of(present.record), patch))

    return await run(call, attempt, site=site)


@routes.delete(
    "/users/{user}",
    status_code=204,
    tags=["users"],
    responses=documented("forbidden", "not-found", "owns-devices", "precondition-failed", "precondition-required"),
)
@needs(Permission.USERS_WRITE)
async def delete_user(call: CallOf, user: str) -> Response:
    """Delete a user who owns no device, with the app accounts and the ring plan."""
    site = (await _find(call, user)).record.site

    async def attempt(work: Work) -> Answer:
        present = await _find(call, user)
        call.conditions.check_change(present.version)
        store, record = call.ports.store, present.record
        roster = await roster_of(store, record.site)
        owned = await store.list(Device, "owner", user, limit=10)
        if owned.items:
            raise Problem("owns-devices", f"The user owns {', '.join(stored.record.mac.text for stored in owned.items)}.")
        work.remove(present, action="user.deleted", object=f"user/{user}", site=record.site)
        await remove_apps(work, record.apps)
        for name in record.linked_apps:
            await drop_link(work, name, user)
        custom = await store.get(CustomPlan, user)
        if custom is not None:
            work.delete(CustomPlan, user, expect=custom.version)
        await enrol(work, roster, Delta(user_before=record))
        return Answer(204)

    return await run(call, attempt, site=site)
