"""`/ring-plans` and `/users/{user}/ring-plan`: what dialling a number does, and a plan of an operator's own for a user."""

from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.calls import Call, CallOf
from admin_api.models import Body, RingSeconds, Warnings
from admin_api.pages import ListPage, PagingOf, SiteQuery, page, shelves
from admin_api.permissions import Permission
from admin_api.plans import landline, warnings
from admin_api.problems import documented, invalid, not_found
from admin_api.roster import Delta, enrol, roster_of
from admin_api.routing import needs, router
from admin_api.user_models import LANDLINE
from admin_api.work import Answer, Work, run, show
from registry.call_types import CustomPlan, Rule, StageRule, Who
from registry.records import Account, Device, User
from registry.ring_plan import MAX_STAGES, MAX_TARGETS, OnReject, RingPlan
from registry.store import Stored

routes = router()
_GATED = frozenset((Who.APPS, Who.LANDLINES, Who.LANDLINE))


class RingTarget(BaseModel):
    """One thing that rings: a SIP account or a landline."""

    kind: str
    address: str


class RingStage(BaseModel):
    """Targets that ring together."""

    ring_seconds: int
    targets: list[RingTarget]


class RingPlanView(BaseModel):
    """What dialling a number of a site does: its stages ring one after the other."""

    site: str
    number: str
    owner: str = Field(description="The user or department whose number it is.")
    on_reject: str
    stages: list[RingStage]
    warnings: list[str]


class RuleBody(Body):
    """Whom a stage lets ring."""

    kind: Annotated[
        Who,
        Field(
            description="The user's monitors, the site's guards, the user's apps or landlines (the first with this stage, each "
            "further one after it); or one account of the site, or one landline, by its address."
        ),
    ]
    address: Annotated[str, Field(max_length=64, description="For `account` its user name, for `landline` its number.")] = ""


class StageBody(Body):
    """A stage of a plan."""

    targets: Annotated[list[RuleBody], Field(min_length=1, max_length=MAX_TARGETS)]
    ring_seconds: Annotated[RingSeconds | None, Field(description="Null: as the user or the site says.")] = None


class CustomPlanBody(Body):
    """A plan that takes the place of the user's call type."""

    stages: Annotated[list[StageBody], Field(min_length=1, max_length=MAX_STAGES)]
    on_reject: Annotated[OnReject | None, Field(description="Null: as the user or the site says.")] = None


class CustomPlanView(CustomPlanBody):
    """A user's custom plan."""

    user: str
    site: str
    warnings: Warnings


def _plan_view(stored: Stored[RingPlan]) -> RingPlanView:
    plan = stored.record
    stages = [
        RingStage(
            ring_seconds=stage.ring_seconds,
            targets=[RingTarget(kind=target.kind.value, address=target.address) for target in stage.targets],
        )
        for stage in plan.stages
    ]
    return RingPlanView(
        site=plan.site,
        number=plan.number,
        owner=plan.owner,
        on_reject=plan.on_reject.value,
        stages=stages,
        warnings=warnings(plan),
    )


def _view(plan: CustomPlan, told: list[str]) -> CustomPlanView:
    stages: list[dict[str, Any]] = [
        {
            "targets": [{"kind": rule.who.value, "address": rule.address} for rule in stage.rules],
            "ring_seconds": stage.seconds,
        }
        for stage in plan.stages
    ]
    return CustomPlanView.model_validate(
        {"user": plan.owner, "site": plan.site, "stages": stages, "on_reject": plan.on_reject, "warnings": told}
    )


