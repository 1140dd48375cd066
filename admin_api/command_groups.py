"""`/command-groups`: one command to a set of devices of a site, each with a result of its own.

The commands are written in one batch with the group, so a set is ordered whole or not at all, and survives a restart as one.
They go before other commands of their devices, an emergency's before those; reboots and fetches are paced.
"""

from collections.abc import Sequence

from fastapi import Response

from admin_api.calls import Call, CallOf
from admin_api.command_models import (
    URGENT,
    CommandView,
    GroupBody,
    GroupProgress,
    GroupView,
    check_role,
    group_fields,
    kind_of,
    lifetime,
    progress_of,
    supported,
    view_of,
)
from admin_api.commands import waits_full
from admin_api.devices import IfMatch
from admin_api.pages import ListPage, PagingOf, Shelf, SiteFilter, log_shelves, page
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.command_states import PACED, Event, step
from registry.commands import ID_CHANCE, MAX_GROUP, Command, CommandGroup, CommandName, Priority, command_id
from registry.records import Department, Device, DeviceKind, Site
from registry.store import MAX_PAGE, Stored

routes = router()
PACE_SECONDS = 0.5
"""Between the turns of two devices; as much again of chance, so that several groups do not march in step."""
KEPT_GROUPS = 200
"""Group commands of a site that are kept; the oldest are forgotten first."""
FULL = "too many commands wait for the device"


async def _all(call: Call, index: str, value: str) -> list[Stored[Command]]:
    found: list[Stored[Command]] = []
    after: str | None = None
    while True:
        listed = await call.ports.store.list(Command, index, value, after=after, limit=MAX_PAGE)
        found += listed.items
        after = listed.next
        if after is None:
            return found


async def _find(call: Call, group: str) -> Stored[CommandGroup]:
    return await call.find(CommandGroup, group, "command group", lambda record: record.site)


async def _devices(call: Call, body: GroupBody) -> list[Device]:
    """The devices that the body names, in the order of their MACs. Raises Problem."""
    store, kind, found = call.ports.store, kind_of(body.kind), []
    if body.department:
        department = await store.get(Department, body.department)
        if department is None or department.record.site != body.site:
            raise invalid(("/department", "the site has no such department"))
    if body.devices is not None:
        faults = []
        for place, mac in enumerate(body.devices):
            stored = await store.get(Device, mac)
            if stored is None or stored.record.site != body.site:
                faults.append((f"/devices/{place}", "the site has no such device"))
            else:
                found.append(stored.record)
        if faults:
            raise invalid(*faults)
    else:
        after: str | None = None
        while True:
            listed = await store.list(Device, "site", body.site, after=after, limit=MAX_PAGE)
            found += [stored.record for stored in listed.items]
            after = listed.next
            if after is None:
                break
    chosen = {device.key: device for device in found if _is_meant(device, body, kind)}
    if not chosen:
        raise invalid(("", "this means no device of the site; a relay is opened, and locked, only where there is one"))
    if len(chosen) > MAX_GROUP:
        raise Problem("too-many-devices")
    return [chosen[key] for key in sorted(chosen)]


def _is_meant(device: Device, body: GroupBody, kind: DeviceKind | None) -> bool:
    if body.department is not None and device.department != body.department:
        return False
    if kind is not None and device.kind is not kind:
        return False
    if body.name == "open-relay":
        return len(device.relays) >= body.relay
    return body.name != "lockdown" or bool(device.relays)


@routes.post(
    "/command-groups",
    status_code=201,
    tags=["commands"],
    response_model=GroupProgress,
    responses=documented("forbidden", "not-found", "invalid-fields", "too-many-devices"),
)
@needs(Permission.COMMANDS_WRITE)
async def order_group(call: CallOf, body: GroupBody) -> Response:
    """Tell a set of devices to do something: whole site, or those of a department, of a kind, of a list.

    Reboots and fetches are paced: two a second at a site. A device that cannot do it, or for which too much waits, has failed at
    once.
    """
    name = CommandName(body.name)

    async def attempt(work: Work) -> Answer:
        await call.find_site(body.site)
        check_role(call, name)
        if body.emergency and name not in URGENT:
            raise invalid(("/emergency", f"only {' and '.join(sorted(URGENT))}"))
        devices = await _devices(call, body)
        group = _group(call, body, name, len(devices))
        commands = [await _command(call, group, device, place) for place, device in enumerate(devices)]
        work.require(Site, body.site)
        for command in commands:
            work.put(command, expect=0)
        await _forget(work, body.site)
        note = f"{name.value} for {len(devices)} devices{', emergency' if body.emergency else ''}"
        work.create(group, action="command-group.ordered", object=f"command-group/{group.id}", site=body.site, note=note)
        return Answer(201, progress_of(group, commands), of=group, location=f"/api/v1/command-groups/{group.id}")

    return await run(call, attempt)


