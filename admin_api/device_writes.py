"""Adding and changing a device: everything it needs to be let in is made here, in one batch with the device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from admin_api.audit import changed_fields
from admin_api.autop_lines import dropped
from admin_api.autop_scopes import keep_revision
from admin_api.calls import Call
from admin_api.credentials import account_name, new_id, sip_password, web_password
from admin_api.device_models import DeviceBody, DeviceView, NewDevice, kind_faults, model_faults, settings_of, view_fields
from admin_api.problems import Problem, invalid
from admin_api.roster import Delta, enrol, roster_of
from admin_api.work import Answer, Work
from autop.enrolment import device_token, seal_device_token
from autop.settings import camera_password
from registry.configuration import device_scope
from registry.mac import MacAddress
from registry.records import Account, AccountOwner, Department, Device, DeviceKind, LibraryMac, User
from registry.store import Stored

CHANNEL_KEY_BYTES = 32
_SECRETS = ("sealed_token", "sealed_channel_key", "sealed_web_password")


@dataclass(frozen=True, slots=True)
class Made:
    """A new device with its account, and its secrets in the clear, to be answered once."""

    device: Device
    account: Account
    password: str
    token: str
    web: str


async def add_device(work: Work, mac: MacAddress, body: DeviceBody) -> Answer:
    """Add a device that is not there yet. The MAC must be in the library when the batch is written, not only before.

    Raises Problems `mac-not-in-library`, `not-found` (site), `invalid-fields`.
    """
    call = work.call
    await call.find_site(body.site)
    roster = await roster_of(call.ports.store, body.site)
    await _check(work, body)
    await _require_library(work, mac, body.site)
    made = _make(call, mac, body)
    work.create(made.device, action="device.added", object=f"device/{mac}", site=body.site, note=f"kind {body.kind}")
    work.put(made.account, expect=0)
    if made.device.autop_commands:
        await keep_revision(work, device_scope(mac), made.device.autop_commands)
    await enrol(work, roster, Delta(device_after=made.device))
    answer = NewDevice.model_validate(
        {
            **view_fields(made.device),
            "autop_dropped": dropped(body.autop_commands),
            "account": {"username": made.account.username, "password": made.password},
            "autop_url": call.ports.autop_url(mac, made.token),
            "web_password": made.web,
            "camera_password": camera_password(made.web) if made.device.kind.is_door else None,
        }
    )
    return Answer(201, answer, of=made.device, location=f"/api/v1/devices/{mac}")


async def change_device(work: Work, present: Stored[Device], body: DeviceBody) -> Answer:
    """Replace what a PUT or PATCH sets; a body that changes nothing is answered 200 and writes nothing.

    Secrets, id and account stay. Raises Problems `precondition-required`, `precondition-failed`, `site-fixed`, `invalid-fields`.
    """
    call, before = work.call, present.record
    after = _with(before, settings_of(body, before))
    if after == before and call.conditions.if_match is None and call.conditions.if_none_match is None:
        return Answer(200, view(before, body.autop_commands), version=present.version)
    call.conditions.check_change(present.version)
    if after == before:
        return Answer(200, view(before, body.autop_commands), version=present.version)
    if body.site != before.site:
        raise Problem(
            "site-fixed", f"The device {before.mac} is at site {before.site}. Delete it there, then add it at the other."
        )
    roster = await roster_of(call.ports.store, before.site)
    await _check(work, body)
    changed = changed_fields(before, after, leave_out=_SECRETS)
    work.change(present, after, action="device.changed", object=f"device/{before.mac}", site=before.site, changed=changed)
    await _rename_account(work, before, after)
    if before.autop_commands != after.autop_commands:
        await keep_revision(work, device_scope(before.mac), after.autop_commands, before.autop_commands)
    await enrol(work, roster, Delta(device_before=before, device_after=after))
    return Answer(200, view(after, body.autop_commands), of=after)


def view(device: Device, entered: Sequence[str] = ()) -> DeviceView:
    """A device as an answer shows it; `entered`: the autop commands of the request, to tell which were dropped."""
    return DeviceView.model_validate({**view_fields(device), "autop_dropped": dropped(entered)})


async def _check(work: Work, body: DeviceBody) -> None:
    """What only registry and catalogue know, all faults at once. The roster, read before, holds the things named in place."""
    store, faults = work.call.ports.store, model_faults(body.model, DeviceKind(body.kind), work.call.ports.known_models())
    faults += kind_faults(body)
    if body.department:
        department = await store.get(Department, body.department)
        if department is None or department.record.site != body.site:
            faults.append(("/department", "the site has no such department"))
    if body.owner:
        owner = await store.get(User, body.owner)
        if owner is None or owner.record.site != body.site:
            faults.append(("/owner", "the site has no such user"))
    if faults:
        raise invalid(*faults)


async def _require_library(work: Work, mac: MacAddress, site: str) -> None:
    entry = await work.call.ports.store.get(LibraryMac, mac.text)
    if entry is None or entry.record.site not in ("", site):
        raise not_in_library(mac)
    work.require(LibraryMac, mac.text, expect=entry.version)


def not_in_library(mac: MacAddress) -> Problem:
    """One answer for a MAC that is unknown, reserved for another site, or used at a site the caller does not see."""
    return Problem(
        "mac-not-in-library", f"The MAC library does not allow {mac} at this site. Have the distributor add it for this site."
    )


def _make(call: Call, mac: MacAddress, body: DeviceBody) -> Made:
    entropy, vault = call.ports.entropy, call.ports.vault
    key, username = new_id(entropy), account_name(entropy)
    password, token, web = sip_password(entropy), device_token(entropy), web_password(entropy)
    device = Device(
        mac=mac,
        id=key,
        account=username,
        sealed_token=seal_device_token(vault, mac, token),
        sealed_channel_key=vault.seal(entropy(CHANNEL_KEY_BYTES), f"device-channel:{mac}"),
        sealed_web_password=vault.seal_text(web, f"device-web:{mac}"),
        created=call.wall,
        **_typed(settings_of(body, None)),
    )
    account = Account(
        username=username,
        site=body.site,
        owner_kind=AccountOwner.DEVICE,
        owner=key,
        display_name=body.name,
        sealed_password=vault.seal_text(password, f"account:{username}"),
    )
    return Made(device, account, password, token, web)


async def _rename_account(work: Work, before: Device, after: Device) -> None:
    """The device's name is the caller name that people see (manual, L193)."""
    if before.name == after.name:
        return
    account = await work.call.ports.store.get(Account, after.account)
    if account is not None:
        work.put(replace(account.record, display_name=after.name), expect=account.version)


def _with(device: Device, settings: dict[str, object]) -> Device:
    return replace(device, **_typed(settings))


def _typed(settings: dict[str, object]) -> dict[str, Any]:
    return settings
