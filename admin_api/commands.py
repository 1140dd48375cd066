"""`/devices/{mac}/commands` and `/commands`: what devices are told to do, and what they answered.

A command is a record that waits for its device; the gateway's queue (`gateway/command_queue.py`) sends it. Nothing here says
that a device has done something: only the device does.
"""

from dataclasses import replace

from fastapi import Response

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.command_models import CommandBody, CommandView, LogView, check_role, lifetime, supported, view_of
from admin_api.device_models import transmission_of
from admin_api.devices import IfMatch, find_device
from admin_api.models import timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, SiteFilter, log_shelves, page
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid
from admin_api.roster import Delta, enrol, roster_of
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.command_states import Event, step
from registry.commands import (
    ID_CHANCE,
    MAX_WAITING,
    CollectedLog,
    Command,
    CommandName,
    CommandState,
    Priority,
    command_id,
    log_context,
)
from registry.firmware import DeviceUpgrade
from registry.records import Device, Site
from registry.store import Stored

routes = router()


async def find_command(call: Call, command: str) -> Stored[Command]:
    """The command, if the caller sees its site. Raises Problem `not-found`."""
    return await call.find(Command, command, "command", lambda record: record.site)


async def waits_full(call: Call, device: Device) -> bool:
    """Whether no more commands may wait for this device."""
    found = await call.ports.store.list(Command, "queue", device.mac.text, limit=MAX_WAITING)
    return len(found.items) >= MAX_WAITING


@routes.post(
    "/devices/{mac}/commands",
    status_code=201,
    tags=["commands"],
    response_model=CommandView,
    responses=documented("forbidden", "malformed-mac", "not-found", "invalid-fields", "too-many-commands", "no-upgrade"),
)
@needs(Permission.COMMANDS_WRITE)
async def order_command(call: CallOf, mac: str, body: CommandBody) -> Response:
    """Tell a device to do something. It waits until the device can be reached, or until its deadline.

    `transmission-type` changes the device's setting at once and tells it to fetch its configuration. `upgrade` needs an upgrade
    that is under way for the device; see /upgrades. A command that was sent and not answered is sent again with the same id, and
    has its effect once; over SIP, which has no such ids, a reboot is sent once and not again.
    """
    address, name = parse_mac(mac), CommandName(body.name)
    site = (await find_device(call, address)).record.site

    async def attempt(work: Work) -> Answer:
        found = await find_device(call, address)
        device = found.record
        check_role(call, name)
        command = _command(call, device, name, body)
        if await waits_full(call, device):
            raise Problem("too-many-commands")
        if name is CommandName.UPGRADE:
            command = replace(command, upgrade=await _upgrade(call, device))
        if name is CommandName.TRANSMISSION:
            await _change_transmission(work, found, body)
        else:
            work.require(Device, device.key)
            work.require(Site, device.site)
        note = f"{name.value} for device {device.mac}"
        work.create(command, action="command.ordered", object=f"command/{command.id}", site=device.site, note=note)
        return Answer(201, view_of(command), of=command, location=f"/api/v1/commands/{command.id}")

    return await run(call, attempt, site=site)


def _command(call: Call, device: Device, name: CommandName, body: CommandBody) -> Command:
    if name is CommandName.OPEN_RELAY and body.relay > len(device.relays):
        raise invalid(("/relay", f"the device has {len(device.relays)} relays"))
    if (name is CommandName.TRANSMISSION) is not (body.transmission is not None):
        raise invalid(("/transmission", "of transmission-type, which must have one"))
    command = Command(
        id=command_id(call.wall, call.ports.entropy(ID_CHANCE)),
        mac=device.mac,
        site=device.site,
        name=name,
        created_by=call.caller.actor,
        created=call.wall,
        deadline=call.wall + lifetime(name, Priority.NORMAL, body.seconds),
        since=call.wall,
        relay=body.relay if name is CommandName.OPEN_RELAY else 0,
        on=body.on if name is CommandName.LOCKDOWN else False,
        transmission=body.transmission or "",
    )
    return command if supported(device, name) else step(command, Event.UNSUPPORTED, call.wall)


