"""The door log: what devices report over their channels, and calls from a door that was not opened.

A report is acknowledged to the device only once it is on disk, and is one entry however often the device repeats it. Who opened
is what the gateway itself has seen, where it has (`door_openings.py`); else what the device says.

A call that ends unopened is written with its call record, at once. A report of an opening in that call may still be on its way,
from a device whose channel was down: then it replaces the entry.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gateway.door_openings import DoorOpenings
from registry.door_log import CALL, clock_note, command_event, known_method, unopened_entry
from registry.errors import Conflict, StaleVersion
from registry.logs import CallRecord, DoorEvent, time_key
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import AccessMethod, Device, Site
from registry.relay_state import RelayState
from registry.store import Delete, Put, Store

MAX_TEXT = 128
MAX_RELAY = 4
_LOOK_BACK = 20
"""Entries of a door that are looked through for a call's; the newest."""
_SLACK = 1.0
"""Seconds after a call's end within which an opening still counts as one during the call: reports take their time."""


class BadEvent(ValueError):
    """A device's report that is no event this gateway knows. The message says what is wrong; `reason` is one of a fixed set."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class DoorLog:
    """Writes DoorEvents and RelayStates. `clock` is monotonic, `wall` the wall clock; `serial()` as for `time_key`."""

    def __init__(
        self,
        store: Store,
        read_model: ReadModel,
        openings: DoorOpenings,
        *,
        wall: Callable[[], float],
        clock: Callable[[], float],
        serial: Callable[[], int],
    ) -> None:
        self._store = store
        self._read_model = read_model
        self._openings = openings
        self._wall = wall
        self._clock = clock
        self._serial = serial

    async def device_event(self, mac: MacAddress, event_id: str, name: str, body: Mapping[str, Any]) -> None:
        """A device reports something over its channel. Returns once it would survive kill -9; a repetition changes nothing.

        Raises BadEvent for what is no report of ours, StoreUnavailable while the store is down (the device repeats it).
        """
        if name not in ("relay-opened", "relay-state"):
            raise BadEvent("unknown event", "unknown event")
        stored = await self._read_model.get(Device, mac.text)
        if stored is None:
            raise BadEvent("unknown device", "unknown device")
        if name == "relay-state":
            await self._switched(stored.record, body)
        else:
            await self._opened(stored.record, event_id, body)

    async def unopened(self, call: CallRecord) -> DoorEvent | None:
        """The entry to write beside this call's record: somebody called from a door that was not opened. Raises StoreUnavailable.

        None for all other calls, and where the site's log setting says that such entries are not made.
        """
        caller = await self._read_model.get_unique(Device, "account", call.caller)
        if caller is None or not caller.record.kind.is_door:
            return None
        site = await self._read_model.get(Site, caller.record.site)
        if site is None or not site.record.log_unopened_calls or await self._was_opened(caller.record, call):
            return None
        return unopened_entry(caller.record, call, serial=self._serial())

    async def written(self, call: CallRecord, entry: DoorEvent) -> None:
        """`entry`, which `unopened` gave, is in the store: take it back if an opening was reported meanwhile."""
        device = await self._read_model.get(Device, entry.mac.text)
        if device is not None and await self._was_opened(device.record, call):
            await self._store.batch([Delete(DoorEvent, entry.id)])

    async def _opened(self, device: Device, event_id: str, body: Mapping[str, Any]) -> None:
        if not device.kind.is_door and not device.relays:
            raise BadEvent("no door", "a device without relays opens nothing")
        event = door_event(device, event_id, body, wall=self._wall(), serial=self._serial())
        event = self._credited(device, event, _command(body))
        # The event's unique index makes a repetition a Conflict: it is in the log already, so it is acknowledged again.
        with contextlib.suppress(Conflict):
            await self._store.batch([Put(event, expect=0)])
        if event.call_id:
            await self._let_in_after_all(event)

    def _credited(self, device: Device, event: DoorEvent, command: str) -> DoorEvent:
        """The entry as the gateway knows it: who it was, how, and in which call, where it has seen that itself."""
        opening = None
        if command:
            event = replace(event, event_id=command_event(command))
            opening = self._openings.command(device.mac, command)
        elif event.method == AccessMethod.DTMF:
            opening = self._openings.claim(device.mac, event.relay, event.call_id, self._clock())
        if opening is None:
            return event
        return replace(
            event, method=str(opening.method), by=opening.by[:MAX_TEXT], call_id=opening.call_id[:MAX_TEXT] or event.call_id
        )

    async def _was_opened(self, device: Device, call: CallRecord) -> bool:
        ended = call.started + call.ring_seconds + call.talk_seconds
        for entry in (await self._newest(device.mac)).items:
            event = entry.record
            if event.opened and (call.started <= event.at <= ended + _SLACK or event.call_id == call.call_id):
                return True
        return False

    async def _let_in_after_all(self, event: DoorEvent) -> None:
        for entry in (await self._newest(event.mac)).items:
            if entry.record.method == CALL and not entry.record.opened and entry.record.call_id == event.call_id:
                await self._store.batch([Delete(DoorEvent, entry.record.id)])

    async def _newest(self, mac: MacAddress) -> Any:
        return await self._store.list(DoorEvent, "mac", mac.text, limit=_LOOK_BACK, newest_first=True)

    async def _switched(self, device: Device, body: Mapping[str, Any]) -> None:
        """A `relay-state` report: keep the newest state of each relay. The same state again writes nothing."""
        relay, on = _relay(body), body.get("on")
        if not isinstance(on, bool):
            raise BadEvent("malformed", "on: true or false")
        while True:
            present = await self._store.get(RelayState, device.mac.text)
            before = RelayState(device.mac, device.site) if present is None else present.record
            after = before.switched(relay, on, self._wall())
            if after is before:
                return
            try:
                await self._store.batch([Put(after, expect=0 if present is None else present.version)])
            except StaleVersion:
                continue
            return


def door_event(device: Device, event_id: str, body: Mapping[str, Any], *, wall: float, serial: int) -> DoorEvent:
    """The door log entry of a `relay-opened` report. Raises BadEvent naming the field that is wrong."""
    relay = _relay(body)
    texts = {name: _text(body, name) for name in ("method", "by", "call_id")}
    method, detail = known_method(texts["method"])
    at = body.get("at", wall)
    if not isinstance(at, int | float) or isinstance(at, bool) or not math.isfinite(at):
        raise BadEvent("malformed", "at: a number of seconds")
    return DoorEvent(
        id=time_key(wall, serial),
        site=device.site,
        mac=device.mac,
        event_id=event_id,
        at=wall,
        relay=relay,
        method=method,
        opened=True,
        by=texts["by"],
        call_id=texts["call_id"],
        detail="; ".join(part for part in (detail, clock_note(wall, float(at))) if part)[: 2 * MAX_TEXT],
    )


def _relay(body: Mapping[str, Any]) -> int:
    relay = body.get("relay")
    if not isinstance(relay, int) or isinstance(relay, bool) or not 1 <= relay <= MAX_RELAY:
        raise BadEvent("malformed", f"relay: a number from 1 to {MAX_RELAY}")
    return relay


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise BadEvent("malformed", f"{name}: a printable text of at most {MAX_TEXT} characters")
    return value


def _command(body: Mapping[str, Any]) -> str:
    """The id of the command that the report answers, in hex; "" for none."""
    value = body.get("command", "")
    if not isinstance(value, str) or (value and (len(value) != 32 or value.strip("0123456789abcdef"))):
        raise BadEvent("malformed", "command: 32 hexadecimal digits")
    return value
