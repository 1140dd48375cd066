"""What time, stages and devices' versions make of an upgrade: a function of its records and `now`, called again and again.

Everything it decides by is in the store, so any node may call it, before and after a crash, and nothing is decided twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autop.firmware import older, same
from autop.upgrade_states import SILENCE_SECONDS, Event, step
from registry.firmware import DeviceUpgrade, DeviceUpgradeState, FirmwareUpgrade, ResetStep, UpgradeState

_S = DeviceUpgradeState
_UNDER_WAY = frozenset((_S.TOLD, _S.FETCHED))
_NOT_THE_IMAGE = frozenset((Event.HALTED.value, Event.NEWER.value, Event.GONE.value, Event.ENDED.value))
"""Failures that tell nothing about the image."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device now: whether it is still there and of a fitting model, and the version it tells ("" if none is known)."""

    fits: bool
    version: str = ""


def first_stage(upgrade: FirmwareUpgrade) -> int:
    """How many devices go first: `first_percent` of them, rounded up."""
    return min(upgrade.devices, -(-upgrade.devices * upgrade.first_percent // 100))


def advance(
    upgrade: FirmwareUpgrade,
    devices: Sequence[DeviceUpgrade],
    facts: Mapping[str, DeviceFacts],
    now: float,
    *,
    in_hours: bool,
) -> tuple[FirmwareUpgrade, list[DeviceUpgrade]]:
    """The upgrade and all of its devices at `now`, in the order given. What is unchanged is the same object.

    `facts` are by MAC; `in_hours`: whether the site's clock is within the upgrade's hours.
    """
    found = [_told(device, facts.get(device.mac.text, DeviceFacts(fits=False)), upgrade, now) for device in devices]
    if _failed_too_often(upgrade, found):
        found = [step(device, Event.HALTED, now) for device in found]
    if now >= upgrade.ends:
        found = [step(device, Event.ENDED, now) for device in found]
    elif now >= upgrade.starts and not upgrade.cancelled:
        opened = _opened(upgrade, found)
        event = Event.DUE if in_hours else Event.CLOSED
        found = [step(device, event, now) if device.place < opened else device for device in found]
    state = _state(upgrade, found)
    if state is not upgrade.state:
        upgrade = replace(upgrade, state=state, updated=now)
    return upgrade, found


def proven(device: DeviceUpgrade, upgrade_resets: bool, now: float) -> DeviceUpgrade:
    """The device after it told the target version: the reset, if one is wanted, is due only now."""
    after = step(device, Event.PROVEN, now)
    if after is not device and upgrade_resets:
        after = replace(after, reset=ResetStep.WAITING)
    return after


def _told(device: DeviceUpgrade, facts: DeviceFacts, upgrade: FirmwareUpgrade, now: float) -> DeviceUpgrade:
    """What the device's version and its silence say."""
    if device.state.is_over:
        return device
    if not facts.fits:
        return step(device, Event.GONE, now)
    if facts.version and facts.version != device.seen:
        device = replace(device, seen=facts.version)
    if device.seen and same(device.seen, device.version):
        return proven(device, upgrade.reset_after, now)
    if device.seen and older(device.version, device.seen) and not upgrade.allow_older:
        return step(device, Event.NEWER, now)
    if device.state in _UNDER_WAY and now - device.since >= SILENCE_SECONDS:
        device = step(device, Event.NOT_FETCHED, now)
        return step(device, Event.OLD_AGAIN if facts.version else Event.SILENT, now)
    return device


def _failed(device: DeviceUpgrade) -> bool:
    return device.state is _S.FAILED and device.result not in _NOT_THE_IMAGE


def _failed_too_often(upgrade: FirmwareUpgrade, devices: Sequence[DeviceUpgrade]) -> bool:
    opened = _opened(upgrade, devices)
    let_go = [device for device in devices if device.place < opened]
    failed = sum(map(_failed, let_go))
    return failed * 100 > upgrade.max_failed_percent * len(let_go)


def _opened(upgrade: FirmwareUpgrade, devices: Sequence[DeviceUpgrade]) -> int:
    """How many places are let go: the first stage; all, once half of it has proven the version and none is under way.

    Not all of it must be over: a device that is off would hold up everybody. A rest that was let go stays so.
    """
    first = first_stage(upgrade)
    stage = [device for device in devices if device.place < first]
    rest = [device for device in devices if device.place >= first]
    if any(device.state not in (_S.PENDING, _S.CANCELLED, _S.FAILED) for device in rest):
        return len(devices)
    executed = sum(device.state is _S.EXECUTED for device in stage)
    under_way = any(device.state in _UNDER_WAY for device in stage)
    return len(devices) if executed * 2 >= len(stage) and not under_way else first


def _state(upgrade: FirmwareUpgrade, devices: Sequence[DeviceUpgrade]) -> UpgradeState:
    if all(device.state.is_over for device in devices):
        executed = all(device.state is _S.EXECUTED for device in devices)
        return UpgradeState.EXECUTED if executed else UpgradeState.FAILED
    if upgrade.state is UpgradeState.PENDING and all(device.state is _S.PENDING for device in devices):
        return UpgradeState.PENDING
    return UpgradeState.PROCESSING
