"""Bodies and views of commands and of group commands."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from admin_api.calls import Call
from admin_api.device_models import TransmissionName
from admin_api.models import Body, Flag, MacText, Reference, Timestamp, Whole, timestamp
from admin_api.problems import Problem, invalid
from autop.catalogue import model
from autop.errors import UnknownModel
from registry.command_states import longest, usual
from registry.commands import MAX_GROUP, Command, CommandGroup, CommandName, CommandState, Priority
from registry.records import Device, DeviceKind, Role

Name = Literal["reboot", "reset", "provision", "transmission-type", "upgrade", "open-relay", "lockdown", "collect-log"]
GroupName = Literal["reboot", "provision", "open-relay", "lockdown"]
RelayNumber = Annotated[Whole, Field(ge=1, le=4, description="Of open-relay.")]
SECONDS = "How long it may wait for the device. null: a day, open-relay 10 s (at most 30), in an emergency 300 s (at most 3600)."
Seconds = Annotated[Whole | None, Field(ge=1, description=SECONDS)]
MANAGERS = frozenset((CommandName.OPEN_RELAY, CommandName.LOCKDOWN))
"""What a property manager may order."""
URGENT = MANAGERS
"""What can be an emergency."""


class CommandBody(Body):
    """A command to a device."""

    name: Name
    relay: RelayNumber = 1
    on: Annotated[Flag, Field(description="Of lockdown: nothing switches a relay any more, or (false) all is as before.")] = True
    transmission: Annotated[TransmissionName | None, Field(description="Of transmission-type, which must have one.")] = None
    seconds: Seconds = None


class GroupBody(Body):
    """A command to a set of devices of a site: those in all of `department`, `kind` and `devices` that are given."""

    site: Reference
    name: GroupName
    department: Reference | None = None
    kind: Annotated[Whole | None, Field(ge=0, le=50)] = None
    devices: Annotated[list[MacText] | None, Field(max_length=MAX_GROUP)] = None
    relay: RelayNumber = 1
    on: Flag = True
    emergency: Annotated[
        Flag, Field(description="open-relay and lockdown only: goes before everything else, and waits longer.")
    ] = False
    seconds: Seconds = None


class CommandView(BaseModel):
    """A command and what became of it."""

    id: str
    mac: str
    site: str
    name: str
    relay: int | None = Field(description="Of open-relay.")
    on: bool | None = Field(description="Of lockdown.")
    transmission: str | None
    group: str | None
    upgrade: str | None = Field(description="The upgrade that ordered it, or that it is about.")
    priority: str = Field(description="normal, group or emergency: which of a device's commands goes first.")
    created_by: str
    created: Timestamp
    not_before: str | None = Field(description="Its turn, where several are paced.")
    deadline: Timestamp
    state: str = Field(
        description="pending (was not sent), processing (was sent, may have been done), executed (the device says so), accepted "
        "(the device took it, and does not say what becomes of it: SIP), failed, expired or cancelled."
    )
    since: Timestamp
    attempts: int
    way: str | None = Field(description="How it was sent: channel, connector or sip. null: it was not.")
    result: str = Field(description="The device's own word, or why it came to nothing; empty until it is over.")


class GroupView(BaseModel):
    """A group command. What became of it at each device is in its commands."""

    id: str
    site: str
    name: str
    relay: int | None
    on: bool | None
    emergency: bool
    created_by: str
    created: Timestamp
    deadline: Timestamp
    devices: int


class GroupProgress(GroupView):
    """A group command and how far it is."""

    progress: dict[str, int] = Field(description="How many of its commands are in each state; states with none are left out.")
    over: bool = Field(description="Whether all of them are over.")


class LogView(BaseModel):
    """What a device answered to collect-log. Devices' logs may name people and their codes."""

    command: str
    size: int
    text: str = Field(description="What is not UTF-8 is shown as U+FFFD.")


def check_role(call: Call, name: CommandName) -> None:
    """Raise Problem `forbidden` for what this caller's role may not order."""
    if call.caller.role is Role.PROPERTY_MANAGER and name not in MANAGERS:
        raise Problem("forbidden", f"A property manager orders {' and '.join(sorted(MANAGERS))} only.")


def lifetime(name: CommandName, priority: Priority, seconds: int | None) -> float:
    """Seconds until the deadline. Raises Problem `invalid-fields`."""
    most = longest(name, priority)
    if seconds is not None and seconds > most:
        raise invalid(("/seconds", f"at most {most:.0f} for {name.value}"))
    return float(seconds) if seconds is not None else usual(name, priority)


def supported(device: Device, name: CommandName) -> bool:
    """Whether a device of this model can do it in some way. Only a channel of its own has a lockdown: no source tells of one in
    the devices' local API."""
    if name is not CommandName.LOCKDOWN:
        return True
    try:
        return model(device.model).has_channel
    except UnknownModel:
        return False


def kind_of(kind: int | None) -> DeviceKind | None:
    """Raises Problem `invalid-fields` for a number that is no kind."""
    try:
        return None if kind is None else DeviceKind(kind)
    except ValueError:
        raise invalid(("/kind", f"one of {', '.join(str(one.value) for one in DeviceKind)}")) from None


def view_of(command: Command) -> CommandView:
    """A command as the API shows it."""
    return CommandView(
        id=command.id,
        mac=command.mac.text,
        site=command.site,
        name=command.name,
        relay=command.relay or None,
        on=command.on if command.name is CommandName.LOCKDOWN else None,
        transmission=command.transmission or None,
        group=command.group or None,
        upgrade=command.upgrade.partition("/")[0] or None,
        priority=command.priority.name.lower(),
        created_by=command.created_by,
        created=timestamp(command.created),
        not_before=timestamp(command.not_before) if command.not_before else None,
        deadline=timestamp(command.deadline),
        state=command.state,
        since=timestamp(command.since),
        attempts=command.attempts,
        way=command.way.value or None,
        result=command.result,
    )


def group_fields(group: CommandGroup) -> dict[str, object]:
    """The fields of a GroupView."""
    return {
        "id": group.id,
        "site": group.site,
        "name": group.name.value,
        "relay": group.relay or None,
        "on": group.on if group.name is CommandName.LOCKDOWN else None,
        "emergency": group.emergency,
        "created_by": group.created_by,
        "created": timestamp(group.created),
        "deadline": timestamp(group.deadline),
        "devices": group.devices,
    }


def progress_of(group: CommandGroup, commands: Sequence[Command]) -> GroupProgress:
    """A group command with the states of its commands."""
    counts: Mapping[str, int] = {
        state.value: count for state in CommandState if (count := sum(command.state is state for command in commands))
    }
    over = all(command.state.is_over for command in commands)
    return GroupProgress.model_validate({**group_fields(group), "progress": counts, "over": over})
