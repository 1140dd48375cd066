"""What is taken away takes effect at once: a removed device loses its channel, a removed or disabled account its bindings.

New requests are refused anyway, since credentials are read from the registry each time; this ends what was open already.
"""

import asyncio
import contextlib
from collections.abc import Callable

from registry.errors import RegistryError
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Account, Device
from registry.store import Change


class Revocation:
    """Follows the change feed. `end_channel(mac)` closes a device's link; `forget_account(name)` drops an account's bindings."""

    def __init__(
        self,
        read_model: ReadModel,
        *,
        end_channel: Callable[[MacAddress], None],
        forget_account: Callable[[str], None],
    ) -> None:
        self._read_model = read_model
        self._end_channel = end_channel
        self._forget_account = forget_account
        self._checks: set[asyncio.Task[None]] = set()
        read_model.subscribe(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.kind == Device.__name__ and change.deleted:
            self._end_channel(MacAddress(change.key))
        elif change.kind == Account.__name__:
            if change.deleted:
                self._forget_account(change.key)
            else:
                check = asyncio.get_running_loop().create_task(self._check(change.key))
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)

    async def _check(self, username: str) -> None:
        # While the store is down nothing is revoked by mistake; the account's next change or expiry comes anyway.
        with contextlib.suppress(RegistryError):
            stored = await self._read_model.get(Account, username)
            if stored is None or not stored.record.enabled:
                self._forget_account(username)
