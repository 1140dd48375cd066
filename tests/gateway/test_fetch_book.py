"""What devices fetched: kept once per version with its bytes, whoever else writes, and through a store that is down."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from autop.delivery import MAX_VERSIONS
from autop.fingerprint import strong_etag
from autop.net.configurations import AUTHORITY_TYPE, File
from autop.net.one_time import OneTimeDelivery, inflate, seal_order
from autop.net.tokens import TokenRotations
from gateway import gathering
from gateway.fetch_book import FetchBook
from registry.configuration import AuthorityFetched, DeviceFetches, FetchedFile, OneTimeAutop, OneTimeOrder, fetched_file_key
from registry.enrolment import TokenRotation
from registry.errors import StoreUnavailable
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Device
from registry.store import Delete, Put, Write
from tests.autop import examples

MAC = examples.MAC


class Meddling(MemoryStore):
    """A store in which something happens before the next batch."""

    before: Callable[[], object] | None = None

    async def batch(self, writes: Sequence[Write], *, durable: bool = True) -> tuple[int, ...]:
        act, self.before = self.before, None
        if act is not None:
            result = act()
            if asyncio.iscoroutine(result):
                await result
        return await super().batch(writes, durable=durable)


class Shelf:
    """A book over a store with one device."""

    def __init__(self) -> None:
        self.store, self.vault = Meddling(), examples.vault()
        self.one_time = OneTimeDelivery(self.store, self.vault)
        self.book = FetchBook(self.store, ReadModel(self.store), self.vault, self.one_time, TokenRotations(self.store))

    async def add(self, *macs: MacAddress) -> None:
        await self.store.batch(
            [Put(examples.sealed_device(self.vault, mac, id=mac.text, account=f"a{mac}")) for mac in macs or (MAC,)]
        )

    def got(self, body: bytes, mac: MacAddress = MAC, *, at: float = 1.0, complete: bool = True) -> str:
        file = File(mac, body, strong_etag(body))
        self.book.fetched(file, "192.0.2.7", at, complete=complete, held="")
        return file.hash

    async def record(self, mac: MacAddress = MAC) -> DeviceFetches | None:
        stored = await self.store.get(DeviceFetches, mac.text)
        return None if stored is None else stored.record

    async def bytes_of(self, etag: str) -> bytes:
        stored = await self.store.get(FetchedFile, fetched_file_key(MAC, etag))
        assert stored is not None
        return inflate(self.vault.open(stored.record.sealed_file, f"fetched:{MAC}/{etag}"))


async def test_each_version_once_with_its_exact_bytes_sealed() -> None:
    shelf = Shelf()
    await shelf.add()
    secret = b"Config.Account1.GENERAL.Pwd = hush\n"
    first, second = shelf.got(secret), shelf.got(b"other", at=2.0)
    shelf.got(secret, at=3.0)
    await shelf.book.stop()
    record = await shelf.record()
    assert record is not None
    assert [(one.etag, one.times, one.peer) for one in record.fetches] == [(second, 1, "192.0.2.7"), (first, 2, "192.0.2.7")]
    assert await shelf.bytes_of(first) == secret
    stored = await shelf.store.get(FetchedFile, fetched_file_key(MAC, first))
    assert stored is not None
    assert b"hush" not in stored.record.sealed_file
    assert shelf.book.waiting == 0


async def test_the_oldest_versions_go_with_their_bytes() -> None:
    shelf = Shelf()
    await shelf.add()
    etags = []
    for number in range(MAX_VERSIONS + 3):
        etags.append(shelf.got(f"{number}".encode()))
        await shelf.book.stop()
    record = await shelf.record()
    assert record is not None
    assert [one.etag for one in record.fetches] == etags[3:]
    for etag in etags[:3]:
        assert await shelf.store.get(FetchedFile, fetched_file_key(MAC, etag)) is None
    assert await shelf.bytes_of(etags[3]) == b"3"


async def test_a_304_that_says_nothing_new_writes_nothing() -> None:
    shelf = Shelf()
    await shelf.add()
    shelf.got(b"x")
    shelf.got(b"x", at=2.0, complete=False)
    await shelf.book.stop()
    before = await shelf.store.sequence()
    shelf.got(b"x", at=3.0, complete=False)
    await shelf.book.stop()
    assert await shelf.store.sequence() == before


async def test_a_device_that_is_deleted_meanwhile_leaves_nothing_and_stops_nobody() -> None:
    shelf, other = Shelf(), MacAddress("0C1105000009")
    await shelf.add(MAC, other)
    shelf.got(b"x")
    shelf.got(b"y", other)
    gone = examples.sealed_device(shelf.vault)
    shelf.store.before = lambda: MemoryStore.batch(shelf.store, [Delete(type(gone), MAC.text)])
    await shelf.book.stop()
    assert await shelf.record() is None
    assert await shelf.record(other) is not None
    shelf.got(b"z")
    await shelf.book.stop()
    assert await shelf.record() is None


async def test_another_node_writes_meanwhile() -> None:
    shelf = Shelf()
    await shelf.add()
    first = shelf.got(b"x")
    await shelf.book.stop()
    record = await shelf.record()
    assert record is not None
    elsewhere = replace(record, strange_etag="ab" * 32)
    second = shelf.got(b"y")
    shelf.store.before = lambda: MemoryStore.batch(shelf.store, [Put(elsewhere)])
    await shelf.book.stop()
    record = await shelf.record()
    assert record is not None
    assert [one.etag for one in record.fetches] == [first, second]


async def test_a_store_that_is_down_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(gathering, "GATHER_SECONDS", 0.0)
    shelf = Shelf()
    await shelf.add()

    def down() -> None:
        raise StoreUnavailable("down")

    shelf.store.before = down
    shelf.got(b"x")
    shelf.book.start()
    while shelf.book.waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await shelf.book.stop()
    assert await shelf.record() is not None


async def test_a_complete_fetch_ends_a_one_time_delivery() -> None:
    shelf = Shelf()
    await shelf.add()
    order = OneTimeOrder("o1", 1.0, "me", seal_order(shelf.vault, MAC, ("Config.A.B.C = 1",)))
    await shelf.store.batch([Put(OneTimeAutop(MAC, "s-1", (order,)))])
    body = await shelf.one_time.offer(MAC, lambda one_time: one_time.id.encode())
    assert body is not None
    shelf.got(b"something else")
    await shelf.book.stop()
    assert await shelf.store.get(OneTimeAutop, MAC.text) is not None
    shelf.got(body)
    await shelf.book.stop()
    assert await shelf.store.get(OneTimeAutop, MAC.text) is None


async def test_a_fetch_with_the_new_token_ends_the_old_one_also_when_the_store_was_down() -> None:
    shelf = Shelf()
    await shelf.add()
    sealed = shelf.vault.seal_text("new", f"device-token:{MAC}")
    (version,) = await shelf.store.batch([Put(TokenRotation(MAC, "s-1", sealed, 1.0, sent=True))])
    file = File(MAC, b"x", strong_etag(b"x"))

    def down() -> None:
        raise StoreUnavailable("down")

    shelf.book.fetched(file, "192.0.2.7", 1.0, complete=True, held="")  # with the old token
    await shelf.book.stop()
    assert await shelf.store.get(TokenRotation, MAC.text) is not None
    shelf.store.before = down
    shelf.book.fetched(replace(file, confirms=version), "192.0.2.7", 2.0, complete=True, held="")
    await shelf.book.stop()
    assert await shelf.store.get(TokenRotation, MAC.text) is not None, "down"
    await shelf.book.stop()
    assert await shelf.store.get(TokenRotation, MAC.text) is None
    device = await shelf.store.get(Device, MAC.text)
    assert device is not None
    assert device.record.sealed_token == sealed


async def test_who_has_the_authority_is_kept_and_is_no_fetch_of_a_configuration() -> None:
    shelf = Shelf()
    await shelf.add()
    for mac in (MAC, MacAddress("0C1105FFFFFF")):  # the second was removed meanwhile
        pem = File(mac, b"pem", strong_etag(b"pem"), AUTHORITY_TYPE)
        shelf.book.fetched(pem, "192.0.2.7", 1.0, complete=True, held="")
    await shelf.book.stop()
    kept = await shelf.store.get(AuthorityFetched, MAC.text)
    assert kept is not None
    assert kept.record.sha256 == pem.hash
    assert await shelf.store.get(AuthorityFetched, "0C1105FFFFFF") is None
    assert await shelf.record() is None
