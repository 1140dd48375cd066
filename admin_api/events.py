"""`/events`: server-sent events (WHATWG HTML section 9.2) made from the store's change feed, within the caller's scope.

An event says what changed, not its content: `{"object": "device/0C11...", "site": ..., "deleted": false}`. Its id is the
store's sequence number, so a client that comes back with Last-Event-ID misses nothing; if the feed no longer reaches that
far back it gets `reset` and should read everything afresh. A record that is gone cannot tell its site any more, so what was
deleted is told from the audit entry that stands beside every deletion.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import StreamingResponse

from admin_api.auth import Caller, is_valid
from admin_api.calls import Call, CallOf
from admin_api.permissions import Permission, may
from admin_api.problems import Problem, documented
from admin_api.routing import needs, router
from admin_api.trunk_models import trunk_site
from registry.call_types import CustomPlan
from registry.commands import Command, CommandGroup
from registry.configuration import AutopCommands, DeviceFetches
from registry.enrolment import Enrolment
from registry.errors import ChangesLost, StoreUnavailable
from registry.firmware import DeviceUpgrade, FirmwareImage, FirmwareUpgrade
from registry.logs import AuditEntry, CallRecord, DoorEvent
from registry.records import ApiToken, Department, Device, LibraryMac, RemoteSession, Site, User
from registry.relay_state import RelayState
from registry.store import Change, Store
from registry.trunk import Trunk

routes = router()
_SEQUENCE = re.compile(r"[0-9]{1,18}", re.ASCII)
_DELETIONS = (".deleted", ".removed")


@dataclass(frozen=True, slots=True)
class _Told:
    """How changes of one record class are told: the word, the site, and who may hear of it."""

    word: str
    kind: type[Any]
    site: Callable[[Any], str]
    permission: Permission


_TOLD: Mapping[str, _Told] = {
    told.kind.__name__: told
    for told in (
        _Told("site", Site, lambda record: record.id, Permission.SITES_READ),
        _Told("department", Department, lambda record: record.site, Permission.DEPARTMENTS_READ),
        _Told("device", Device, lambda record: record.site, Permission.DEVICES_READ),
        _Told("relay", RelayState, lambda record: record.site, Permission.DEVICES_READ),
        _Told("command", Command, lambda record: record.site, Permission.COMMANDS_READ),
        _Told("command-group", CommandGroup, lambda record: record.site, Permission.COMMANDS_READ),
        _Told("user", User, lambda record: record.site, Permission.USERS_READ),
        _Told("custom-plan", CustomPlan, lambda record: record.site, Permission.USERS_READ),
        _Told("autop-commands", AutopCommands, lambda record: record.site, Permission.DEVICES_READ),
        _Told("fetch", DeviceFetches, lambda record: record.site, Permission.DEVICES_READ),
        _Told("enrolment", Enrolment, lambda record: record.site, Permission.DEVICES_READ),
        _Told("trunk", Trunk, trunk_site, Permission.TRUNKS_READ),
        _Told("mac-library", LibraryMac, lambda record: record.site, Permission.MAC_LIBRARY_READ),
        _Told("firmware", FirmwareImage, lambda record: "", Permission.FIRMWARE_READ),
        _Told("upgrade", FirmwareUpgrade, lambda record: record.site, Permission.UPGRADES_READ),
        _Told("upgrade-device", DeviceUpgrade, lambda record: record.site, Permission.UPGRADES_READ),
        _Told("remote-session", RemoteSession, lambda record: record.site, Permission.REMOTE_SESSIONS_READ),
        _Told("call", CallRecord, lambda record: record.site, Permission.LOGS_READ),
        _Told("door", DoorEvent, lambda record: record.site, Permission.LOGS_READ),
    )
}
_BY_WORD: Mapping[str, _Told] = {told.word: told for told in _TOLD.values()}


class Streams:
    """The event streams that are open: bounded in all and per token, and closed when the server stops."""

    def __init__(self, most: int, most_per_token: int) -> None:
        self._most = most
        self._most_per_token = most_per_token
        self._open: Counter[str] = Counter()
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> asyncio.Event:
        """Set once every stream is to end."""
        return self._stopping

    def enter(self, token: str) -> None:
        """Count a stream in. Raises Problem `too-many-streams`."""
        if self._open.total() >= self._most or self._open[token] >= self._most_per_token:
            raise Problem("too-many-streams", headers={"Retry-After": "30"})
        self._open[token] += 1

    def leave(self, token: str) -> None:
        """Count a stream out."""
        self._open[token] -= 1
        self._open += Counter()  # drops the zeros

    def close(self) -> None:
        """End every stream, now and later."""
        self._stopping.set()


class EventStream(StreamingResponse):
    """The answer of /events. Counted from its first byte until it ends, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, call: Call, streams: Streams, after: int) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_texts(call, streams, after), headers=headers)
        self._streams = streams
        self._token = call.caller.token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._token)


