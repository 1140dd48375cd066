"""`/devices/{mac}/forwards`: a raw port forward (ssh, RTSP) to one device, for an operator's tool: `portico forward`.

A forward is a Remote Control session of another service: it is listed, audited and revoked as such (`/remote-sessions`). A site
must allow it, and ends what runs when it does not any more.
"""

from typing import Annotated, Literal

from fastapi import Response
from pydantic import Field

from admin_api.calls import CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.models import Body, Whole
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented
from admin_api.remote_sessions import SessionView, session_fields
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run
from registry.records import Site
from tunnel.session import IDLE_SECONDS, SESSION_SECONDS, new_session

routes = router()


class ForwardBody(Body):
    """What is forwarded, and how long it may last."""

    service: Annotated[
        Literal["ssh", "rtsp"], Field(description="A service of the device. Which port it is, the device's end knows.")
    ]
    seconds: Annotated[Whole, Field(ge=60, le=int(SESSION_SECONDS), description="Until it ends in any case.")] = int(
        SESSION_SECONDS
    )
    idle_seconds: Annotated[Whole, Field(ge=60, le=int(SESSION_SECONDS), description="Without use, until it ends.")] = (
        IDLE_SECONDS
    )


class NewForward(SessionView):
    """A forward just made: the only time its ticket is shown."""

    ticket: str = Field(description="What `portico forward` shows the gateway, once and within a minute.")
    host: str = Field(description="Where it dials: TLS with ALPN portico-forward/1.")
    port: int
    online: bool = Field(description="Whether the device can be reached now.")


@routes.post(
    "/devices/{mac}/forwards",
    status_code=201,
    tags=["remote-sessions"],
    response_model=NewForward,
    responses=documented("forbidden", "malformed-mac", "not-found", "forward-off", "invalid-fields"),
)
@needs(Permission.FORWARDS_WRITE)
async def open_forward(call: CallOf, mac: str, body: ForwardBody) -> Response:
    """Forward ssh or RTSP of a device to an operator's tool, where its site allows that."""
    address = parse_mac(mac)

    async def attempt(work: Work) -> Answer:
        device = (await find_device(call, address)).record
        site = await call.find_site(device.site)
        if not site.record.allow_forward:
            raise Problem("forward-off")
        made = new_session(
            mac=device.mac,
            site=device.site,
            opened_by=call.caller.actor,
            wall=call.wall,
            entropy=call.ports.entropy,
            session_seconds=float(body.seconds),
            idle_seconds=body.idle_seconds,
            service=body.service,
        )
        work.require(type(device), device.key)
        work.require(Site, device.site, expect=site.version)
        path, seen = f"remote-session/{made.record.id}", call.ports.presence(device)
        note = f"forward of {body.service}, device {device.mac}"
        work.create(made.record, action="forward.opened", object=path, site=device.site, note=note)
        host, port = call.ports.remote_control.forward_address()
        answer = NewForward.model_validate(
            {
                **session_fields(made.record, call.wall),
                "ticket": made.ticket,
                "host": host,
                "port": port,
                "online": seen.channel or seen.connector,
            }
        )
        return Answer(201, answer, of=made.record, location=f"/api/v1/remote-sessions/{made.record.id}")

    return await run(call, attempt)
