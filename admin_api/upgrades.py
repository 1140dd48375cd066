"""`/upgrades`: firmware upgrades of a site's devices (manual L313-336). What happens to each device is written by autop's upgrade
clock and by the device's own requests; this file creates, changes, cancels and shows."""

from dataclasses import replace
from typing import Any

from fastapi import Response

from admin_api.audit import changed_fields
from admin_api.calls import Call, CallOf
from admin_api.credentials import new_id
from admin_api.firmware import find_image, is_available
from admin_api.models import merged
from admin_api.pages import ListPage, PagingOf, Shelf, SiteFilter, page, shelves
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid
from admin_api.routing import needs, router
from admin_api.upgrade_models import (
    DeviceUpgradeView,
    UpgradeBody,
    UpgradeSettings,
    UpgradeView,
    device_view_of,
    settings_of,
    view_of,
    window,
)
from admin_api.work import Answer, Work, run, show
from autop.cfg_format import MAX_URL
from autop.firmware import fits, offer_for
from autop.upgrade_states import Event, step
from registry.firmware import (
    MAX_UPGRADE_DEVICES,
    DeviceUpgrade,
    DeviceUpgradeState,
    FirmwareImage,
    FirmwareUpgrade,
    UpgradeState,
)
from registry.records import Device, Site
from registry.store import MAX_PAGE, Stored

routes = router()
_TOKEN = "x" * 26
"""As long as a device's token."""


async def _find(call: Call, upgrade: str) -> Stored[FirmwareUpgrade]:
    return await call.find(FirmwareUpgrade, upgrade, "upgrade", lambda record: record.site)


async def _members(call: Call, upgrade: str) -> list[Stored[DeviceUpgrade]]:
    found = await call.ports.store.list(DeviceUpgrade, "upgrade", upgrade, limit=MAX_PAGE)
    return sorted(found.items, key=lambda stored: stored.record.place)


async def _devices(call: Call, site: str, image: FirmwareImage, named: list[str] | None) -> list[Device]:
    """The devices to upgrade, in order. Raises Problem for those that the image is not for, and where there are none."""
    store, found = call.ports.store, []
    faults: list[tuple[str, str]] = []
    if named is None:
        after: str | None = None
        while True:
            listed = await store.list(Device, "site", site, after=after, limit=MAX_PAGE)
            found += [stored.record for stored in listed.items if fits(stored.record.model, image.model)]
            after = listed.next
            if after is None:
                break
        if not 1 <= len(found) <= MAX_UPGRADE_DEVICES:
            faults.append(("/devices", f"the image is for {len(found)} devices of the site; name 1 to {MAX_UPGRADE_DEVICES}"))
    for place, mac in enumerate(dict.fromkeys(named or ())):
        stored = await store.get(Device, mac)
        if stored is None or stored.record.site != site:
            faults.append((f"/devices/{place}", "the site has no such device"))
        elif not fits(stored.record.model, image.model):
            faults.append((f"/devices/{place}", f"the image is for {image.model}, the device is a {stored.record.model}"))
        else:
            found.append(stored.record)
    if named == []:
        faults.append(("/devices", "name at least one, or null for all"))
    if faults:
        raise invalid(*faults)
    offer = offer_for(found[0].model, image.id)
    if offer is None or len(offer.url(call.ports.autop_url(found[0].mac, _TOKEN), found[0].mac)) > MAX_URL:
        raise invalid(("/image", f"its URL is longer than the {MAX_URL} characters of a device's field; use a shorter host"))
    return found


async def _check_free(call: Call, devices: list[Device], but: str) -> None:
    for device in devices:
        live = await call.ports.store.get_unique(DeviceUpgrade, "live", device.mac.text)
        if live is not None and live.record.upgrade != but:
            raise Problem("already-upgrading", f"{device.mac} takes part in another one; let it end, or leave the device out.")


async def _write(
    work: Work, id_: str, site: str, image: Stored[FirmwareImage], settings: UpgradeSettings, created: float
) -> tuple[FirmwareUpgrade, list[DeviceUpgrade]]:
    """The records of an upgrade; adds to `work` what holds them together. Raises Problem."""
    call = work.call
    if not is_available(call, image.record):
        raise Problem("firmware-missing")
    starts, ends, faults = window(settings, call.wall)
    if faults:
        raise invalid(*faults)
    devices = await _devices(call, site, image.record, settings.devices)
    await _check_free(call, devices, id_)
    work.require(Site, site)
    work.put(image.record, expect=image.version)  # so that it cannot be deleted at the same time (firmware.py)
    upgrade = FirmwareUpgrade(
        id=id_,
        site=site,
        image=image.record.id,
        model=image.record.model,
        version=image.record.version,
        starts=starts,
        ends=ends,
        devices=len(devices),
        created=created,
        updated=call.wall,
        first_hour=settings.first_hour,
        hours=settings.hours,
        first_percent=settings.first_percent,
        max_failed_percent=settings.max_failed_percent,
        reset_after=settings.reset_after_upgrade,
        allow_older=settings.allow_older,
    )
    members = [
        DeviceUpgrade(id_, device.mac, site, image.record.id, image.record.version, place, call.wall)
        for place, device in enumerate(devices)
    ]
    return upgrade, members


