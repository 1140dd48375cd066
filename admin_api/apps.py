"""`/users/{user}/apps` and `/apps`: the SIP accounts of a person's apps, at one site or linked to several."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field

from admin_api.app_accounts import MAX_APPS, new_app, relink, remove_apps, with_apps
from admin_api.audit import Noted, changed_fields
from admin_api.calls import Call, CallOf
from admin_api.device_models import AccountSecret
from admin_api.models import Body, Flag, FullName, Id, merged
from admin_api.pages import ListPage
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid, not_found
from admin_api.roster import Delta, enrol, roster_of
from admin_api.routing import needs, router
from admin_api.schedule_models import ScheduleBody, always, schedule_body, schedule_of
from admin_api.work import Answer, Work, run, show
from registry.records import Account, AccountOwner, AppLink, User
from registry.store import Stored

routes = router()


class NewAppBody(Body):
    """An app to be added. What is left out takes its default."""

    name: Annotated[FullName | None, Field(description="What people see when it calls. Null: the user's name.")] = None
    enabled: Annotated[Flag, Field(description="Off: it neither registers nor rings.")] = True
    schedule: Annotated[ScheduleBody, Field(default_factory=always)]


class AppBody(Body):
    """What a PATCH of an app changes."""

    name: FullName
    enabled: Flag = True
    schedule: Annotated[ScheduleBody, Field(default_factory=always)]
    linked_users: Annotated[
        list[Id],
        Field(
            default_factory=list,
            max_length=MAX_APPS,
            description="Users at other sites who are the same person: their plans ring this app too. One per site.",
        ),
    ]


class AppView(AppBody):
    """An app's SIP account."""

    username: str
    site: str = Field(description="Its home site.")
    user: str = Field(description="Its user there.")


class NewApp(AppView):
    """An app just added: the only time its password is shown."""

    account: AccountSecret


def _body(call: Call, account: Account) -> AppBody:
    seen = [link.user for link in account.links if call.caller.sees(link.site)]
    return AppBody.model_construct(
        name=account.display_name, enabled=account.enabled, schedule=schedule_body(account.schedule), linked_users=seen
    )


def _fields(call: Call, account: Account) -> dict[str, Any]:
    body = _body(call, account).model_dump(mode="json")
    return {**body, "username": account.username, "site": account.site, "user": account.owner}


def _view(call: Call, account: Account) -> AppView:
    return AppView.model_validate(_fields(call, account))


async def _find_user(call: Call, user: str) -> Stored[User]:
    return await call.find(User, user, "user", lambda record: record.site)


async def _find(call: Call, app: str) -> Stored[Account]:
    found = await call.find(Account, app, "app", lambda record: record.site)
    if found.record.owner_kind is not AccountOwner.APP:
        raise not_found("app", app)
    return found


@routes.get("/users/{user}/apps", tags=["apps"], responses=documented("not-found"))
@needs(Permission.USERS_READ)
async def list_apps(call: CallOf, user: str) -> ListPage[AppView]:
    """The apps that ring for a user: its own, then those linked from other sites that the token sees. Always one page."""
    record = (await _find_user(call, user)).record
    accounts = [await call.ports.store.get(Account, name) for name in (*record.apps, *record.linked_apps)]
    seen = [stored.record for stored in accounts if stored is not None and call.caller.sees(stored.record.site)]
    return ListPage(items=[_view(call, account) for account in seen], next=None)


@routes.post(
    "/users/{user}/apps",
    status_code=201,
    tags=["apps"],
    response_model=NewApp,
    responses=documented("forbidden", "not-found", "feature-off", "too-many-apps", "too-many-targets", "invalid-fields"),
)
@needs(Permission.USERS_WRITE)
async def create_app_account(call: CallOf, user: str, body: NewAppBody) -> Response:
    """Add an app to a user. The answer shows the password of its SIP account once."""
    site = (await _find_user(call, user)).record.site

    async def attempt(work: Work) -> Answer:
        roster = await roster_of(call.ports.store, site)
        stored = await _find_user(call, user)
        before = stored.record
        if not before.intercom_feature:
            raise Problem("feature-off")
        if len(before.apps) >= MAX_APPS:
            raise Problem("too-many-apps", f"A user has at most {MAX_APPS} apps.")
        made, password = new_app(call, site, user, body.name or f"{before.first_name} {before.last_name}")
        account = replace(made, enabled=body.enabled, schedule=schedule_of(body.schedule))
        after = with_apps(before, (*before.apps, account.username))
        work.create(account, action="app.added", object=f"app/{account.username}", site=site)
        work.change(stored, after, action="user.changed", object=f"user/{user}", site=site, changed=changed_fields(before, after))
        await enrol(work, roster, Delta(user_before=before, user_after=after))
        secret = {"username": account.username, "password": password}
        answer = NewApp.model_validate({**_fields(call, account), "account": secret})
        return Answer(201, answer, of=account, location=f"/api/v1/apps/{account.username}")

    return await run(call, attempt, site=site)


