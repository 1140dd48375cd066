"""`/devices/{mac}/token-rotation`: a new token for a device that cannot lock it out (autop/net/tokens.py)."""

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.audit import Noted
from admin_api.calls import Call, CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.models import Timestamp, timestamp
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, not_found
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from autop.enrolment import device_token, seal_device_token
from registry.enrolment import TokenRotation
from registry.records import Device
from registry.store import Stored

routes = router()


class RotationView(BaseModel):
    """A rotation that is not over. The new token is shown nowhere: the device gets it by autop."""

    mac: str
    since: Timestamp
    by: str = Field(description="Who ordered it: a token's name, or the enrolment window in which the device was bootstrapped.")
    sent: bool = Field(description="Whether a file with the new token may have left. Until then another rotation replaces it.")


def _view(rotation: TokenRotation) -> RotationView:
    return RotationView(mac=rotation.mac.text, since=timestamp(rotation.since), by=rotation.by, sent=rotation.sent)


@routes.post(
    "/devices/{mac}/token-rotation",
    status_code=201,
    tags=["devices"],
    response_model=RotationView,
    responses=documented("forbidden", "malformed-mac", "not-found", "under-way"),
)
@needs(Permission.DEVICES_WRITE)
async def rotate_token(call: CallOf, mac: str) -> Response:
    """Give a device a new token. The old one stays good until the device has fetched its configuration with the new one.

    Refused (`under-way`) while the device may hold the new token of an earlier rotation and has not shown it: to drop that
    token, or the one before, could lock it out, and more than two are never good.
    """
    address = parse_mac(mac)
    site = (await find_device(call, address)).record.site

    async def attempt(work: Work) -> Answer:
        device = await find_device(call, address)
        present = await call.ports.store.get(TokenRotation, address.text)
        if present is not None and present.record.sent:
            raise Problem("under-way", f"{address} may hold the token of the rotation of {timestamp(present.record.since)}.")
        sealed = seal_device_token(call.ports.vault, address, device_token(call.ports.entropy))
        made = TokenRotation(address, device.record.site, sealed, call.wall, call.caller.actor)
        work.require(Device, address.text, expect=device.version)
        work.put(made, expect=present.version if present is not None else 0)
        work.note(Noted("device.token-rotated", f"device/{address}", device.record.site, after_back=1))
        return Answer(201, _view(made), of=made, location=f"/api/v1/devices/{address}/token-rotation")

    return await run(call, attempt, site=site)


@routes.get(
    "/devices/{mac}/token-rotation",
    tags=["devices"],
    response_model=RotationView,
    responses=documented("malformed-mac", "not-found"),
)
@needs(Permission.DEVICES_READ)
async def get_rotation(call: CallOf, mac: str) -> Response:
    """The rotation under way; not found where the device has one token."""
    stored = await _rotation(call, mac)
    return show(call, _view(stored.record), stored.version)


async def _rotation(call: Call, mac: str) -> Stored[TokenRotation]:
    device = await find_device(call, parse_mac(mac))
    stored = await call.ports.store.get(TokenRotation, device.record.mac.text)
    if stored is None:
        raise not_found("token rotation of", device.record.mac.text)
    return stored