@routes.get(
    "/events",
    tags=["events"],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events until the client leaves."},
        **documented("malformed-request", "too-many-streams"),
    },
)
@needs(Permission.EVENTS_READ)
async def events(call: CallOf, last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None) -> EventStream:
    """What changes, as it changes, at the sites in the token's scope. A comment line comes every 15 s.

    Event names: site, department, device, relay, command, command-group, user, custom-plan, trunk, mac-library, autop-commands,
    fetch (a device took a configuration, or said that it has it), firmware, upgrade, upgrade-device, remote-session, call, door;
    `reset` when events were lost.
    """
    if last_event_id is not None and not _SEQUENCE.fullmatch(last_event_id):
        raise Problem("malformed-request", "Last-Event-ID is the id of an event of this stream.")
    newest = await call.ports.store.sequence()
    after = newest if last_event_id is None else int(last_event_id)
    streams: Streams = call.request.app.state.streams
    streams.enter(call.caller.token)
    return EventStream(call, streams, after)


async def _texts(call: Call, streams: Streams, after: int) -> AsyncIterator[str]:
    """The stream's text. Ends when the server stops, the store closes, or the token is no longer valid."""
    store, beat = call.ports.store, call.ports.limits.heartbeat_seconds
    yield f": portico events after {after}\nretry: 3000\n\n"
    try:
        watch = store.watch(after)
    except ChangesLost:
        yield _reset()
        return
    upcoming: asyncio.Future[Change] | None = None
    stopping: asyncio.Future[Any] = asyncio.ensure_future(streams.stopping.wait())
    try:
        while not streams.stopping.is_set():
            upcoming = upcoming or asyncio.ensure_future(anext(watch))
            waiting: set[asyncio.Future[Any]] = {upcoming, stopping}
            await asyncio.wait(waiting, timeout=beat, return_when=asyncio.FIRST_COMPLETED)
            if not await _still_valid(call):
                return
            if not upcoming.done():
                yield ": still here\n\n"
                continue
            change, upcoming = upcoming.result(), None
            text = await _text(store, call.caller, change)
            if text:
                yield text
    except ChangesLost:
        yield _reset()
    except (StoreUnavailable, StopAsyncIteration):
        return
    finally:
        for task in (upcoming, stopping):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (upcoming, stopping) if task is not None), return_exceptions=True)
        close = getattr(watch, "aclose", None)
        if close is not None:
            await close()


async def _still_valid(call: Call) -> bool:
    found = await call.ports.store.get(ApiToken, call.caller.token)
    return found is not None and is_valid(found.record, call.ports.wall())


async def _text(store: Store, caller: Caller, change: Change) -> str:
    """The event for one change, or nothing where it is none, or none for this caller."""
    if change.kind == AuditEntry.__name__:
        return await _deletion(store, caller, change)
    told = _TOLD.get(change.kind)
    if told is None or change.deleted or not may(caller.role, told.permission):
        return ""
    found = await store.get(told.kind, change.key)
    if found is None or not caller.sees(told.site(found.record)):
        return ""
    return _event(change.sequence, told.word, f"{told.word}/{change.key}", told.site(found.record), deleted=False)


async def _deletion(store: Store, caller: Caller, change: Change) -> str:
    found = await store.get(AuditEntry, change.key)
    if found is None or not found.record.action.endswith(_DELETIONS):
        return ""
    word = found.record.object.partition("/")[0]
    told = _BY_WORD.get(word)
    if told is None or not may(caller.role, told.permission) or not caller.sees(found.record.site):
        return ""
    return _event(change.sequence, word, found.record.object, found.record.site, deleted=True)


def _event(sequence: int, word: str, thing: str, site: str, *, deleted: bool) -> str:
    data = json.dumps({"object": thing, "site": site, "deleted": deleted})
    return f"id: {sequence}\nevent: {word}\ndata: {data}\n\n"


def _reset() -> str:
    return "event: reset\ndata: {}\n\n"
