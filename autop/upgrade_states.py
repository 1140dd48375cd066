"""The states of one device of a firmware upgrade, as a table. A pair that is not in it changes nothing.

    PENDING --due--> OFFERED --told--> TOLD --sent--> FETCHED --proof--> EXECUTED
       ^               |                 |               |
       +--- closed ----+                 +--- silent ----+--> FAILED

Once FETCHED the configuration no longer names the image, so that it is never installed in a loop. A device proves an upgrade
with the version it tells; that counts in every state, because a gateway may have been away in between.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from registry.firmware import DeviceUpgrade, DeviceUpgradeState

MAX_ASKS = 20
"""Requests for the image that one device has in one upgrade: a download that is cut off goes on, but not for ever."""
MAX_DOWNLOADS = 3
"""How often it may have the whole image: the end of one may be lost on the way."""
SILENCE_SECONDS = 1800.0
"""From the last sign of an upgrade's progress to its failure."""

_S = DeviceUpgradeState


class Event(Enum):
    """What happens to a device of an upgrade. The value is the `result` that is kept where the device is over by it."""

    DUE = "due"
    CLOSED = "closed"
    TOLD = "told"
    ASKED = "asked"
    SENT = "sent"
    PROVEN = "the device told the version"
    SILENT = "the device did not tell the version in time"
    OLD_AGAIN = "the device still told another version"
    NOT_FETCHED = "the device did not fetch the image in time"
    ENDED = "the device did not come before the end"
    HALTED = "too many devices failed"
    CANCELLED = "cancelled"
    GONE = "the device was removed or is another model"
    NEWER = "the device has a newer version"


TABLE: Mapping[tuple[DeviceUpgradeState, Event], DeviceUpgradeState] = {
    (_S.PENDING, Event.DUE): _S.OFFERED,
    (_S.PENDING, Event.PROVEN): _S.EXECUTED,
    (_S.PENDING, Event.ENDED): _S.FAILED,
    (_S.PENDING, Event.HALTED): _S.FAILED,
    (_S.PENDING, Event.CANCELLED): _S.CANCELLED,
    (_S.PENDING, Event.GONE): _S.FAILED,
    (_S.PENDING, Event.NEWER): _S.FAILED,
    (_S.OFFERED, Event.CLOSED): _S.PENDING,
    (_S.OFFERED, Event.TOLD): _S.TOLD,
    (_S.OFFERED, Event.ASKED): _S.TOLD,
    (_S.OFFERED, Event.SENT): _S.FETCHED,
    (_S.OFFERED, Event.PROVEN): _S.EXECUTED,
    (_S.OFFERED, Event.ENDED): _S.FAILED,
    (_S.OFFERED, Event.HALTED): _S.FAILED,
    (_S.OFFERED, Event.CANCELLED): _S.CANCELLED,
    (_S.OFFERED, Event.GONE): _S.FAILED,
    (_S.OFFERED, Event.NEWER): _S.FAILED,
    (_S.TOLD, Event.ASKED): _S.TOLD,
    (_S.TOLD, Event.SENT): _S.FETCHED,
    (_S.TOLD, Event.PROVEN): _S.EXECUTED,
    (_S.TOLD, Event.NOT_FETCHED): _S.FAILED,
    (_S.TOLD, Event.HALTED): _S.FAILED,
    (_S.TOLD, Event.CANCELLED): _S.CANCELLED,
    (_S.TOLD, Event.GONE): _S.FAILED,
    (_S.FETCHED, Event.ASKED): _S.FETCHED,
    (_S.FETCHED, Event.SENT): _S.FETCHED,
    (_S.FETCHED, Event.PROVEN): _S.EXECUTED,
    (_S.FETCHED, Event.SILENT): _S.FAILED,
    (_S.FETCHED, Event.OLD_AGAIN): _S.FAILED,
    (_S.FETCHED, Event.GONE): _S.FAILED,
}

_OFFERING = frozenset((_S.OFFERED, _S.TOLD))
_SERVING = frozenset((_S.OFFERED, _S.TOLD, _S.FETCHED))


def step(device: DeviceUpgrade, event: Event, now: float) -> DeviceUpgrade:
    """The device's record after `event` at `now`; the very same object where nothing changes.

    A repeated ASKED or SENT is counted, but only the first SENT begins the wait for the version.
    """
    after = TABLE.get((device.state, event))
    if after is None:
        return device
    progress = after is not device.state or (event is Event.ASKED and after is _S.TOLD)
    return replace(
        device,
        state=after,
        since=now if progress else device.since,
        result=event.value if after.is_over else device.result,
        asks=device.asks + (event is Event.ASKED),
        downloads=device.downloads + (event is Event.SENT),
    )


def is_offered(device: DeviceUpgrade) -> bool:
    """Whether the device's configuration names the image."""
    return device.state in _OFFERING


def may_fetch(device: DeviceUpgrade) -> bool:
    """Whether the device gets the image's bytes."""
    return device.state in _SERVING and device.asks < MAX_ASKS and device.downloads < MAX_DOWNLOADS
