"""`/devices/{mac}/lan-address`: where a device is on its site's LAN, for the site's connector (docs/connector.md)."""

from typing import Annotated

from fastapi import Response
from pydantic import AfterValidator, BaseModel, Field

from admin_api.calls import CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.models import Body
from admin_api.permissions import Permission
from admin_api.problems import documented
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run
from autop.contacts import lan_address
from registry.connector import DeviceAddress, private_address
from registry.location import AorBindings
from registry.records import Device

routes = router()


def _private(text: str) -> str:
    if private_address(text) != text or not text:
        raise ValueError("a private IPv4 address (10.x, 172.16-31.x, 192.168.x), as 192.168.1.20; no name")
    return text


class AddressBody(Body):
    """An address that an operator knows."""

    address: Annotated[str, Field(max_length=15, examples=["192.168.1.20"]), AfterValidator(_private)]


class AddressView(BaseModel):
    """Where a device is taken to be."""

    mac: str
    address: str = Field(description="Empty: not known. The connector then looks for the MAC among its neighbours.")
    source: str = Field(description="`entered` by an operator, `registered` by the device over SIP, or `unknown`.")


@routes.get("/devices/{mac}/lan-address", tags=["connectors"], responses=documented("malformed-mac", "not-found"))
@needs(Permission.DEVICES_READ)
async def get_lan_address(call: CallOf, mac: str) -> AddressView:
    """Where the device is on its LAN, and who says so."""
    device = (await find_device(call, parse_mac(mac))).record
    entered = await call.ports.store.get(DeviceAddress, device.mac.text)
    if entered is not None:
        return AddressView(mac=device.mac.text, address=entered.record.address, source="entered")
    bindings = await call.ports.store.get(AorBindings, device.account) if device.account else None
    address = lan_address(bindings.record) if bindings is not None else ""
    return AddressView(mac=device.mac.text, address=address, source="registered" if address else "unknown")


@routes.put(
    "/devices/{mac}/lan-address",
    tags=["connectors"],
    response_model=AddressView,
    responses=documented("forbidden", "malformed-mac", "not-found", "invalid-fields"),
)
@needs(Permission.DEVICES_WRITE)
async def put_lan_address(call: CallOf, mac: str, body: AddressBody) -> Response:
    """Enter the device's address; it goes before what the device has registered. The same body twice is the same as once."""
    address = parse_mac(mac)

    async def attempt(work: Work) -> Answer:
        device = (await find_device(call, address)).record
        present = await call.ports.store.get(DeviceAddress, address.text)
        view = AddressView(mac=address.text, address=body.address, source="entered")
        made, path = DeviceAddress(address, device.site, body.address), f"device/{address}"
        if present is None:
            work.require(Device, device.key)
            work.create(made, action="device.lan-address-entered", object=path, site=device.site)
        elif present.record != made:
            work.change(present, made, action="device.lan-address-entered", object=path, site=device.site, changed=("address",))
        return Answer(200, view)

    return await run(call, attempt)


@routes.delete(
    "/devices/{mac}/lan-address",
    status_code=204,
    tags=["connectors"],
    responses=documented("forbidden", "malformed-mac", "not-found"),
)
@needs(Permission.DEVICES_WRITE)
async def delete_lan_address(call: CallOf, mac: str) -> Response:
    """Forget the entered address: what the device registers counts again. Twice is no error."""
    address = parse_mac(mac)

    async def attempt(work: Work) -> Answer:
        device = (await find_device(call, address)).record
        present = await call.ports.store.get(DeviceAddress, address.text)
        if present is not None:
            work.remove(present, action="device.lan-address-removed", object=f"device/{address}", site=device.site)
        return Answer(204)

    return await run(call, attempt)
