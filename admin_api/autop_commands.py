"""`/autop-commands`: lines that operators add to configurations, by scope (manual, L249-254); their revisions, and dry runs."""

import asyncio
from typing import Annotated

from fastapi import Query, Response

from admin_api.autop_lines import dropped, masked, unmasked
from admin_api.autop_models import (
    CommandsBody,
    CommandsView,
    DeviceChange,
    DryRunBody,
    DryRunView,
    RevisionView,
    RollbackBody,
)
from admin_api.autop_scopes import Level, Scope, devices_of, find_scope, keep_revision, present_lines
from admin_api.calls import Call, CallOf
from admin_api.configurations import differences, settings
from admin_api.device_models import body_of
from admin_api.device_writes import change_device
from admin_api.models import timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, page
from admin_api.permissions import Permission
from admin_api.problems import documented, invalid, not_found
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from autop.commands import settle
from autop.errors import AutopError
from autop.net.configurations import Preview
from autop.net.operator_lines import LinesChange, open_lines, seal_lines
from registry.configuration import AutopCommands, AutopRevision
from registry.errors import BadSeal
from registry.mac import MacAddress
from registry.records import Department, Site
from registry.store import Stored

routes = router()
GroupOf = Annotated[str | None, Query(max_length=64, description="The network group; only at level network-group.")]
SHOWN = 100
"""Devices a dry run tells of one by one."""
_READ = ("forbidden", "malformed-mac", "not-found", "invalid-fields")
_CHANGE = (*_READ, "precondition-failed", "precondition-required")


def _view(scope: Scope, lines: tuple[str, ...], entered: list[str] | None = None) -> CommandsView:
    return CommandsView(
        level=scope.level.value,
        of=scope.of,
        group=scope.group,
        lines=[masked(line) for line in lines],
        dropped=dropped(entered or []),
    )


async def _set(work: Work, scope: Scope, lines: tuple[str, ...], action: str, entered: list[str] | None = None) -> Answer:
    """Put `lines` in force. A device's stand in its record and change with it; all others in a record of their own."""
    call = work.call
    before, version = await present_lines(call, scope)
    if lines == before and call.conditions.if_match is None:
        return Answer(200, _view(scope, before, entered), version=version)
    if version or call.conditions.if_match is not None:
        call.conditions.check_change(version)
    if lines == before:
        return Answer(200, _view(scope, before, entered), version=version)
    if scope.device is not None:
        body = body_of(scope.device.record).model_copy(update={"autop_commands": list(lines)})
        answer = await change_device(work, scope.device, body)
        return Answer(200, _view(scope, lines, entered), of=answer.of, version=answer.version)
    record = AutopCommands(scope.key, scope.site, seal_lines(call.ports.vault, scope.key, lines))
    path = f"autop-commands/{scope.key}"
    if version:
        work.change(Stored(record, version), record, action=action, object=path, site=scope.site, changed=("lines",))
    else:
        work.create(record, action=action, object=path, site=scope.site)
    if scope.level is Level.DEPARTMENT:
        work.require(Department, scope.of)
    elif scope.site:
        work.require(Site, scope.site)
    await keep_revision(work, scope.key, lines)
    return Answer(200, _view(scope, lines, entered), of=record)


@routes.get("/autop-commands/{level}/{of}", tags=["autop-commands"], response_model=CommandsView, responses=documented(*_READ))
@needs(Permission.DEVICES_READ)
async def get_commands(call: CallOf, level: Level, of: str, group: GroupOf = None) -> Response:
    """The autop commands of a scope. Platform is called `all`; a network group is named by its site and ?group=."""
    scope = await find_scope(call, level, of, group)
    lines, version = await present_lines(call, scope)
    return show(call, _view(scope, lines), version)


@routes.put("/autop-commands/{level}/{of}", tags=["autop-commands"], response_model=CommandsView, responses=documented(*_CHANGE))
@needs(Permission.DEVICES_WRITE)
async def put_commands(call: CallOf, level: Level, of: str, body: CommandsBody, group: GroupOf = None) -> Response:
    """Replace the autop commands of a scope; an empty list takes them away. Of equal keys the last is retained; `dropped` tells.

    A line that is malformed, or sets what only the gateway sets, is refused with row (`/lines/0` is the first) and reason.
    """
    site = (await find_scope(call, level, of, group)).site

    async def attempt(work: Work) -> Answer:
        scope = await find_scope(call, level, of, group)
        before, _ = await present_lines(call, scope)
        lines = settle(unmasked(body.lines, before)).lines
        return await _set(work, scope, lines, "autop-commands.changed", body.lines)

    return await run(call, attempt, site=site or None)


