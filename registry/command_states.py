"""The states of a command as a table, and which command of a device is next. Pure. A pair that is not in the table changes
nothing.

    PENDING --sent--> PROCESSING --done--> EXECUTED
       | |    ^          | ^ |  +--accepted--> ACCEPTED --confirmed--> EXECUTED
       | |    +-not sent-+ | +--refused, silent, lost--> FAILED
       | |                 +--sent (again)
       | +--cancelled--> CANCELLED
       +--expired--> EXPIRED

SENT is written before a command is sent. So whatever is PENDING was certainly not sent, and may be cancelled or expire; whatever
is PROCESSING may have had its effect, and is sent again (with its id, by which a device knows it) only where that cannot have a
second one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

from registry.commands import Command, CommandName, CommandState, CommandWay, Priority

_S = CommandState
_N = CommandName


class Event(Enum):
    """What happens to a command. The value is the result that is kept where the event brings none."""

    SENT = ""
    NOT_SENT = "not sent"
    """The attempt just begun certainly did not leave this node."""
    DONE = "done"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    SILENT = "no answer came in time: it may or may not have been done"
    LOST = "it cannot be sent twice this way, and no answer came: it may or may not have been done"
    UNSUPPORTED = "not supported"
    EXPIRED = "the device could not be reached in time"
    CANCELLED = "cancelled"
    GONE = "the device was removed"


TABLE: Mapping[tuple[CommandState, Event], CommandState] = {
    (_S.PENDING, Event.SENT): _S.PROCESSING,
    (_S.PENDING, Event.EXPIRED): _S.EXPIRED,
    (_S.PENDING, Event.CANCELLED): _S.CANCELLED,
    (_S.PENDING, Event.UNSUPPORTED): _S.FAILED,
    (_S.PENDING, Event.GONE): _S.CANCELLED,
    (_S.PROCESSING, Event.SENT): _S.PROCESSING,
    (_S.PROCESSING, Event.NOT_SENT): _S.PENDING,
    (_S.PROCESSING, Event.DONE): _S.EXECUTED,
    (_S.PROCESSING, Event.ACCEPTED): _S.ACCEPTED,
    (_S.PROCESSING, Event.REFUSED): _S.FAILED,
    (_S.PROCESSING, Event.SILENT): _S.FAILED,
    (_S.PROCESSING, Event.LOST): _S.FAILED,
    (_S.PROCESSING, Event.GONE): _S.FAILED,
    (_S.ACCEPTED, Event.CONFIRMED): _S.EXECUTED,
}

FETCHES = frozenset((_N.PROVISION, _N.TRANSMISSION, _N.UPGRADE))
"""On the wire they are one: fetch the configuration now."""
REPEATABLE = FETCHES | {_N.COLLECT_LOG, _N.LOCKDOWN}
"""Twice is the same as once."""
REMEMBERING = frozenset((CommandWay.CHANNEL, CommandWay.CONNECTOR))
"""Ways at whose end an id that came before gets the same answer and no second effect."""
PACED = FETCHES | {_N.REBOOT, _N.RESET}
"""After these a device registers and fetches anew: not all devices at once."""

DAY = 86_400.0
MAX_SECONDS = 7 * DAY
MAX_OPEN_SECONDS = 30.0
"""A door that opens long after somebody wanted it open is a danger."""
MAX_EMERGENCY_SECONDS = 3600.0


def sent(command: Command, way: CommandWay, node: str, now: float) -> Command:
    """The command as it must stand in the store before `node` sends it this way; the very same object if it may not be sent."""
    after = TABLE.get((command.state, Event.SENT))
    if after is None:
        return command
    since = command.since if after is command.state else now
    return replace(command, state=after, since=since, attempts=command.attempts + 1, way=way, node=node)


def step(command: Command, event: Event, now: float, result: str = "") -> Command:
    """The command after any `event` but SENT at `now`; the very same object where nothing changes."""
    after = TABLE.get((command.state, event))
    if after is None or event is Event.SENT:
        return command
    if event is Event.NOT_SENT:  # an earlier attempt may still have come through
        return replace(command, state=after, since=now) if command.attempts == 1 else command
    return replace(command, state=after, since=now, result=result or event.value)


def overdue(command: Command, now: float) -> Command:
    """The command as its deadline leaves it; the very same object before that."""
    if now < command.deadline:
        return command
    return step(step(command, Event.EXPIRED, now), Event.SILENT, now)


def may_go(command: Command, way: CommandWay) -> bool:
    """Whether it may be sent this way now without having its effect a second time."""
    if command.state is not _S.PROCESSING or command.name in REPEATABLE:
        return not command.state.is_over
    return command.way is way and way in REMEMBERING


def is_lost(command: Command, node: str) -> bool:
    """Whether this node sent it in a way in which it can never be sent again. Another's answer may still come."""
    return (
        command.node == node
        and command.state is _S.PROCESSING
        and command.name not in REPEATABLE
        and command.way not in REMEMBERING
    )


def next_of(queue: Sequence[Command], now: float) -> Command | None:
    """The command of one device that is to be sent now: the one that was begun, else the most urgent one that is due, the oldest
    of equals."""
    begun = [command for command in queue if command.state is _S.PROCESSING]
    if begun:
        return begun[0]
    due = [command for command in queue if command.state is _S.PENDING and command.not_before <= now]
    return min(due, key=lambda command: (-command.priority, command.id), default=None)


def next_moment(queue: Sequence[Command], now: float) -> float | None:
    """When time alone changes something for one of these."""
    moments = [command.deadline for command in queue if not command.state.is_over]
    moments += [command.not_before for command in queue if command.state is _S.PENDING and command.not_before > now]
    return min(moments, default=None)


def longest(name: CommandName, priority: Priority) -> float:
    """Seconds that a command may wait for its device at most."""
    if priority is Priority.EMERGENCY:
        return MAX_EMERGENCY_SECONDS
    return MAX_OPEN_SECONDS if name is _N.OPEN_RELAY else MAX_SECONDS


def usual(name: CommandName, priority: Priority) -> float:
    """Seconds that it waits where nobody says how long."""
    if priority is Priority.EMERGENCY:
        return 300.0
    return 10.0 if name is _N.OPEN_RELAY else DAY