@routes.get("/ring-plans", tags=["ring-plans"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.USERS_READ)
async def list_ring_plans(call: CallOf, paging: PagingOf, site: SiteQuery) -> ListPage[RingPlanView]:
    """What dialling each number of a site does."""
    return await page(call, paging, RingPlan, shelves(call, site), _plan_view)


@routes.get("/users/{user}/ring-plan", tags=["ring-plans"], response_model=CustomPlanView, responses=documented("not-found"))
@needs(Permission.USERS_READ)
async def get_custom_plan(call: CallOf, user: str) -> Response:
    """The user's custom plan; not found where the call type rules."""
    await _find_user(call, user)
    stored = await call.ports.store.get(CustomPlan, user)
    if stored is None:
        raise _no_plan(user)
    return show(call, _view(stored.record, []), stored.version)


@routes.put(
    "/users/{user}/ring-plan",
    status_code=201,
    tags=["ring-plans"],
    response_model=CustomPlanView,
    responses={
        200: {"model": CustomPlanView, "description": "It was replaced, or was there already."},
        **documented(
            "forbidden", "not-found", "too-many-targets", "invalid-fields", "precondition-failed", "precondition-required"
        ),
    },
)
@needs(Permission.USERS_WRITE)
async def put_custom_plan(call: CallOf, user: str, body: CustomPlanBody) -> Response:
    """Give a user a plan of its own, or replace it. The same body twice is one plan; another body needs If-Match."""
    site = (await _find_user(call, user)).record.site

    async def attempt(work: Work) -> Answer:
        roster = await roster_of(call.ports.store, site)
        owner = (await _find_user(call, user)).record
        present = await call.ports.store.get(CustomPlan, user)
        plan = await _custom(call, owner, body)
        if present is None:
            call.conditions.check_create()
        elif present.record == plan and call.conditions.if_match is None and call.conditions.if_none_match is None:
            return Answer(200, _view(plan, []), version=present.version)
        else:
            call.conditions.check_change(present.version)
        path = f"user/{user}/ring-plan"
        if present is None:
            work.create(plan, action="ring-plan.added", object=path, site=site)
        else:
            work.change(present, plan, action="ring-plan.changed", object=path, site=site)
        plans = await enrol(work, roster, Delta(custom_of=user, custom=plan))
        location = f"/api/v1/users/{user}/ring-plan" if present is None else None
        return Answer(201 if present is None else 200, _view(plan, warnings(plans[user])), of=plan, location=location)

    return await run(call, attempt, site=site)


@routes.delete(
    "/users/{user}/ring-plan",
    status_code=204,
    tags=["ring-plans"],
    responses=documented("forbidden", "not-found", "too-many-targets", "precondition-failed", "precondition-required"),
)
@needs(Permission.USERS_WRITE)
async def delete_custom_plan(call: CallOf, user: str) -> Response:
    """Take the user's custom plan away: the call type rules again."""
    site = (await _find_user(call, user)).record.site

    async def attempt(work: Work) -> Answer:
        roster = await roster_of(call.ports.store, site)
        await _find_user(call, user)
        present = await call.ports.store.get(CustomPlan, user)
        if present is None:
            raise _no_plan(user)
        call.conditions.check_change(present.version)
        work.remove(present, action="ring-plan.cleared", object=f"user/{user}/ring-plan", site=site)
        await enrol(work, roster, Delta(custom_of=user))
        return Answer(204)

    return await run(call, attempt, site=site)


def _no_plan(user: str) -> Exception:
    return not_found("custom ring plan of user", user)


async def _find_user(call: Call, user: str) -> Stored[User]:
    return await call.find(User, user, "custom ring plan of user", lambda record: record.site)


async def _custom(call: Call, owner: User, body: CustomPlanBody) -> CustomPlan:
    """The record of a body. Raises Problem `invalid-fields` with every fault."""
    faults: list[tuple[str, str]] = []
    stages: list[StageRule] = []
    for number, stage in enumerate(body.stages):
        rules: list[Rule] = []
        for place, target in enumerate(stage.targets):
            path = f"/stages/{number}/targets/{place}"
            fault = await _fault(call, owner, target)
            if fault:
                faults.append((f"{path}/{fault[0]}", fault[1]))
            address = landline(target.address, owner.country_code) if target.kind is Who.LANDLINE else target.address
            rules.append(Rule(target.kind, address))
        stages.append(StageRule(tuple(rules), stage.ring_seconds))
    if faults:
        raise invalid(*faults)
    return CustomPlan(owner.id, owner.site, tuple(stages), body.on_reject)


async def _fault(call: Call, owner: User, target: RuleBody) -> tuple[str, str] | None:
    if target.kind in _GATED and not owner.intercom_feature:
        return "kind", "the intercom feature is off: only monitors and guard phones may ring (manual, L128)"
    if target.kind is Who.LANDLINE:
        return None if LANDLINE.fullmatch(target.address) else ("address", "3 to 15 digits, with + where international")
    if target.kind is Who.ACCOUNT:
        return None if await _may_ring(call, owner, target.address) else ("address", "the site has no such phone or app")
    return ("address", "a group has no address") if target.address else None


async def _may_ring(call: Call, owner: User, name: str) -> bool:
    """Whether the account is a monitor, guard phone or app of the user's site, or an app linked to the user."""
    store = call.ports.store
    device = await store.get_unique(Device, "account", name)
    if device is not None:
        return device.record.site == owner.site and not device.record.kind.is_door
    if name in owner.linked_apps:
        return owner.intercom_feature
    account = await store.get(Account, name)
    return account is not None and account.record.site == owner.site and owner.intercom_feature
