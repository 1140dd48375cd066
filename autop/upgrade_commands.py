"""The commands that an upgrade's steps call for: fetch the configuration now that it names the image; reset now that the version
is proven. Written in the batch of the step itself, so there is never the one without the other, and never one twice. Pure.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from autop.catalogue import model
from autop.errors import UnknownModel
from registry.command_states import MAX_SECONDS
from registry.commands import ID_CHANCE, Command, CommandName, Priority, command_id
from registry.firmware import DeviceUpgrade, DeviceUpgradeState, ResetStep

WAKE_SECONDS = 3600.0
"""How long the order to fetch waits for its device; one that comes later fetches by itself as it starts."""
PACE_SECONDS = 0.5
"""Between the turns of two devices of one step."""
ORDERED_BY = "upgrade"


def can_be_woken(name: str) -> bool:
    """Whether a device of this model can be told to fetch its configuration."""
    try:
        row = model(name)
    except UnknownModel:
        return False
    return row.has_channel or row.check_sync


def wakes(before: Sequence[DeviceUpgrade], after: Sequence[DeviceUpgrade], now: float) -> list[Command]:
    """An order to fetch for each device whose configuration names the image from this step on."""
    offered = [
        new
        for old, new in zip(before, after, strict=True)
        if old.state is not new.state and new.state is DeviceUpgradeState.OFFERED
    ]
    return [
        replace(_order(device, CommandName.UPGRADE, now, WAKE_SECONDS), not_before=now + PACE_SECONDS * turn)
        for turn, device in enumerate(offered)
    ]


def reset_ordered(device: DeviceUpgrade, now: float) -> tuple[DeviceUpgrade, list[Command]]:
    """The device whose reset is due, and the order for it; what is not due is the same object."""
    if device.reset is not ResetStep.WAITING:
        return device, []
    order = _order(device, CommandName.RESET, now, MAX_SECONDS)
    return replace(device, reset=ResetStep.ORDERED, reset_command=order.id), [order]


def _order(device: DeviceUpgrade, name: CommandName, now: float, seconds: float) -> Command:
    chance = hashlib.sha256(f"{name.value} {device.key} {device.since}".encode()).digest()[:ID_CHANCE]
    return Command(
        id=command_id(now, chance),
        mac=device.mac,
        site=device.site,
        name=name,
        created_by=ORDERED_BY,
        created=now,
        deadline=now + seconds,
        since=now,
        priority=Priority.NORMAL,
        upgrade=device.key,
    )
