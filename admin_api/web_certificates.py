"""`/devices/{mac}/web-certificate`: the key of a device's own HTTPS page, pinned when Remote Control first opened it."""

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.models import Timestamp, optional_timestamp, timestamp
from admin_api.permissions import Permission
from admin_api.problems import documented, not_found
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.store import Stored
from registry.web_certificate import WebCertificate

routes = router()


class WebCertificateView(BaseModel):
    """The pinned key, and the one that was refused since, if one was."""

    mac: str
    spki_sha256: str = Field(description="SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.")
    first_seen: Timestamp
    first_by: str = Field(description="Whose Remote Control session met it first.")
    refused_spki_sha256: str = Field(description="The key that the device showed later, and that is refused; empty if none was.")
    refused_since: str | None


async def _find(call: Call, mac: str) -> Stored[WebCertificate]:
    device = (await find_device(call, parse_mac(mac))).record
    found = await call.ports.store.get(WebCertificate, device.mac.text)
    if found is None:
        raise not_found("web certificate of", device.mac.text)
    return found


@routes.get(
    "/devices/{mac}/web-certificate",
    tags=["remote-sessions"],
    response_model=WebCertificateView,
    responses=documented("forbidden", "malformed-mac", "not-found"),
)
@needs(Permission.REMOTE_SESSIONS_READ)
async def get_web_certificate(call: CallOf, mac: str) -> Response:
    """The pin of the device's HTTPS page. Not found until a session met one."""
    found = await _find(call, mac)
    pin = found.record
    view = WebCertificateView(
        mac=pin.mac.text,
        spki_sha256=pin.spki,
        first_seen=timestamp(pin.first_seen),
        first_by=pin.first_by,
        refused_spki_sha256=pin.other,
        refused_since=optional_timestamp(pin.other_seen),
    )
    return show(call, view, found.version)


@routes.delete(
    "/devices/{mac}/web-certificate",
    status_code=204,
    tags=["remote-sessions"],
    responses=documented("forbidden", "malformed-mac", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.DEVICES_WRITE)
async def delete_web_certificate(call: CallOf, mac: str) -> Response:
    """Forget the pin: the next session accepts the key that the device shows then. The way after a reset or a new certificate."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, mac)
        call.conditions.check_change(found.version)
        pin = found.record
        work.remove(found, action="web-certificate.forgotten", object=f"device/{pin.mac}", site=pin.site)
        return Answer(204)

    return await run(call, attempt)
