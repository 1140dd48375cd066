"""`Work`: all writes of one request, committed as one batch with their audit entries and the kept answer.

`run` is how every changing route works: the attempt reads, checks and collects; then everything is written at once, or, if
somebody else wrote meanwhile, the attempt is made anew on what is there now. Conditions (If-Match) are part of the attempt,
so of two writers with one ETag the second gets 412, never a lost update.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from fastapi import Response
from pydantic import BaseModel

from admin_api.audit import Noted, entry
from admin_api.calls import Call
from admin_api.conditions import etag
from admin_api.credentials import serial
from admin_api.idempotency import Slot, forgettable, kept, read_answer, slot_of, stored_answer
from admin_api.problems import Problem
from registry.errors import Conflict, NotFound, StaleVersion
from registry.records import IdempotencyKey
from registry.store import Delete, Put, Record, Require, Store, Stored, Write

ATTEMPTS = 16
"""How often a request is tried against concurrent writers before it is told `busy`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a changing route answers once its writes are done.

    `of` is the record whose version is the ETag: one that the work puts, or (with `version`) one that stays as it is.
    `taken` maps unique indexes to the problem to tell if the value is another record's.
    """

    status: int
    body: BaseModel | None = None
    of: Record | None = None
    version: int | None = None
    location: str | None = None
    taken: Mapping[str, Problem] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """Collects what one attempt writes."""

    call: Call
    writes: list[Write] = field(default_factory=list)
    afterwards: Callable[[], Awaitable[None]] | None = None
    """Runs after the commit; what it does must also happen without it, later."""

    def put(self, record: Record, *, expect: int | None = None) -> None:
        """Write `record` with no audit entry of its own."""
        self.writes.append(Put(record, expect))

    def delete(self, kind: type[Any], key: str, *, expect: int | None = None) -> None:
        """Remove a record with no audit entry of its own."""
        self.writes.append(Delete(kind, key, expect))

    def require(self, kind: type[Any], key: str, *, expect: int | None = None) -> None:
        """The batch is good only if this record is there, at version `expect` if one is given."""
        self.writes.append(Require(kind, key, expect))

    def create(self, record: Record, *, action: str, object: str, site: str = "", note: str = "") -> None:
        """Write a new record, audited."""
        self.put(record, expect=0)
        self.note(Noted(action, object, site, 0, 1, note=note))

    def change(
        self, before: Stored[Any], record: Record, *, action: str, object: str, site: str = "", changed: tuple[str, ...] = ()
    ) -> None:
        """Replace a record, audited."""
        self.put(record, expect=before.version)
        self.note(Noted(action, object, site, before.version, 1, changed))

    def remove(self, before: Stored[Any], *, action: str, object: str, site: str = "") -> None:
        """Remove a record, audited."""
        self.delete(type(before.record), before.record.key, expect=before.version)
        self.note(Noted(action, object, site, before.version))

    def note(self, noted: Noted) -> None:
        """Write an audit entry. Stands directly behind the change it is about."""
        ports = self.call.ports
        self.writes.append(Put(entry(noted, self.call.caller.actor, self.call.wall, serial(ports.entropy)), expect=0))

    async def commit(self, answer: Answer, slot: Slot | None) -> int | None:
        """Write everything, or raise what the store raises. Returns the version for the ETag."""
        place = next((n for n, write in enumerate(self.writes) if isinstance(write, Put) and write.record is answer.of), None)
        writes = list(self.writes)
        if slot is not None:
            ports = self.call.ports
            back = None if place is None else sum(isinstance(write, Put | Delete) for write in writes[place + 1 :]) + 1
            stored = {"status": answer.status, "body": _json(answer.body), "location": answer.location, "back": back}
            first = await forgettable(ports.store, slot, self.call.wall)
            writes = [*first, *writes, Put(kept(slot, stored, ports.vault, self.call.wall, serial(ports.entropy)), expect=0)]
            place = None if place is None else place + len(first)
        if not writes:
            return answer.version
        versions = await self.call.ports.store.batch(writes)
        return answer.version if place is None else versions[place]


Attempt = Callable[[Work], Awaitable[Answer]]


class Turns:
    """Lets the changes of one site take turns within this node.

    Only a courtesy that saves repeated attempts; what keeps the data right are the versions in the store.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, site: str | None) -> AbstractAsyncContextManager[Any]:
        """An async context manager to hold while changing `site`."""
        if site is None:
            return nullcontext()
        return self._locks.setdefault(site, asyncio.Lock())


async def run(call: Call, attempt: Attempt, *, site: str | None = None) -> Response:
    """Make `attempt` until its writes are done; then answer. `site` names the site whose things it changes, if one.

    Raises whatever Problem the attempt raises, and `busy` after ATTEMPTS collisions.
    """
    slot = await slot_of(call.request, call.caller)
    turns: Turns = call.request.app.state.turns
    async with turns.of(site):
        for _ in range(ATTEMPTS):
            if slot is not None and (again := await _replayed(call, slot)) is not None:
                return again
            work = Work(call)
            answer: Answer | None = None
            try:
                answer = await attempt(work)
                version = await work.commit(answer, slot)
            except Problem:
                # The first of two equal requests may just have made this one's refusal (409: it exists) true.
                if slot is not None and (again := await _replayed(call, slot)) is not None:
                    return again
                raise
            except (StaleVersion, NotFound):
                continue
            except Conflict as conflict:
                if answer is not None and conflict.index in answer.taken and conflict.kind != IdempotencyKey.__name__:
                    problem = answer.taken[conflict.index]
                    if slot is not None and (again := await _replayed(call, slot)) is not None:
                        return again
                    raise problem from None
                continue
            if work.afterwards is not None:
                await work.afterwards()
            return respond(answer.status, _json(answer.body), version, answer.location)
    raise Problem("busy", headers={"Retry-After": "1"})


def respond(status: int, body: str | None, version: int | None, location: str | None = None) -> Response:
    """An answer with its ETag. Never cached: it may show a secret once."""
    headers = {"Cache-Control": "no-store"}
    if version is not None:
        headers["ETag"] = etag(version)
    if location is not None:
        headers["Location"] = location
    return Response(body, status, headers, "application/json" if body is not None else None)


def show(call: Call, body: BaseModel, version: int, *, may_be_unmodified: bool = True) -> Response:
    """Answer a GET of one thing: 200, or 304 where If-None-Match has its version. Raises Problem `malformed-etag`."""
    if may_be_unmodified and call.conditions.not_modified(version):
        return Response(status_code=304, headers={"ETag": etag(version), "Cache-Control": "no-cache"})
    return Response(_json(body), 200, {"ETag": etag(version), "Cache-Control": "no-cache"}, "application/json")


async def _replayed(call: Call, slot: Slot) -> Response | None:
    store: Store = call.ports.store
    found = await stored_answer(store, slot, call.wall)
    if found is None:
        return None
    answer = read_answer(found.record, call.ports.vault)
    version = None if answer["back"] is None else found.version - answer["back"]
    response = respond(answer["status"], answer["body"], version, answer["location"])
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _json(body: BaseModel | None) -> str | None:
    return None if body is None else json.dumps(body.model_dump(mode="json"))
