"""`POST /devices/{mac}/relays/{relay}/open`: an app opens a door without DTMF, through whoever manages the apps' users.

The token's holder vouches for who asks (`account`) and from which page of the app; everything else is checked here, at the
server. Whatever is not so, unknown or not allowed, gets one answer. The device is asked over its channel and says what it did:
only then is there a door log entry. With an Idempotency-Key the command has an id of its own, so that the repetition of a request
whose answer was lost, even over a restart of the gateway, opens once.
"""

import hashlib
from typing import Annotated, Literal

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.audit import Noted
from admin_api.calls import Call, CallOf, parse_mac
from admin_api.credentials import serial
from admin_api.devices import find_device
from admin_api.models import Body, Name, Timestamp, timestamp
from admin_api.permissions import Permission
from admin_api.ports import Commanded
from admin_api.problems import Problem, documented, shown
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run
from registry.door_log import Opening, command_event, commanded_entry
from registry.logs import DoorEvent
from registry.records import AccessMethod, Device

routes = router()
COMMAND_BYTES = 16
_METHODS = {"home": AccessMethod.APP_HOME, "talking": AccessMethod.APP_TALKING}
_PROBLEMS = {
    Commanded.REFUSED: "device-refused",
    Commanded.UNREACHABLE: "device-unreachable",
    Commanded.SILENT: "device-silent",
}


class OpenBody(Body):
    """Who wants a relay opened, and from where in the app."""

    account: Annotated[Name, Field(description="The app's SIP account.")]
    page: Annotated[
        Literal["home", "talking"],
        Field(description="The app's home page, or its talking page: then it must be in an answered call with this device."),
    ]


class Opened(BaseModel):
    """The device has opened the relay."""

    mac: str
    relay: int
    opened: Literal[True] = True
    at: Timestamp
    method: str
    by: str
    call_id: str


@routes.post(
    "/devices/{mac}/relays/{relay}/open",
    tags=["devices"],
    response_model=Opened,
    responses=documented(
        "forbidden",
        "malformed-mac",
        "not-found",
        "invalid-fields",
        "opening-refused",
        "device-refused",
        "device-unreachable",
        "device-silent",
    ),
)
@needs(Permission.RELAYS_OPEN)
async def open_relay(call: CallOf, mac: str, relay: str, body: OpenBody) -> Response:
    """Open a relay for an app, without DTMF. 200 only if the device itself says that it has; an error comes within 3.5 s.

    With an Idempotency-Key it opens once, however often the request is sent.
    """
    address = parse_mac(mac)
    device = (await find_device(call, address)).record
    number = int(relay) if len(relay) == 1 and relay.isascii() and relay.isdigit() else 0
    command = _command(call, f"{address}/{number}/{body.account}/{body.page}")
    done: Opening | None = None

    async def attempt(work: Work) -> Answer:
        nonlocal done
        event = await _reported(call, device, command)
        if event is None:
            if done is None:
                opening = await _permitted(call, device, number, body)
                await _ask(call, device, number, command, opening)
                done = opening
                event = await _reported(call, device, command)
            if event is None:
                event = commanded_entry(
                    device, number, command.hex(), done, wall=call.ports.wall(), serial=serial(call.ports.entropy)
                )
                work.put(event, expect=0)
        note = f"relay {number}, {event.method} for {event.by}"
        work.note(Noted("relay.opened", f"device/{address}", device.site, note=note))
        view = Opened(
            mac=address.text, relay=number, at=timestamp(event.at), method=event.method, by=event.by, call_id=event.call_id
        )
        return Answer(200, view)

    return await run(call, attempt)


async def _reported(call: Call, device: Device, command: bytes) -> DoorEvent | None:
    """The door log entry that this command has already: the device's own report of it is there, or an earlier answer was lost."""
    found = await call.ports.store.get_unique(DoorEvent, "event", f"{device.mac}/{command_event(command.hex())}")
    return None if found is None else found.record


async def _permitted(call: Call, device: Device, relay: int, body: OpenBody) -> Opening:
    """The opening that this app may have. Raises Problem `opening-refused`, the same whatever the reason."""
    doors, method = call.ports.doors, _METHODS[body.page]
    reason = talking = ""
    if not 1 <= relay <= len(device.relays):
        reason = "no relay"
    elif method not in device.relays[relay - 1].access_methods:
        reason = "method"
    elif not await doors.permits(body.account, device):
        reason = "account"
    elif method is AccessMethod.APP_TALKING and not (talking := doors.talking(body.account, device.account)):
        reason = "not talking"
    if reason:
        doors.refused(device, relay, call.caller.actor, body.account, reason)
        raise Problem("opening-refused")
    return Opening(method, body.account, talking)


async def _ask(call: Call, device: Device, relay: int, command: bytes, opening: Opening) -> None:
    """Have the device do it. Raises Problems `device-refused`, `device-unreachable`, `device-silent`."""
    outcome, word = await call.ports.doors.open(device, relay, command, opening)
    if outcome is not Commanded.OPENED:
        call.ports.doors.refused(device, relay, call.caller.actor, opening.by, outcome.value)
        raise Problem(_PROBLEMS[outcome], f"The device says: {shown(word)}." if word else "")


def _command(call: Call, wish: str) -> bytes:
    """The id of the command: of this wish under this Idempotency-Key, so that the device knows a repetition; else a new one."""
    key = call.request.headers.get("idempotency-key")
    if key is None:
        return call.ports.entropy(COMMAND_BYTES)
    return hashlib.sha256(f"open-relay\n{call.caller.token}\n{wish}\n{key}".encode()).digest()[:COMMAND_BYTES]
