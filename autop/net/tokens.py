"""`TokenRotations`: a device's new token takes the place of the old one without ever locking it out.

    ORDERED --a file that names the new token is about to be sent--> SENT --a fetch with the new token is complete--> (no record)
       |  ^
       +--+ another rotation: the new token, which nobody has, is replaced

Until the last step both tokens are good. Every step is a write to the store by version, before it has its effect: after kill -9,
and on every node, no token that the device may hold is gone, and the old one is dead once the device has shown the new one.
"""

from dataclasses import replace

from autop.net.audit import noted
from registry.configuration import OneTimeAutop
from registry.enrolment import Enrolment, TokenRotation
from registry.errors import NotFound, StaleVersion, StoreUnavailable
from registry.mac import MacAddress
from registry.records import Device
from registry.store import Delete, Put, Store, Stored, Write

ATTEMPTS = 8
"""How often a record is tried against concurrent writers."""


class TokenRotations:
    """Moves rotations on. Keeps nothing in memory, so any node may do any step."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sending(self, mac: MacAddress) -> Stored[TokenRotation] | None:
        """The rotation whose token the next file is to name, noted as sent: durable when it returns. None: it is over.

        Raises StoreUnavailable.
        """
        for _ in range(ATTEMPTS):
            stored = await self._store.get(TokenRotation, mac.text)
            if stored is None or stored.record.sent:
                return stored
            sent = replace(stored.record, sent=True)
            try:
                (version,) = await self._store.batch([Put(sent, expect=stored.version)])
            except StaleVersion:
                continue
            return Stored(sent, version)
        raise _busy(mac)

    async def confirm(self, mac: MacAddress, rotation: int, etag: str, wall: float) -> bool:
        """A fetch of the file `etag`, asked for and naming the new token of the rotation at this version, is complete at `wall`
        (wall-clock seconds): the old token is dead. Durable when it returns. False: nothing was to be done.

        A One-Time file under way that names the old token keeps it alive: the device must be able to get that, and come back.
        Raises StoreUnavailable; then it is to be called again.
        """
        for _ in range(ATTEMPTS):
            stored = await self._store.get(TokenRotation, mac.text)
            device = await self._store.get(Device, mac.text)
            if stored is None or stored.version != rotation or device is None:
                return False
            waiting = await self._store.get(OneTimeAutop, mac.text)
            if waiting is not None and waiting.record.etag not in ("", etag):
                return False
            writes: list[Write] = [
                Put(replace(device.record, sealed_token=stored.record.sealed_token), expect=device.version),
                Delete(TokenRotation, mac.text, expect=stored.version),
            ]
            enrolment = await self._store.get(Enrolment, mac.text)
            action = "device.token-taken-up"
            if enrolment is not None and enrolment.record.confirmed is None:
                writes.append(Put(replace(enrolment.record, confirmed=wall), expect=enrolment.version))
                action = "device.enrolled"
            writes.append(Put(noted(action, f"device/{mac}", device.record.site, wall, rotation)))
            try:
                await self._store.batch(writes)
            except (StaleVersion, NotFound):
                continue
            return True
        raise _busy(mac)


def _busy(mac: MacAddress) -> StoreUnavailable:
    return StoreUnavailable(f"{ATTEMPTS} others wrote the tokens of {mac} meanwhile")
