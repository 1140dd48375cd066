"""The trunks as the registry has them, kept true by the change feed, for the trunk service with their passwords opened."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from admin_api.ports import TrunkGatewayPresence, TrunkPresence
from registry.errors import BadSeal, RegistryError
from registry.read_model import ReadModel
from registry.store import MAX_PAGE, Change, Store
from registry.trunk import Trunk, trunk_secret
from registry.vault import Vault
from sip.trunk_core import MAX_TRUNKS
from sip.trunk_state import TrunkFacts, TrunkState

RETRY_SECONDS = 5.0
_log = logging.getLogger("portico.trunks")


class TrunkBook:
    """Reads every trunk when one has changed. There are few, and they change when people do it."""

    def __init__(
        self, store: Store, read_model: ReadModel, vault: Vault, configure: Callable[[Sequence[TrunkFacts]], None]
    ) -> None:
        self._store = store
        self._vault = vault
        self._configure = configure
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe = read_model.subscribe(self._on_change, self._changed.set)

    def start(self) -> None:
        """Read them now, and whenever one changes."""
        self._changed.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="trunks")

    async def stop(self) -> None:
        """Read no more."""
        self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _on_change(self, change: Change) -> None:
        if change.kind == Trunk.__name__:
            self._changed.set()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                self._configure(await self._read())
            except RegistryError as error:
                # The trunks that are known go on; what has changed is read when the store is back.
                _log.warning("the trunks could not be read: %s", error)
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> list[TrunkFacts]:
        found: list[TrunkFacts] = []
        after: str | None = None
        while True:
            page = await self._store.list(Trunk, "all", "", after=after, limit=MAX_PAGE)
            found += [facts for stored in page.items if (facts := self._opened(stored.record)) is not None]
            if page.next is None:
                if len(found) > MAX_TRUNKS:
                    _log.warning("there are %d trunks; only the first %d are used", len(found), MAX_TRUNKS)
                return found
            after = page.next

    def _opened(self, trunk: Trunk) -> TrunkFacts | None:
        if not trunk.sealed_password:
            return TrunkFacts(trunk)
        try:
            return TrunkFacts(trunk, self._vault.open(trunk.sealed_password, trunk_secret(trunk.id)))
        except BadSeal:
            _log.warning("the password of trunk %s was sealed with another master key; the trunk is left out", trunk.id)
            return None


def presence(state: TrunkState | None, now: float, wall: float) -> TrunkPresence:
    """What the admin API shows of a trunk, with wall-clock times. `now` is the core's time at `wall`."""
    if state is None:
        return TrunkPresence()
    offset = wall - now
    gateways = tuple(TrunkGatewayPresence(one.address, one.state, one.since + offset) for one in state.gateways)
    return TrunkPresence(state.registered, state.since + offset, state.failure, state.calls, gateways)