@routes.get("/apps/{app}", tags=["apps"], response_model=AppView, responses=documented("not-found"))
@needs(Permission.USERS_READ)
async def get_app(call: CallOf, app: str) -> Response:
    """One app, by the user name of its SIP account."""
    found = await _find(call, app)
    return show(call, _view(call, found.record), found.version)


@routes.patch(
    "/apps/{app}",
    tags=["apps"],
    response_model=AppView,
    responses=documented(
        "forbidden", "not-found", "too-many-targets", "invalid-fields", "precondition-failed", "precondition-required"
    ),
)
@needs(Permission.USERS_WRITE)
async def change_app(call: CallOf, app: str, patch: dict[str, Any]) -> Response:
    """Change an app by a JSON Merge Patch: absent keeps, null clears.

    `linked_users` is replaced whole, but for links to sites that the token does not see: those stay.
    """
    site = (await _find(call, app)).record.site

    async def attempt(work: Work) -> Answer:
        found = await _find(call, app)
        call.conditions.check_change(found.version)
        before = found.record
        body = merged(AppBody, _body(call, before), patch)
        hidden = tuple(link for link in before.links if not call.caller.sees(link.site))
        users = await _linked(call, before, body.linked_users, hidden)
        after = replace(
            await relink(work, found, users, hidden),
            display_name=body.name,
            enabled=body.enabled,
            schedule=schedule_of(body.schedule),
        )
        if after == before:
            return Answer(200, _view(call, before), version=found.version)
        work.change(found, after, action="app.changed", object=f"app/{app}", site=site, changed=changed_fields(before, after))
        return Answer(200, _view(call, after), of=after)

    return await run(call, attempt, site=site)


@routes.delete(
    "/apps/{app}",
    status_code=204,
    tags=["apps"],
    responses=documented("forbidden", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.USERS_WRITE)
async def delete_app(call: CallOf, app: str) -> Response:
    """Delete an app: its SIP account ends at once, and so do its places in ring plans, at linked sites too."""
    site = (await _find(call, app)).record.site

    async def attempt(work: Work) -> Answer:
        roster = await roster_of(call.ports.store, site)
        found = await _find(call, app)
        call.conditions.check_change(found.version)
        await remove_apps(work, (app,))
        work.note(Noted("app.deleted", f"app/{app}", site, found.version))
        user = await call.ports.store.get(User, found.record.owner)
        if user is not None:
            before = user.record
            after = with_apps(before, tuple(name for name in before.apps if name != app))
            path, changed = f"user/{before.id}", changed_fields(before, after)
            work.change(user, after, action="user.changed", object=path, site=site, changed=changed)
            await enrol(work, roster, Delta(user_before=before, user_after=after))
        return Answer(204)

    return await run(call, attempt, site=site)


async def _linked(call: Call, account: Account, wanted: list[str], hidden: tuple[AppLink, ...]) -> list[Stored[User]]:
    """The users to be linked. A user the token does not see is one there is not. Raises Problem `invalid-fields`."""
    found: list[Stored[User]] = []
    faults: list[tuple[str, str]] = []
    taken = {account.site: "the app's own site"} | {link.site: "linked already" for link in hidden}
    for place, key in enumerate(wanted):
        stored = await call.ports.store.get(User, key)
        if stored is None or not call.caller.sees(stored.record.site):
            faults.append((f"/linked_users/{place}", "there is no such user"))
        elif stored.record.site in taken:
            faults.append((f"/linked_users/{place}", f"the user's site is {taken[stored.record.site]}; one link per other site"))
        elif not stored.record.intercom_feature:
            faults.append((f"/linked_users/{place}", "the user's intercom feature is off"))
        else:
            taken[stored.record.site] = "linked already"
            found.append(stored)
    if faults:
        raise invalid(*faults)
    return found
