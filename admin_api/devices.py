"""`/devices`: keyed by MAC in any spelling, answered in one. A device exists only if the MAC library allows it."""

from typing import Annotated, Any

from fastapi import Header, Response

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.device_models import (
    DeviceBody,
    DeviceListed,
    DeviceStatus,
    DeviceView,
    NewDevice,
    RelayView,
    body_of,
    view_fields,
)
from admin_api.device_removal import remove_device
from admin_api.device_writes import add_device, change_device, not_in_library, view
from admin_api.models import merged, optional_timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, SiteFilter, page, shelves
from admin_api.permissions import Permission
from admin_api.problems import documented
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.enrolment import Enrolment, TokenRotation
from registry.mac import MacAddress
from registry.records import Device
from registry.relay_state import RelayState
from registry.store import Stored

routes = router()

IfMatch = Annotated[str | None, Header(alias="If-Match", description="The ETag that was read. Required to change what is there.")]
_CHANGE = (
    "forbidden",
    "malformed-mac",
    "site-fixed",
    "too-many-targets",
    "invalid-fields",
    "precondition-failed",
    "precondition-required",
)


async def find_device(call: Call, mac: MacAddress) -> Stored[Device]:
    """The device, if the caller sees its site. Raises Problem `not-found`."""
    return await call.find(Device, mac.text, "device", lambda record: record.site)


@routes.put(
    "/devices/{mac}",
    tags=["devices"],
    response_model=DeviceView | NewDevice,
    responses={
        201: {"model": NewDevice, "description": "Added; the only answer that shows the device's secrets."},
        **documented(*_CHANGE, "mac-not-in-library", "not-found"),
    },
)
@needs(Permission.DEVICES_WRITE)
async def put_device(call: CallOf, mac: str, body: DeviceBody, if_match: IfMatch = None) -> Response:
    """Add a device, or replace its settings. The same body twice is one device: the second answer is 200 and changes nothing.

    A body that differs from what is there needs If-Match. With `If-None-Match: *` it only adds.
    """
    address = parse_mac(mac)

    async def attempt(work: Work) -> Answer:
        present = await call.ports.store.get(Device, address.text)
        if present is None:
            call.conditions.check_create()
            return await add_device(work, address, body)
        if not call.caller.sees(present.record.site):
            await call.find_site(body.site)
            raise not_in_library(address)
        return await change_device(work, present, body)

    return await run(call, attempt, site=body.site)


@routes.get("/devices", tags=["devices"], responses=documented("invalid-fields", "malformed-cursor"))
@needs(Permission.DEVICES_READ)
async def list_devices(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[DeviceListed]:
    """The devices of a site, or of all sites in the token's scope."""

    def listed(stored: Stored[Device]) -> DeviceListed:
        online = call.ports.presence(stored.record).online
        return DeviceListed.model_validate({**view_fields(stored.record), "online": online})

    return await page(call, paging, Device, shelves(call, site), listed)


@routes.get("/devices/{mac}", tags=["devices"], response_model=DeviceView, responses=documented("malformed-mac", "not-found"))
@needs(Permission.DEVICES_READ)
async def get_device(call: CallOf, mac: str) -> Response:
    """One device, without its secrets."""
    found = await find_device(call, parse_mac(mac))
    return show(call, view(found.record), found.version)


@routes.patch("/devices/{mac}", tags=["devices"], response_model=DeviceView, responses=documented(*_CHANGE, "not-found"))
@needs(Permission.DEVICES_WRITE)
async def patch_device(call: CallOf, mac: str, patch: dict[str, Any], if_match: IfMatch = None) -> Response:
    """Change a device by a JSON Merge Patch of DeviceBody: absent keeps, null clears; lists are replaced whole."""
    address = parse_mac(mac)
    site = (await find_device(call, address)).record.site

    async def attempt(work: Work) -> Answer:
        present = await find_device(call, address)
        call.conditions.check_change(present.version)
        return await change_device(work, present, merged(DeviceBody, body_of(present.record), patch))

    return await run(call, attempt, site=site)


@routes.delete(
    "/devices/{mac}",
    status_code=204,
    tags=["devices"],
    responses=documented("forbidden", "malformed-mac", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.DEVICES_WRITE)
async def delete_device(call: CallOf, mac: str, if_match: IfMatch = None) -> Response:
    """Delete a device: its SIP account, configuration, channel and Remote Control sessions end at once. Its logs stay."""
    address = parse_mac(mac)
    site = (await find_device(call, address)).record.site

    async def attempt(work: Work) -> Answer:
        present = await find_device(call, address)
        call.conditions.check_change(present.version)
        await remove_device(work, present)
        return Answer(204)

    return await run(call, attempt, site=site)


@routes.get("/devices/{mac}/status", tags=["devices"], responses=documented("malformed-mac", "not-found"))
@needs(Permission.DEVICES_READ)
async def device_status(call: CallOf, mac: str) -> DeviceStatus:
    """Whether a device can be reached now, and how; and how it stands with its token."""
    found = await find_device(call, parse_mac(mac))
    presence = call.ports.presence(found.record)
    state = await call.ports.store.get(RelayState, found.record.mac.text)
    rotation = await call.ports.store.get(TokenRotation, found.record.mac.text)
    enrolment = await call.ports.store.get(Enrolment, found.record.mac.text)
    return DeviceStatus(
        mac=found.record.mac.text,
        online=presence.online,
        registered=presence.registered,
        channel=presence.channel,
        connector=presence.connector,
        ways=list(presence.ways),
        since=optional_timestamp(presence.since),
        last_seen=optional_timestamp(presence.last_seen),
        token_rotation=optional_timestamp(rotation.record.since if rotation is not None else None),
        enrolled=optional_timestamp(enrolment.record.confirmed if enrolment is not None else None),
        relays=[
            RelayView(relay=one.relay, on=one.on, since=timestamp(one.since)) for one in (state.record.relays if state else ())
        ],
    )