@routes.get("/autop-commands/{level}/{of}/revisions", tags=["autop-commands"], responses=documented(*_READ, "malformed-cursor"))
@needs(Permission.DEVICES_READ)
async def list_revisions(call: CallOf, level: Level, of: str, paging: PagingOf, group: GroupOf = None) -> ListPage[RevisionView]:
    """The last 20 revisions of a scope's lines, newest first."""
    scope = await find_scope(call, level, of, group)

    def view(stored: Stored[AutopRevision]) -> RevisionView:
        one = stored.record
        lines = open_lines(call.ports.vault, scope.key, one.sealed_lines)
        return RevisionView(revision=one.number, at=timestamp(one.at), by=one.by, lines=[masked(line) for line in lines])

    return await page(call, paging, AutopRevision, (Shelf("scope", scope.key),), view, newest_first=True)


@routes.post(
    "/autop-commands/{level}/{of}/rollback", tags=["autop-commands"], response_model=CommandsView, responses=documented(*_CHANGE)
)
@needs(Permission.DEVICES_WRITE)
async def roll_back(call: CallOf, level: Level, of: str, body: RollbackBody, group: GroupOf = None) -> Response:
    """Put the lines of an earlier revision in force again, secrets included, as a new revision. Needs If-Match."""
    site = (await find_scope(call, level, of, group)).site

    async def attempt(work: Work) -> Answer:
        scope = await find_scope(call, level, of, group)
        revision = await call.ports.store.get(AutopRevision, AutopRevision(scope.key, body.revision, 0.0, "", b"").key)
        if revision is None:
            raise not_found("revision", str(body.revision))
        _, version = await present_lines(call, scope)
        call.conditions.check_change(version)
        lines = open_lines(call.ports.vault, scope.key, revision.record.sealed_lines)
        return await _set(work, scope, lines, "autop-commands.rolled-back")

    return await run(call, attempt, site=site or None)


@routes.post("/autop-commands/{level}/{of}/dry-run", tags=["autop-commands"], responses=documented(*_READ))
@needs(Permission.DEVICES_WRITE)
async def dry_run(call: CallOf, level: Level, of: str, body: DryRunBody, group: GroupOf = None) -> DryRunView:
    """What these lines would change at a site: how many devices, and which lines of their files. Changes nothing."""
    scope = await find_scope(call, level, of, group)
    site = scope.site or body.site
    if not site or (scope.site and body.site not in ("", scope.site)):
        raise invalid(("/site", "the site to try it on: required for the platform and for models, else the scope's own"))
    await call.find_site(site)
    before, _ = await present_lines(call, scope)
    change = LinesChange(scope.key, settle(unmasked(body.lines, before)).lines)
    found = DryRunView(devices=0, changed=0, failed=0, items=[], dropped=dropped(body.lines))
    async for stored in devices_of(call, scope, site):
        found.devices += 1
        one = await _tried(call, stored.record.mac, change)
        found.changed += bool(one.changes)
        found.failed += bool(one.error)
        if (one.changes or one.error) and len(found.items) < SHOWN:
            found.items.append(one)
        await asyncio.sleep(0)  # rendering a large site takes a while, and others need not wait for it
    return found


async def _tried(call: Call, mac: MacAddress, change: LinesChange) -> DeviceChange:
    try:
        before = _settings(await call.ports.configurations.preview(mac))
    except (AutopError, BadSeal):
        before = {}
    try:
        after = _settings(await call.ports.configurations.preview(mac, change))
    except (AutopError, BadSeal) as error:
        return DeviceChange(mac=mac.text, changes=[], error=str(error))
    return DeviceChange(mac=mac.text, changes=differences(before, after), error="")


def _settings(preview: Preview | None) -> dict[str, str]:
    return {} if preview is None else settings(preview)
