"""Commands to devices: one record each, and one more for an order to a set of devices (installer manual L248, L332 for the
words).

A command's id is the CALL's id (docs/tunnel-protocol.md section 8): 16 bytes in hex, the first six its time in milliseconds, so
that keys sort by age. At most one command of a device is PROCESSING at a time: the unique index `sending` sees to it, whichever
node sends. How one moves on is the table in command_states.py.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import ClassVar

from registry.mac import MacAddress

MAX_WAITING = 32
"""Commands of one device that are not over."""
MAX_GROUP = 900
"""Devices of one group command: its records fit one batch with their audit entry and the kept answer."""
MAX_LOG = 65_536
"""Bytes of a collected log that are kept."""
ID_CHANCE = 10
"""Random bytes in an id."""


class CommandName(StrEnum):
    """What a device can be told to do."""

    REBOOT = "reboot"
    RESET = "reset"
    """Back to the factory's settings."""
    PROVISION = "provision"
    """Fetch the configuration now."""
    TRANSMISSION = "transmission-type"
    """Fetch the configuration now, in which the transmission type has just been changed."""
    UPGRADE = "upgrade"
    """Fetch the configuration now, which names the firmware image of an upgrade."""
    OPEN_RELAY = "open-relay"
    LOCKDOWN = "lockdown"
    """Let nothing switch a relay until told otherwise."""
    COLLECT_LOG = "collect-log"


class CommandState(StrEnum):
    """How far a command is (the manual's Pending, Processing, Executed, and what it has no word for)."""

    PENDING = "pending"
    """It was certainly not sent."""
    PROCESSING = "processing"
    """It was sent, or was about to be: the device may have done it."""
    ACCEPTED = "accepted"
    """The device took it and does not say what becomes of it (SIP NOTIFY)."""
    EXECUTED = "executed"
    """The device says that it has done it, or has been seen to do it."""
    FAILED = "failed"
    EXPIRED = "expired"
    """The device was not there before the deadline."""
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self not in (self.PENDING, self.PROCESSING)


class CommandWay(StrEnum):
    """How a command goes to the device."""

    NONE = ""
    CHANNEL = "channel"
    CONNECTOR = "connector"
    SIP = "sip"


class Priority(IntEnum):
    """Which command of a device goes first."""

    NORMAL = 0
    GROUP = 1
    EMERGENCY = 2


@dataclass(frozen=True, slots=True)
class Command:
    """One command to one device. Times are wall-clock seconds; `since`: when it came into its state.

    Not sent before `not_before` (pacing), nor after `deadline`. `attempts`: how often it was sent, by `way` the last time.
    `result` is the device's own word, or why the gateway gave up. Arguments: `relay` (from 1) of open-relay, `on` of lockdown,
    `transmission` (the name of the type) of transmission-type.
    """

    id: str
    mac: MacAddress
    site: str
    name: CommandName
    created_by: str
    created: float
    deadline: float
    since: float
    not_before: float = 0.0
    priority: Priority = Priority.NORMAL
    group: str = ""
    upgrade: str = ""
    """The key of the DeviceUpgrade it belongs to."""
    relay: int = 0
    on: bool = False
    transmission: str = ""
    state: CommandState = CommandState.PENDING
    attempts: int = 0
    way: CommandWay = CommandWay.NONE
    node: str = ""
    """The node that sent it last."""
    result: str = ""

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"sending"})

    @property
    def key(self) -> str:
        return self.id

    @property
    def call_id(self) -> bytes:
        """The id by which the device knows a repetition."""
        return bytes.fromhex(self.id)

    def indexes(self) -> dict[str, str]:
        found = {"all": "", "site": self.site, "mac": self.mac.text}
        if self.group:
            found["group"] = self.group
        if not self.state.is_over:
            found["open"] = ""
            found["queue"] = self.mac.text
        if self.state is CommandState.PROCESSING:
            found["sending"] = self.mac.text
        return found


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """A command to a set of devices of one site, as it was ordered; a Command of `group` = `id` for each device is the rest."""

    id: str
    site: str
    name: CommandName
    created_by: str
    created: float
    deadline: float
    devices: int
    emergency: bool = False
    relay: int = 0
    on: bool = False

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site}


@dataclass(frozen=True, slots=True)
class CollectedLog:
    """What a device answered to collect-log, sealed (context "command-log:<id>"): devices' logs name people and their codes."""

    command: str
    sealed_text: bytes = field(repr=False)

    @property
    def key(self) -> str:
        return self.command

    def indexes(self) -> dict[str, str]:
        return {}


def command_id(wall: float, chance: bytes) -> str:
    """An id that sorts by time; `chance`: ID_CHANCE bytes that no other command of this millisecond has."""
    return (int(wall * 1000).to_bytes(6, "big") + chance).hex()


def log_context(command: str) -> str:
    """What the log that this command brought is sealed for."""
    return f"command-log:{command}"
