"""`FetchBook`: what each device fetched, with the exact bytes, kept in the store; and what a complete fetch ends: One-Time
deliveries, and the old token of a device that has shown the new one.

Written behind, in groups (`gathering.py`): a device waits for nothing; ten thousand that boot together are a few batches. What
kill -9 takes is a fetch of that moment; a One-Time file among them is sent once more with the same bytes, which its device skips.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from dataclasses import replace

from autop.delivery import Fetched, note
from autop.net.configurations import File
from autop.net.one_time import OneTimeDelivery, deflate
from autop.net.tokens import TokenRotations
from gateway.gathering import Gathering
from registry.configuration import AuthorityFetched, DeviceFetches, FetchedFile, OneTimeAutop, fetched_file_key
from registry.errors import NotFound, StaleVersion
from registry.location import AorBindings
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Device
from registry.store import Delete, Put, Require, Store, Write
from registry.vault import Vault

MAX_WAITING = 10_000
"""Fetches that wait while the store is down; past it the oldest is dropped and said so."""
DEVICES_AT_ONCE = 40
"""Of one device at most MAX_VERSIONS files are put and as many deleted, so that these fit one batch."""
ATTEMPTS = 8
_log = logging.getLogger("portico.fetches")
_Waiting = tuple[File, Fetched]


class FetchBook:
    """Takes what the autop listener tells (`FetchSink`)."""

    def __init__(
        self, store: Store, read_model: ReadModel, vault: Vault, one_time: OneTimeDelivery, tokens: TokenRotations
    ) -> None:
        self._store = store
        self._read_model = read_model
        self._vault = vault
        self._one_time = one_time
        self._tokens = tokens
        self._waiting: OrderedDict[tuple[str, int], _Waiting] = OrderedDict()
        self._authorities: dict[str, File] = {}
        """By MAC, bounded by the fleet: of each device the last one."""
        self._newest: dict[str, int] = {}
        """By MAC: the serial of the last fetch that waits."""
        self._serial = 0
        self._gathering = Gathering("fetches", self._write, lambda: len(self._waiting))

    def fetched(self, file: File, peer: str, wall: float, *, complete: bool, held: str, transport: str = "") -> None:
        """A device has these bytes, as of now."""
        if file.is_authority:
            self._authorities[file.mac.text] = file
            self._gathering.wake()
            return
        if len(self._waiting) >= MAX_WAITING:
            (mac, serial), _ = self._waiting.popitem(last=False)
            if self._newest.get(mac) == serial:
                del self._newest[mac]
            _log.error("a fetch was not kept: the store has been down too long")
        mac = file.mac.text
        before = self._waiting.get((mac, self._newest.get(mac, 0)))
        if not complete and before is not None and not before[1].complete and before[0] == file:
            return  # it says again what is not even written yet
        self._serial += 1
        fetched = Fetched(file.mac, "", file.hash, wall, peer[:64], complete, held, transport=transport)
        self._newest[mac] = self._serial
        self._waiting[mac, self._serial] = (file, fetched)
        self._gathering.wake()

    @property
    def waiting(self) -> int:
        """Fetches that are not in the store yet."""
        return len(self._waiting)

    def start(self) -> None:
        self._gathering.start()

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        await self._gathering.stop()

    async def _write(self) -> None:
        for mac, file in list(self._authorities.items()):
            await self._keep_authority(file)
            if self._authorities.get(mac) is file:
                del self._authorities[mac]
        while self._waiting:
            chosen: dict[str, list[_Waiting]] = {}
            keys = []
            for key, waiting in self._waiting.items():
                if key[0] in chosen or len(chosen) < DEVICES_AT_ONCE:
                    chosen.setdefault(key[0], []).append(waiting)
                    keys.append(key)
            for mac, entries in chosen.items():
                if await self._read_model.get(OneTimeAutop, mac) is not None:
                    for _, fetched in entries:
                        await self._one_time.complete(fetched.mac, fetched.etag)
            await asyncio.gather(*[self._confirm(entries) for entries in chosen.values()])
            await self._keep(tuple(chosen.values()))
            for key in keys:
                self._waiting.pop(key, None)
                if self._newest.get(key[0]) == key[1]:
                    del self._newest[key[0]]

    async def _keep_authority(self, file: File) -> None:
        """From now on the device is told to check servers by it. Once in a device's life, so each is a batch of its own."""
        device = await self._read_model.get(Device, file.mac.text)
        known = await self._read_model.get(AuthorityFetched, file.mac.text)
        if device is None or (known is not None and known.record.sha256 == file.hash):
            return
        with contextlib.suppress(NotFound):  # removed meanwhile
            record = AuthorityFetched(file.mac, device.record.site, file.hash)
            await self._store.batch([Require(Device, file.mac.text), Put(record)])

    async def _confirm(self, entries: list[_Waiting]) -> None:
        """A complete fetch with a new token ends the old one. A request with it is not enough: HEAD and what breaks off show that
        somebody knows the token, not that the device has come to the end of what it does with it."""
        for file, fetched in entries:
            if file.confirms:
                await self._tokens.confirm(fetched.mac, file.confirms, file.hash, fetched.at)

    async def _keep(self, devices: tuple[list[_Waiting], ...]) -> None:
        """Write the fetches of these devices together; where somebody else wrote meanwhile, one by one."""
        try:
            writes = [write for entries in devices for write in await self._writes(entries, self._read_model)]
            await self._store.batch(writes)
            return
        except (StaleVersion, NotFound):
            pass
        for entries in devices:
            for _ in range(ATTEMPTS):
                try:
                    await self._store.batch(await self._writes(entries, self._store))
                except StaleVersion:
                    continue
                except NotFound:
                    pass  # the device was deleted: nothing of it is kept
                break

    async def _writes(self, entries: list[_Waiting], known: ReadModel | Store) -> list[Write]:
        """What keeps one device's fetches, oldest first. Nothing where the device is gone or all stays as it is.

        `known`: where the present records are read; what is behind ends in StaleVersion.
        """
        mac = entries[0][0].mac
        device = await known.get(Device, mac.text)
        if device is None:
            return []
        account = device.record.account
        bindings = await self._read_model.get(AorBindings, account) if account else None
        stored = await known.get(DeviceFetches, mac.text)
        before = stored.record if stored is not None else None
        had = {one.etag for one in before.fetches} if before is not None else set()
        record, bodies = before, dict[str, bytes]()
        for file, fetched in entries:
            fetched = replace(fetched, site=device.record.site, bindings_version=bindings.version if bindings else 0)
            record = note(record, fetched)
            bodies[file.hash] = file.body
        if record is None or record == before:
            return []
        kept = {one.etag for one in record.fetches}
        writes: list[Write] = [
            Require(Device, mac.text),
            Put(record, expect=stored.version if stored is not None else 0),
        ]
        writes += [Put(self._file(mac, etag, bodies[etag])) for etag in sorted(kept - had) if etag in bodies]
        writes += [Delete(FetchedFile, fetched_file_key(mac, etag)) for etag in sorted(had - kept)]
        return writes

    def _file(self, mac: MacAddress, etag: str, body: bytes) -> FetchedFile:
        sealed = self._vault.seal(deflate(body), f"fetched:{mac}/{etag}")
        return FetchedFile(mac, etag, sealed)