def _group(call: Call, body: GroupBody, name: CommandName, devices: int) -> CommandGroup:
    priority = Priority.EMERGENCY if body.emergency else Priority.GROUP
    return CommandGroup(
        id=command_id(call.wall, call.ports.entropy(ID_CHANCE)),
        site=body.site,
        name=name,
        created_by=call.caller.actor,
        created=call.wall,
        deadline=call.wall + lifetime(name, priority, body.seconds),
        devices=devices,
        emergency=body.emergency,
        relay=body.relay if name is CommandName.OPEN_RELAY else 0,
        on=body.on if name is CommandName.LOCKDOWN else False,
    )


async def _command(call: Call, group: CommandGroup, device: Device, place: int) -> Command:
    chance = call.ports.entropy(ID_CHANCE + 1)
    paced = group.name in PACED
    command = Command(
        id=command_id(call.wall, chance[1:]),
        mac=device.mac,
        site=group.site,
        name=group.name,
        created_by=group.created_by,
        created=group.created,
        deadline=group.deadline,
        since=group.created,
        not_before=group.created + PACE_SECONDS * (place + chance[0] / 256) if paced else 0.0,
        priority=Priority.EMERGENCY if group.emergency else Priority.GROUP,
        group=group.id,
        relay=group.relay,
        on=group.on,
    )
    if not supported(device, group.name):
        return step(command, Event.UNSUPPORTED, call.wall)
    if not group.emergency and await waits_full(call, device):
        return step(command, Event.UNSUPPORTED, call.wall, FULL)
    return command


async def _forget(work: Work, site: str) -> None:
    found = await work.call.ports.store.list(CommandGroup, "site", site, limit=KEPT_GROUPS)
    if len(found.items) >= KEPT_GROUPS:
        work.delete(CommandGroup, found.items[0].record.id)


@routes.get("/command-groups", tags=["commands"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.COMMANDS_READ)
async def list_groups(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[GroupView]:
    """The group commands of a site, the newest first."""

    def view(stored: Stored[CommandGroup]) -> GroupView:
        return GroupView.model_validate(group_fields(stored.record))

    return await page(call, paging, CommandGroup, log_shelves(call, site), view, newest_first=True)


@routes.get(
    "/command-groups/{group}",
    tags=["commands"],
    response_model=GroupProgress,
    responses=documented("forbidden", "not-found"),
)
@needs(Permission.COMMANDS_READ)
async def get_group(call: CallOf, group: str) -> Response:
    """A group command and how far it is. Its ETag is of the order, which does not change, so it has no 304."""
    found = await _find(call, group)
    commands = await _all(call, "group", found.record.id)
    view = progress_of(found.record, _records(commands))
    return show(call, view, found.version, may_be_unmodified=False)


@routes.get(
    "/command-groups/{group}/commands",
    tags=["commands"],
    responses=documented("forbidden", "not-found", "invalid-fields", "malformed-cursor"),
)
@needs(Permission.COMMANDS_READ)
async def list_group_commands(call: CallOf, group: str, paging: PagingOf) -> ListPage[CommandView]:
    """What became of a group command at each device."""
    found = await _find(call, group)
    where = (Shelf("group", found.record.id),)
    return await page(call, paging, Command, where, lambda stored: view_of(stored.record))


@routes.delete(
    "/command-groups/{group}",
    tags=["commands"],
    response_model=GroupProgress,
    responses=documented("forbidden", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.COMMANDS_WRITE)
async def cancel_group(call: CallOf, group: str, if_match: IfMatch = None) -> Response:
    """Cancel those of its commands that were not sent yet; the answer says how many that were. The group stays to be read."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, group)
        check_role(call, found.record.name)
        call.conditions.check_change(found.version)
        after = []
        for stored in await _all(call, "group", found.record.id):
            cancelled = step(stored.record, Event.CANCELLED, call.wall)
            if cancelled is not stored.record:
                work.put(cancelled, expect=stored.version)
            after.append(cancelled)
        path = f"command-group/{group}"
        work.change(found, found.record, action="command-group.cancelled", object=path, site=found.record.site)
        return Answer(200, progress_of(found.record, after), of=found.record)

    return await run(call, attempt)


def _records(found: Sequence[Stored[Command]]) -> list[Command]:
    return [stored.record for stored in found]