async def _upgrade(call: Call, device: Device) -> str:
    live = await call.ports.store.get_unique(DeviceUpgrade, "live", device.mac.text)
    if live is None:
        raise Problem("no-upgrade")
    return live.record.key


async def _change_transmission(work: Work, found: Stored[Device], body: CommandBody) -> None:
    before = found.record
    after = replace(before, transmission=transmission_of(body.transmission))
    if after == before:
        work.require(Device, before.key)
        work.require(Site, before.site)
        return
    roster = await roster_of(work.call.ports.store, before.site)
    path, changed = f"device/{before.mac}", ("transmission",)
    work.change(found, after, action="device.changed", object=path, site=before.site, changed=changed)
    await enrol(work, roster, Delta(device_before=before, device_after=after))


@routes.get(
    "/devices/{mac}/commands",
    tags=["commands"],
    responses=documented("forbidden", "malformed-mac", "not-found", "invalid-fields", "malformed-cursor"),
)
@needs(Permission.COMMANDS_READ)
async def list_device_commands(call: CallOf, mac: str, paging: PagingOf) -> ListPage[CommandView]:
    """A device's commands, the newest first. The last 50 that are over are kept, and some more."""
    device = (await find_device(call, parse_mac(mac))).record
    where = (Shelf("mac", device.mac.text),)
    return await page(
        call,
        paging,
        Command,
        where,
        lambda stored: view_of(stored.record),
        newest_first=True,
        keep=lambda command: command.site == device.site,
    )


@routes.get("/commands", tags=["commands"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.COMMANDS_READ)
async def list_commands(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[CommandView]:
    """The commands of a site, or of all sites for a token that sees all, the newest first."""
    where = log_shelves(call, site)
    return await page(call, paging, Command, where, lambda stored: view_of(stored.record), newest_first=True)


@routes.get("/commands/{command}", tags=["commands"], response_model=CommandView, responses=documented("forbidden", "not-found"))
@needs(Permission.COMMANDS_READ)
async def get_command(call: CallOf, command: str) -> Response:
    """One command."""
    found = await find_command(call, command)
    return show(call, view_of(found.record), found.version)


@routes.get("/commands/{command}/log", tags=["commands"], responses=documented("forbidden", "not-found"))
@needs(Permission.COMMAND_LOGS_READ)
async def get_collected_log(call: CallOf, command: str) -> LogView:
    """The log that a collect-log command has brought; at most 64 KiB of it."""
    found = await find_command(call, command)
    stored = await call.ports.store.get(CollectedLog, found.record.id)
    if stored is None:
        raise Problem("not-found", "This command has brought no log.")
    text = call.ports.vault.open(stored.record.sealed_text, log_context(found.record.id))
    return LogView(command=found.record.id, size=len(text), text=text.decode("utf-8", "replace"))


@routes.delete(
    "/commands/{command}",
    status_code=204,
    tags=["commands"],
    responses=documented("forbidden", "not-found", "under-way", "command-over", "precondition-failed", "precondition-required"),
)
@needs(Permission.COMMANDS_WRITE)
async def cancel_command(call: CallOf, command: str, if_match: IfMatch = None) -> Response:
    """Cancel a command that was not sent yet. Nothing takes back one that was."""

    async def attempt(work: Work) -> Answer:
        found = await find_command(call, command)
        check_role(call, found.record.name)
        call.conditions.check_change(found.version)
        after = step(found.record, Event.CANCELLED, call.wall)
        if after is found.record:
            if found.record.state is CommandState.CANCELLED:
                return Answer(204)
            began = timestamp(found.record.since)
            raise Problem("under-way") if not found.record.state.is_over else Problem("command-over", f"Since {began}.")
        path = f"command/{command}"
        work.change(found, after, action="command.cancelled", object=path, site=after.site, changed=("state",))
        return Answer(204)

    return await run(call, attempt)