@routes.post(
    "/upgrades",
    status_code=201,
    tags=["upgrades"],
    response_model=UpgradeView,
    responses=documented("forbidden", "not-found", "invalid-fields", "firmware-missing", "already-upgrading"),
)
@needs(Permission.UPGRADES_WRITE)
async def create_upgrade(call: CallOf, body: UpgradeBody) -> Response:
    """Upgrade devices of a site. An image of another model number, or for a model the table does not know, is refused."""
    upgrade_id = new_id(call.ports.entropy)

    async def attempt(work: Work) -> Answer:
        await call.find_site(body.site)
        image = await find_image(call, body.image)
        upgrade, members = await _write(work, upgrade_id, body.site, image, body, call.wall)
        for member in members:
            work.put(member, expect=0)
        note = f"{upgrade.model} {upgrade.version}, {len(members)} devices"
        work.create(upgrade, action="upgrade.created", object=f"upgrade/{upgrade.id}", site=body.site, note=note)
        taken = {"live": Problem("already-upgrading")}
        return Answer(201, view_of(upgrade), of=upgrade, location=f"/api/v1/upgrades/{upgrade.id}", taken=taken)

    return await run(call, attempt, site=body.site)


@routes.get("/upgrades", tags=["upgrades"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.UPGRADES_READ)
async def list_upgrades(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[UpgradeView]:
    """The upgrades of a site, or of all sites in the token's scope."""
    return await page(call, paging, FirmwareUpgrade, shelves(call, site), lambda found: view_of(found.record))


@routes.get("/upgrades/{upgrade}", tags=["upgrades"], response_model=UpgradeView, responses=documented("forbidden", "not-found"))
@needs(Permission.UPGRADES_READ)
async def get_upgrade(call: CallOf, upgrade: str) -> Response:
    """One upgrade."""
    found = await _find(call, upgrade)
    return show(call, view_of(found.record), found.version)


@routes.get(
    "/upgrades/{upgrade}/devices",
    tags=["upgrades"],
    responses=documented("forbidden", "not-found", "invalid-fields", "malformed-cursor"),
)
@needs(Permission.UPGRADES_READ)
async def list_upgrade_devices(call: CallOf, upgrade: str, paging: PagingOf) -> ListPage[DeviceUpgradeView]:
    """How far each device is, and how it ended."""
    found = await _find(call, upgrade)
    where = (Shelf("upgrade", found.record.id),)
    return await page(call, paging, DeviceUpgrade, where, lambda stored: device_view_of(stored.record))


@routes.patch(
    "/upgrades/{upgrade}",
    tags=["upgrades"],
    response_model=UpgradeView,
    responses=documented(
        "forbidden",
        "not-found",
        "invalid-fields",
        "upgrade-begun",
        "firmware-missing",
        "already-upgrading",
        "precondition-failed",
        "precondition-required",
    ),
)
@needs(Permission.UPGRADES_WRITE)
async def change_upgrade(call: CallOf, upgrade: str, patch: dict[str, Any]) -> Response:
    """Change an upgrade that is pending, by a JSON Merge Patch. Its site and image stay."""
    site = (await _find(call, upgrade)).record.site

    async def attempt(work: Work) -> Answer:
        found = await _find(call, upgrade)
        call.conditions.check_change(found.version)
        if found.record.state is not UpgradeState.PENDING:
            raise Problem("upgrade-begun")
        members = await _members(call, upgrade)
        settings = merged(UpgradeSettings, settings_of(found.record, [one.record.mac.text for one in members]), patch)
        image = await find_image(call, found.record.image)
        after, wanted = await _write(work, upgrade, site, image, settings, found.record.created)
        kept = {member.key for member in wanted}
        versions = {one.record.key: one.version for one in members}
        for one in members:
            if one.record.key not in kept:
                work.delete(DeviceUpgrade, one.record.key, expect=one.version)
        for member in wanted:
            work.put(member, expect=versions.get(member.key, 0))
        changed = changed_fields(found.record, after, leave_out=("updated",))
        work.change(found, after, action="upgrade.changed", object=f"upgrade/{upgrade}", site=site, changed=changed)
        return Answer(200, view_of(after), of=after, taken={"live": Problem("already-upgrading")})

    return await run(call, attempt, site=site)


@routes.delete(
    "/upgrades/{upgrade}",
    status_code=204,
    tags=["upgrades"],
    responses={
        200: {
            "model": UpgradeView,
            "description": "Devices have the image already: cancelled for all others.",
        },
        **documented("forbidden", "not-found", "precondition-failed", "precondition-required"),
    },
)
@needs(Permission.UPGRADES_WRITE)
async def delete_upgrade(call: CallOf, upgrade: str) -> Response:
    """Delete an upgrade. Under way it is cancelled; where a device has the image already it is only marked until it is over."""
    site = (await _find(call, upgrade)).record.site

    async def attempt(work: Work) -> Answer:
        found = await _find(call, upgrade)
        call.conditions.check_change(found.version)
        members = await _members(call, upgrade)
        if any(one.record.state is DeviceUpgradeState.FETCHED for one in members):
            return _cancel(work, found, members)
        for one in members:
            work.delete(DeviceUpgrade, one.record.key, expect=one.version)
        work.remove(found, action="upgrade.deleted", object=f"upgrade/{upgrade}", site=site)
        return Answer(204)

    return await run(call, attempt, site=site)


def _cancel(work: Work, found: Stored[FirmwareUpgrade], members: list[Stored[DeviceUpgrade]]) -> Answer:
    for one in members:
        after = step(one.record, Event.CANCELLED, work.call.wall)
        if after is not one.record:
            work.put(after, expect=one.version)
        else:
            work.require(DeviceUpgrade, one.record.key, expect=one.version)
    marked = replace(found.record, cancelled=True, updated=work.call.wall)
    work.change(
        found,
        marked,
        action="upgrade.cancelled",
        object=f"upgrade/{marked.id}",
        site=marked.site,
        changed=("cancelled",),
    )
    return Answer(200, view_of(marked), of=marked)
