"""`/users` and `/ring-plans`: who lives or works at a site, and what rings when their number is dialled."""

from dataclasses import dataclass, replace
from typing import Any

from fastapi import Response

from admin_api.audit import changed_fields
from admin_api.calls import Call, CallOf
from admin_api.credentials import account_name, new_id, sip_password
from admin_api.models import Id, merged
from admin_api.pages import ListPage, PagingOf, SiteQuery, page, shelves
from admin_api.permissions import Permission
from admin_api.plans import MONITORS_ONLY
from admin_api.problems import Problem, documented, invalid
from admin_api.roster import Delta, enrol, roster_of
from admin_api.routing import needs, router
from admin_api.user_models import (
    NewUser,
    RingPlanView,
    RingStage,
    RingTarget,
    UserBody,
    UserView,
    body_of,
    feature_faults,
    settings_of,
    view_fields,
)
from admin_api.work import Answer, Work, run, show
from registry.records import Account, AccountOwner, Department, Device, User
from registry.ring_plan import RingPlan
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
    """What became of the app account: its name ("" for none), and its password where it was just made."""

    username: str
    password: str = ""


def _view(stored: Stored[User]) -> UserView:
    return UserView.model_validate(view_fields(stored.record))


async def _find(call: Call, user: str) -> Stored[User]:
    return await call.find(User, user, "user", lambda record: record.site)


async def _check(work: Work, body: UserBody) -> None:
    faults = feature_faults(body)
    if body.department:
        department = await work.call.ports.store.get(Department, body.department)
        if department is None or department.record.site != body.site:
            faults.append(("/department", "the site has no such department"))
    if faults:
        raise invalid(*faults)


async def _app_account(work: Work, body: UserBody, key: str, present: User | None) -> _App:
    """Make, keep or remove the user's app account as `body` says."""
    ports, name = work.call.ports, present.app_account if present else ""
    account = await ports.store.get(Account, name) if name else None
    if not body.app:
        if account is not None:
            work.delete(Account, name, expect=account.version)
        return _App("")
    shown_as = f"{body.first_name} {body.last_name}"
    if account is not None:
        if account.record.display_name != shown_as:
            work.put(replace(account.record, display_name=shown_as), expect=account.version)
        return _App(name)
    username, password = account_name(ports.entropy), sip_password(ports.entropy)
    sealed = ports.vault.seal_text(password, f"account:{username}")
    work.put(Account(username, body.site, AccountOwner.APP, key, shown_as, sealed), expect=0)
    return _App(username, password)


def _answer(status: int, user: User, app: _App) -> Answer:
    fields = view_fields(user)
    body: UserView = UserView.model_validate(fields)
    if app.password:
        body = NewUser.model_validate({**fields, "account": {"username": app.username, "password": app.password}})
    taken = {
        "site-number": Problem("number-taken", f"The number {user.number} belongs to another user of site {user.site}."),
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
    user = User(id=key, app_account=app.username, created=call.wall, **settings_of(body))
    work.create(user, action="user.added", object=f"user/{key}", site=user.site)
    await enrol(work, roster, Delta(user_after=user))
    return _answer(201, user, app)


async def _change(work: Work, present: Stored[User], body: UserBody) -> Answer:
    call, before = work.call, present.record
    same = replace(before, **settings_of(body)) == before and body.app == bool(before.app_account)
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
    after = replace(before, app_account=app.username, **settings_of(body))
    work.change(
        present,
        after,
        action="user.changed",
        object=f"user/{before.id}",
        site=before.site,
        changed=changed_fields(before, after),
    )
    await enrol(work, roster, Delta(user_before=before, user_after=after))
    return _answer(200, after, app)


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

    Turning the intercom feature off forces call type 6 and ends the app account, unless the patch itself names others
    (manual L110-111).
    """
    site = (await _find(call, user)).record.site

    async def attempt(work: Work) -> Answer:
        present = await _find(call, user)
        call.conditions.check_change(present.version)
        forced = {"call_type": MONITORS_ONLY, "app": False} if patch.get("intercom_feature") is False else {}
        return await _change(work, present, merged(UserBody, body_of(present.record), forced | patch))

    return await run(call, attempt, site=site)


@routes.delete(
    "/users/{user}",
    status_code=204,
    tags=["users"],
    responses=documented("forbidden", "not-found", "owns-devices", "precondition-failed", "precondition-required"),
)
@needs(Permission.USERS_WRITE)
async def delete_user(call: CallOf, user: str) -> Response:
    """Delete a user who owns no device, with the app account and the ring plan."""
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
        account = await store.get(Account, record.app_account) if record.app_account else None
        if account is not None:
            work.delete(Account, record.app_account, expect=account.version)
        await enrol(work, roster, Delta(user_before=record))
        return Answer(204)

    return await run(call, attempt, site=site)


@routes.get("/ring-plans", tags=["users"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.USERS_READ)
async def list_ring_plans(call: CallOf, paging: PagingOf, site: SiteQuery) -> ListPage[RingPlanView]:
    """What dialling each number of a site does."""
    return await page(call, paging, RingPlan, shelves(call, site), _plan_view)


def _plan_view(stored: Stored[RingPlan]) -> RingPlanView:
    plan = stored.record
    stages = [
        RingStage(
            ring_seconds=stage.ring_seconds,
            targets=[RingTarget(kind=target.kind.value, address=target.address) for target in stage.targets],
        )
        for stage in plan.stages
    ]
    return RingPlanView(site=plan.site, number=plan.number, owner=plan.owner, on_reject=plan.on_reject.value, stages=stages)
