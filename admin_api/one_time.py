"""One-Time Autop (manual, L251): lines that each device of a scope gets exactly once, and that make it apply its file again."""

from dataclasses import replace

from fastapi import Response

from admin_api.audit import Noted
from admin_api.autop_commands import GroupOf
from admin_api.autop_lines import dropped, masked
from admin_api.autop_models import OneTimeBody, OneTimeView, OrderView, WaitingView
from admin_api.autop_scopes import Level, Scope, devices_of, find_scope
from admin_api.calls import Call, CallOf, parse_mac
from admin_api.credentials import new_id
from admin_api.devices import find_device
from admin_api.models import timestamp
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid, not_found
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from autop.cfg_format import MASK
from autop.commands import MAX_BYTES, is_blank, settle
from autop.net.one_time import open_order, seal_order
from registry.configuration import OneTimeAutop, OneTimeOrder
from registry.records import Device
from registry.store import Stored

routes = router()
MAX_DEVICES = 400
"""Devices of one order: a batch holds two writes for each."""
MAX_ORDERS = 10
"""Orders that may wait for one device."""


@routes.post(
    "/autop-commands/{level}/{of}/one-time",
    status_code=201,
    tags=["autop-commands"],
    response_model=OneTimeView,
    responses=documented("forbidden", "malformed-mac", "not-found", "invalid-fields", "too-many-devices", "too-much-waits"),
)
@needs(Permission.DEVICES_WRITE)
async def order_one_time(call: CallOf, level: Level, of: str, body: OneTimeBody, group: GroupOf = None) -> Response:
    """Order One-Time Autop for a device, or for all that now belong to a department, network group or site (at most 400).

    Each device gets the lines with its next fetch, once: they are kept until it has taken every byte, then gone.
    """
    if level in (Level.PLATFORM, Level.MODEL):
        raise invalid(("?level", "One-Time Autop is for a device, a department, a network group or a site"))
    if all(is_blank(line) for line in body.lines):
        raise invalid(("/lines", "no line sets anything"))
    faults = [(f"/lines/{n}", "the mask stands for no value here") for n, line in enumerate(body.lines) if line.endswith(MASK)]
    if faults:
        raise invalid(*faults)
    site = (await find_scope(call, level, of, group)).site

    async def attempt(work: Work) -> Answer:
        scope = await find_scope(call, level, of, group)
        lines, key = settle(body.lines).lines, new_id(call.ports.entropy)
        devices = [stored.record async for stored in devices_of(call, scope, scope.site)]
        if not devices:
            raise not_found("device in", f"{scope.level.value} {scope.of}")
        if len(devices) > MAX_DEVICES:
            raise Problem("too-many-devices", f"{len(devices)} devices; at most {MAX_DEVICES} at once. Order it by departments.")
        for device in devices:
            await _append(work, device, OneTimeOrder(key, call.wall, call.caller.actor, b""), lines)
        note = f"{len(devices)} devices"
        work.note(Noted("one-time-autop.ordered", _path(scope), scope.site, note=note))
        shown = [masked(line) for line in lines]
        return Answer(201, OneTimeView(id=key, devices=len(devices), lines=shown, dropped=dropped(body.lines)))

    return await run(call, attempt, site=site)


async def _append(work: Work, device: Device, order: OneTimeOrder, lines: tuple[str, ...]) -> None:
    call, mac = work.call, device.mac
    present = await call.ports.store.get(OneTimeAutop, mac.text)
    orders = present.record.orders if present is not None else ()
    entered = [line for one in orders for line in open_order(call.ports.vault, mac, one)]
    if len(orders) >= MAX_ORDERS or sum(len(line.encode()) + 1 for line in (*entered, *lines)) > MAX_BYTES:
        raise Problem("too-much-waits", f"{mac} has not fetched earlier One-Time Autop yet, and no more fits.")
    order = replace(order, sealed_lines=seal_order(call.ports.vault, mac, lines))
    if present is None:
        work.put(OneTimeAutop(mac, device.site, (order,)), expect=0)
    else:
        work.put(replace(present.record, orders=(*orders, order)), expect=present.version)
    work.require(Device, mac.text)


def _path(scope: Scope) -> str:
    return f"one-time-autop/{scope.key}"


@routes.get(
    "/devices/{mac}/one-time-autop",
    tags=["autop-commands"],
    response_model=WaitingView,
    responses=documented("malformed-mac", "not-found"),
)
@needs(Permission.DEVICES_READ)
async def get_waiting(call: CallOf, mac: str) -> Response:
    """What waits for this device, oldest first; not found where nothing does."""
    stored = await _waiting(call, mac)
    record = stored.record
    orders = [
        OrderView(
            id=order.id,
            at=timestamp(order.at),
            by=order.by,
            under_way=place < record.offered,
            lines=[masked(line) for line in open_order(call.ports.vault, record.mac, order)],
        )
        for place, order in enumerate(record.orders)
    ]
    return show(call, WaitingView(mac=record.mac.text, orders=orders), stored.version)


@routes.delete(
    "/devices/{mac}/one-time-autop",
    status_code=204,
    tags=["autop-commands"],
    responses=documented("forbidden", "malformed-mac", "not-found", "under-way", "precondition-failed", "precondition-required"),
)
@needs(Permission.DEVICES_WRITE)
async def cancel_waiting(call: CallOf, mac: str) -> Response:
    """Cancel what waits for this device and was not sent yet."""
    site = (await find_device(call, parse_mac(mac))).record.site

    async def attempt(work: Work) -> Answer:
        stored = await _waiting(call, mac)
        call.conditions.check_change(stored.version)
        record, path = stored.record, f"one-time-autop/device/{stored.record.mac}"
        if len(record.orders) == record.offered:
            raise Problem("under-way", f"All that waits for {record.mac} was sent already.")
        if record.offered:
            left = replace(record, orders=record.orders[: record.offered])
            work.change(stored, left, action="one-time-autop.cancelled", object=path, site=site, changed=("orders",))
        else:
            work.remove(stored, action="one-time-autop.cancelled", object=path, site=site)
        return Answer(204)

    return await run(call, attempt, site=site)


async def _waiting(call: Call, mac: str) -> Stored[OneTimeAutop]:
    device = await find_device(call, parse_mac(mac))
    stored = await call.ports.store.get(OneTimeAutop, device.record.mac.text)
    if stored is None:
        raise not_found("One-Time Autop for", device.record.mac.text)
    return stored
