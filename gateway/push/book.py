"""How each app is woken: push parameters from REGISTERs, kept in the store, peeked at by the SIP core from memory.

A change is true here at once and in the store a moment later. It is applied to what the store holds then, so nodes that share a
store do not undo each other's. A store that is down is tried again; what waits is bounded.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from itertools import islice

from registry.errors import BadSeal, RegistryError, StaleVersion
from registry.location import AorPush
from registry.location import PushParameters as StoredParameters
from registry.read_model import MISSING, ReadModel
from registry.records import Account
from registry.store import Change, Delete, Put, Store, Stored
from registry.vault import Vault
from sip.directory import UNKNOWN, Absent, PushParameters
from sip.events import PushChanged
from sip.push import PushChange, applied

GATHER_SECONDS = 0.2
RETRY_SECONDS = 2.0
MAX_PENDING = 50_000
"""Accounts with a change that is not in the store yet; past it the oldest is forgotten and said so."""
MAX_CHANGES = 32
"""Changes of one account that wait; the oldest goes."""
MAX_OPENED = 50_000
PER_BATCH = 500
_log = logging.getLogger("portico.push")


class PushBook:
    """A `sip.directory.PushDirectory`. `store` returns from a write once `read_model` knows of it (`FollowedStore`)."""

    def __init__(self, store: Store, read_model: ReadModel, vault: Vault, providers: Callable[[], tuple[str, ...]]) -> None:
        self._store = store
        self._read_model = read_model
        self._vault = vault
        self._providers = providers
        self._pending: dict[str, list[PushChange]] = {}
        self._opened: dict[str, tuple[int, tuple[PushParameters, ...]]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        read_model.subscribe(self._on_change)

    # What the SIP core peeks at (PushDirectory)

    def providers(self) -> tuple[str, ...]:
        return self._providers()

    def parameters(self, username: str) -> tuple[PushParameters, ...] | Absent:
        stored = self._read_model.peek(AorPush, username)
        if stored is MISSING:
            return UNKNOWN
        known = () if stored is None else self._open(stored)
        for change in self._pending.get(username, ()):
            known = applied(known, change)
        return known

    # Changes

    def changed(self, changed: PushChanged) -> None:
        """A REGISTER said how an app is woken, or that it is not any more."""
        waiting = self._pending.get(changed.account)
        if waiting is None:
            if len(self._pending) >= MAX_PENDING:
                self._pending.pop(next(iter(self._pending)))
                _log.error("push parameters were dropped: the store has been down too long")
            waiting = self._pending[changed.account] = []
        waiting.append(changed.change)
        del waiting[:-MAX_CHANGES]
        self._wake.set()

    def dead(self, account: str, prid: str) -> None:
        """The push service says that this installation is gone."""
        self.changed(PushChanged(account, PushChange("", prid, None)))

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(RegistryError):
            await self._write()

    def _on_change(self, change: Change) -> None:
        if change.kind == AorPush.__name__:
            self._opened.pop(change.key, None)
        elif change.kind == Account.__name__ and change.deleted:
            self.changed(PushChanged(change.key, PushChange("", "", None, everything=True)))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            try:
                await self._write()
            except RegistryError as error:
                _log.warning("push parameters wait for the store: %s", error, extra={"fields": {"waiting": len(self._pending)}})
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _write(self) -> None:
        for _ in range(0, len(self._pending), PER_BATCH):
            chosen = {account: list(changes) for account, changes in islice(self._pending.items(), PER_BATCH)}
            try:
                await self._write_these(chosen)
            except StaleVersion:
                # Another node changed one of them meanwhile: one by one, and that one in the next turn.
                for account, changes in chosen.items():
                    with contextlib.suppress(StaleVersion):
                        await self._write_these({account: changes})
        if self._pending:
            self._wake.set()

    async def _write_these(self, chosen: dict[str, list[PushChange]]) -> None:
        writes = [write for account, changes in chosen.items() if (write := await self._write_of(account, changes))]
        if writes:
            await self._store.batch(writes, durable=False)
        for account, changes in chosen.items():
            await self._read_model.get(AorPush, account)  # so that the next REGISTER finds in memory that nothing changes
            waiting = self._pending.get(account, [])
            waiting[:] = [one for one in waiting if not any(one is done for done in changes)]
            if not waiting:
                self._pending.pop(account, None)

    async def _write_of(self, account: str, changes: list[PushChange]) -> Put | Delete | None:
        """What makes the store's record what the changes say; None where it is that already."""
        stored = await self._read_model.get(AorPush, account)
        before = () if stored is None else self._unsealed(stored.record)
        known = tuple(one for one, _ in before)
        after = known
        for change in changes:
            after = applied(after, change)
        if after == known:
            return None
        version = 0 if stored is None else stored.version
        if not after:
            return Delete(AorPush, account, expect=version)
        sealed = dict(before)
        apps = tuple(sealed.get(one) or self._sealed(account, one) for one in after)
        return Put(AorPush(account, apps), expect=version)

    # Sealing

    def _open(self, stored: Stored[AorPush]) -> tuple[PushParameters, ...]:
        account = stored.record.aor
        found = self._opened.get(account)
        if found is None or found[0] != stored.version:
            if len(self._opened) >= MAX_OPENED:
                self._opened.clear()
            found = self._opened[account] = (stored.version, tuple(one for one, _ in self._unsealed(stored.record)))
        return found[1]

    def _unsealed(self, record: AorPush) -> tuple[tuple[PushParameters, StoredParameters], ...]:
        """The parameters with the form they are stored in; what this master key does not open is left out."""
        found: list[tuple[PushParameters, StoredParameters]] = []
        for one in record.apps:
            with contextlib.suppress(BadSeal):
                prid = self._vault.open(one.sealed_prid, _context(record.aor)).decode("ascii", "replace")
                found.append((PushParameters(one.provider, prid, one.param, one.instance_id), one))
        return tuple(found)

    def _sealed(self, account: str, one: PushParameters) -> StoredParameters:
        return StoredParameters(
            one.provider, self._vault.seal(one.prid.encode("ascii"), _context(account)), one.param, one.instance
        )


def _context(account: str) -> str:
    return f"push:{account}"
