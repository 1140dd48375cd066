"""The call log: what happened, written durably once it is over; and the audit of what is no admin API request.

A call record is written behind the call (the devices wait for nothing) and tried again while the store is down. The door log's
word on the same call (`door_log.py`) goes into the same batch.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Callable

from gateway.door_log import DoorLog
from gateway.gathering import Gathering
from registry.logs import AuditEntry, CallRecord, CallResult, DoorEvent, time_key
from registry.store import MAX_BATCH, Put, Store
from sip.events import CallEnded

MAX_WAITING = 10_000
"""Log records kept while the store is down; past it the oldest is dropped and said so."""
MAX_TEXT = 128
_log = logging.getLogger("portico.logbook")


class Logbook:
    """Writes CallRecords and AuditEntries."""

    def __init__(self, store: Store, doors: DoorLog, *, wall: Callable[[], float], serial: Callable[[], int]) -> None:
        """`serial()` gives the second half of a time key (random or counted)."""
        self._store = store
        self._doors = doors
        self._wall = wall
        self._serial = serial
        self._waiting: deque[CallRecord | AuditEntry] = deque()
        self._gathering = Gathering("log records", self._write, lambda: len(self._waiting))

    def call_ended(self, ended: CallEnded, wall: float) -> None:
        """A call is over: its record will be in the store in a moment."""
        facts = ended.facts
        started = wall - facts.since_start
        self._append(
            CallRecord(
                id=time_key(started, self._serial()),
                site=facts.site,
                caller=_short(facts.caller),
                dialled=_short(facts.dialled),
                started=started,
                rang=facts.rang,
                answered_by=facts.answered_by,
                ring_seconds=facts.ring_seconds,
                talk_seconds=facts.talk_seconds,
                result=facts.result or CallResult.FAILED,
                ended_by=facts.ended_by,
                status=facts.status,
                call_id=_short(facts.call_id),
                woken=facts.woken,
                missed=facts.missed,
                trace=facts.trace,
            )
        )

    def audit(self, *, actor: str, action: str, object: str, site: str, detail: str) -> None:
        """Somebody did something that is no admin API request (those audit themselves, with their change)."""
        now = self._wall()
        self._append(AuditEntry(time_key(now, self._serial()), now, actor, action, object, site, detail))

    def _append(self, record: CallRecord | AuditEntry) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            _log.error("a log record was dropped: the store has been down too long")
        self._waiting.append(record)
        self._gathering.wake()

    def start(self) -> None:
        self._gathering.start()

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        await self._gathering.stop()

    async def _write(self) -> None:
        while self._waiting:
            chosen = [self._waiting[index] for index in range(min(len(self._waiting), MAX_BATCH // 2))]
            unopened: list[tuple[CallRecord, DoorEvent]] = [
                (record, entry)
                for record in chosen
                if isinstance(record, CallRecord) and (entry := await self._doors.unopened(record)) is not None
            ]
            await self._store.batch([Put(record) for record in (*chosen, *(entry for _, entry in unopened))])
            for record in chosen:
                with contextlib.suppress(ValueError):  # dropped meanwhile, because too many waited
                    self._waiting.remove(record)
            for call, entry in unopened:
                await self._doors.written(call, entry)


def _short(text: str) -> str:
    """Text from the wire, cut to what a record and its indexes hold."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT]
