"""The bodies of `/devices`, and what a device's autop commands may say."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from admin_api.autop_lines import DROPPED, AutopLines, DroppedLine, masked, unmasked
from admin_api.models import (
    Body,
    Flag,
    Id,
    Label,
    OptionalDialNumber,
    Reference,
    Timestamp,
    Whole,
    ascii_matching,
    timestamp,
)
from admin_api.schedule_models import ScheduleBody, always, schedule_body, schedule_of
from autop.commands import settle
from autop.settings import CAMERA_USER
from registry.records import AccessMethod, ContactDisplay, Device, DeviceKind, Relay, Transmission

TransmissionName = Literal["udp", "tcp", "tls", "dns-srv"]
KindCode = Literal[0, 1, 2, 3, 50]
DtmfCode = Annotated[str, ascii_matching(r"[0-9#*]{0,8}", "at most 8 of 0-9 # and *; empty for none")]


def _usual_methods() -> list[AccessMethod]:
    return [AccessMethod.APP_TALKING, AccessMethod.DTMF]


class RelayBody(Body):
    """A relay of a door device."""

    name: Label
    dtmf_code: Annotated[DtmfCode, Field(description="What opens it during a call.")] = ""
    hold_seconds: Annotated[Whole, Field(ge=1, le=60)] = 3
    access_methods: Annotated[list[AccessMethod], Field(default_factory=_usual_methods, max_length=7)]


class DeviceBody(Body):
    """A device. What is left out of a PUT takes its default."""

    site: Id
    kind: Annotated[
        KindCode,
        Field(description="0 multi-tenant and 1 single-tenant door phone, 2 indoor monitor, 3 guard phone, 50 access control."),
    ]
    model: Annotated[str, Field(min_length=1, max_length=64, examples=["R29"])]
    name: Label
    department: Annotated[Reference, Field(description="Empty: Public Area.")] = ""
    network_group: Reference = ""
    owner: Annotated[
        Reference, Field(description="The user it belongs to; an indoor monitor rings for its owner. Empty for none.")
    ] = ""
    transmission: TransmissionName = "udp"
    relays: Annotated[list[RelayBody], Field(default_factory=list, max_length=4)]
    button_number: Annotated[OptionalDialNumber, Field(description="What the push button dials.")] = ""
    users_may_monitor: Annotated[
        Flag, Field(description="Whether monitors and apps of the site may call this door (manual, L194).")
    ] = False
    monitor_after_ring: Annotated[
        Flag, Field(description="Whether monitors and apps may call it only for 3 minutes after it has rung them.")
    ] = False
    contact_display: Annotated[ContactDisplay, Field(description="Whom its contacts show (manual, L191).")] = ContactDisplay.ALL
    schedule: Annotated[ScheduleBody, Field(default_factory=always)]
    autop_commands: Annotated[AutopLines, Field(description="Lines for this device; of equal keys the last stays (L254).")]


class AccountName(BaseModel):
    """A SIP account."""

    username: str


class AccountSecret(AccountName):
    """A SIP account with its password."""

    password: str


class DeviceView(DeviceBody):
    """A device as the gateway holds it. No secret is ever shown again; secret values in autop commands are masked."""

    mac: str
    id: str = Field(description="Stays the same when a replacement changes the MAC.")
    account: AccountName = Field(description="Its SIP account.")
    created: Timestamp
    autop_commands: list[str]
    autop_dropped: Annotated[list[DroppedLine], Field(default_factory=list, description=DROPPED)]


class DeviceListed(DeviceView):
    """A device in a list."""

    online: bool


class NewDevice(DeviceView):
    """A device just added, with its secrets: shown this once. They reach the device through autop."""

    account: AccountSecret
    autop_url: str = Field(description="The directory URL for the device's autop field.")
    web_password: str = Field(description="The password of the device's own web page.")
    camera_password: str | None = Field(description=f"Of a door's camera by RTSP, for the user {CAMERA_USER}; null: no camera.")


class RelayView(BaseModel):
    """A relay, as the device said last (indoor monitors report their relays)."""

    relay: int
    on: bool
    since: Timestamp


class DeviceStatus(BaseModel):
    """What the node knows about a device now."""

    mac: str
    online: bool
    registered: bool = Field(
        description="It has a SIP registration. That a device without a channel is gone is seen only when this ends. Where a "
        "channel has ended, the registration makes the device online only once it is refreshed."
    )
    channel: bool = Field(description="Its own channel is up. A cut cable is noticed within 30 s.")
    connector: bool = Field(description="A connector at its site reaches it.")
    ways: list[str] = Field(description="How it can be reached, best first: channel, connector, sip.")
    since: str | None = Field(description="When it came online, or went offline; null where this node has not seen it do so.")
    last_seen: str | None
    token_rotation: str | None = Field(description="Since when a new token waits to be taken up; null: it has one token.")
    enrolled: str | None = Field(description="When it last enrolled in a window; null: it did not, or has not finished.")
    relays: list[RelayView] = Field(description="Relays whose state the device has reported, by number.")


def body_of(device: Device) -> DeviceBody:
    """The part of a device that a PUT sets, autop secrets unmasked: never to be answered."""
    return DeviceBody.model_construct(
        site=device.site,
        kind=device.kind.value,
        model=device.model,
        name=device.name,
        department=device.department,
        network_group=device.network_group,
        owner=device.owner,
        transmission=_NAMES[device.transmission],
        relays=[_relay_body(relay) for relay in device.relays],
        button_number=device.button_number,
        users_may_monitor=device.users_may_monitor,
        monitor_after_ring=device.monitor_after_ring,
        contact_display=device.contact_display,
        schedule=schedule_body(device.schedule),
        autop_commands=list(device.autop_commands),
    )


def view_fields(device: Device) -> dict[str, object]:
    """The fields of a DeviceView."""
    body = body_of(device).model_dump(mode="json")
    body["autop_commands"] = [masked(line) for line in device.autop_commands]
    return {
        **body,
        "mac": device.mac.text,
        "id": device.id,
        "account": {"username": device.account},
        "created": timestamp(device.created),
    }


def settings_of(body: DeviceBody, present: Device | None) -> dict[str, object]:
    """The fields of a Device record that `body` sets."""
    return {
        "site": body.site,
        "kind": DeviceKind(body.kind),
        "model": body.model.upper(),
        "name": body.name,
        "department": body.department,
        "network_group": body.network_group,
        "owner": body.owner,
        "transmission": _CODES[body.transmission],
        "relays": tuple(_relay(relay) for relay in body.relays),
        "button_number": body.button_number,
        "users_may_monitor": body.users_may_monitor,
        "monitor_after_ring": body.monitor_after_ring,
        "contact_display": body.contact_display,
        "schedule": schedule_of(body.schedule),
        "autop_commands": settle(unmasked(body.autop_commands, present.autop_commands if present else ())).lines,
    }


def model_faults(model: str, kind: DeviceKind, known: Mapping[str, DeviceKind]) -> list[tuple[str, str]]:
    """Why `model` cannot be a device of `kind`, as field errors: an unknown model with the nearest names, or the wrong kind."""
    usual = known.get(model.upper())
    if usual is None:
        nearest = difflib.get_close_matches(model.upper(), known, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        return [("/model", f"unknown model{hint}")]
    tenancy = {DeviceKind.MULTI_TENANT_DOOR_PHONE, DeviceKind.SINGLE_TENANT_DOOR_PHONE}
    if usual is not kind and not {usual, kind} <= tenancy:
        return [("/kind", f"a {model.upper()} is of kind {usual.value}, not {kind.value}")]
    return []


def kind_faults(body: DeviceBody) -> list[tuple[str, str]]:
    """Fields that a device of this kind does not have."""
    kind = DeviceKind(body.kind)
    faults: list[tuple[str, str]] = []
    if body.users_may_monitor and not kind.is_door:
        faults.append(("/users_may_monitor", "only door phones and access control can be monitored (manual, L194)"))
    if body.monitor_after_ring and not kind.is_door:
        faults.append(("/monitor_after_ring", "only door phones and access control ring people"))
    codes = [relay.dtmf_code for relay in body.relays if relay.dtmf_code]
    if len(set(codes)) != len(codes):
        faults.append(("/relays", "two relays have one DTMF code"))
    return faults


def _relay(body: RelayBody) -> Relay:
    return Relay(body.name, body.dtmf_code, body.hold_seconds, frozenset(body.access_methods))


def _relay_body(relay: Relay) -> RelayBody:
    methods = sorted(relay.access_methods)
    return RelayBody(name=relay.name, dtmf_code=relay.dtmf_code, hold_seconds=relay.hold_seconds, access_methods=methods)


_CODES: Mapping[str, Transmission] = {
    "udp": Transmission.UDP,
    "tcp": Transmission.TCP,
    "tls": Transmission.TLS,
    "dns-srv": Transmission.DNS_SRV,
}


def transmission_of(name: TransmissionName | None) -> Transmission:
    """The transmission type of this name; None: the factory's."""
    return _CODES[name or "udp"]


_NAMES: Mapping[Transmission, TransmissionName] = {
    Transmission.UDP: "udp",
    Transmission.TCP: "tcp",
    Transmission.TLS: "tls",
    Transmission.DNS_SRV: "dns-srv",
}
