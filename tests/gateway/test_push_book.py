"""Push parameters: true at once, in the store a moment later and sealed, patient with a store that is down."""

import asyncio
import os
from typing import Any

import pytest

from gateway.followed_store import FollowedStore
from gateway.push.book import PushBook
from registry.codec import encode
from registry.location import AorPush
from registry.read_model import ReadModel
from registry.records import Account, AccountOwner
from registry.store import Delete, Put
from registry.vault import Vault
from sip.directory import UNKNOWN, PushParameters
from sip.events import PushChanged
from sip.push import PushChange
from tests.gateway.test_logbook import FailingStore

PHONE = PushParameters("fcm", "token-of-the-phone", "project", "<urn:uuid:1>")
TABLET = PushParameters("apns", "token-of-the-tablet", "", "<urn:uuid:2>")


class Node:
    """A book on a store, with the change feed applied by hand of the test."""

    def __init__(self, store: FailingStore, key: bytes = b"k" * 32) -> None:
        self.store = store
        self.read_model = ReadModel(store)
        self.book = PushBook(
            FollowedStore(store, self.read_model), self.read_model, Vault(key, os.urandom), lambda: ("apns", "fcm")
        )
        self._feed = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for change in self.store.watch(await self.store.sequence()):
            self.read_model.apply(change)

    def says(self, parameters: PushParameters) -> None:
        self.book.changed(PushChanged("app", PushChange(parameters.instance, parameters.prid, parameters)))

    async def stop(self) -> None:
        await self.book.stop()
        self._feed.cancel()
        await asyncio.wait([self._feed])

    async def loaded(self) -> Any:
        await asyncio.sleep(0)  # the feed begins
        await self.read_model.get(AorPush, "app")
        return self.book.parameters("app")


async def test_parameters_are_known_at_once_and_to_another_node_later() -> None:
    store = FailingStore(0)
    node = Node(store)
    assert node.book.parameters("app") is UNKNOWN
    assert await node.loaded() == ()
    node.says(PHONE)
    assert node.book.parameters("app") == (PHONE,)
    await node.stop()
    after_restart = Node(store)
    assert await after_restart.loaded() == (PHONE,)
    await after_restart.stop()


async def test_the_store_holds_no_prid_in_clear() -> None:
    store = FailingStore(0)
    node = Node(store)
    node.says(PHONE)
    await node.stop()
    stored = await store.get(AorPush, "app")
    assert stored is not None
    assert PHONE.prid.encode() not in encode(stored.record)
    other_key = Node(store, b"x" * 32)
    assert await other_key.loaded() == ()
    await other_key.stop()


async def test_two_nodes_do_not_undo_each_other() -> None:
    store = FailingStore(0)
    one, two = Node(store), Node(store)
    assert (await one.loaded(), await two.loaded()) == ((), ())
    one.says(PHONE)
    two.says(TABLET)
    await one.stop()
    await asyncio.sleep(0)
    await two.stop()
    late = Node(store)
    assert set(await late.loaded()) == {PHONE, TABLET}
    await late.stop()


async def test_a_dead_token_is_forgotten_and_the_other_app_stays() -> None:
    store = FailingStore(0)
    node = Node(store)
    node.says(PHONE)
    node.says(TABLET)
    node.book.dead("app", PHONE.prid)
    await node.stop()
    late = Node(store)
    assert await late.loaded() == (TABLET,)
    late.book.dead("app", TABLET.prid)
    await late.stop()
    assert await store.get(AorPush, "app") is None


async def test_what_is_there_already_is_not_written_again() -> None:
    store = FailingStore(0)
    node = Node(store)
    node.says(PHONE)
    await node.book.stop()
    batches = store.batches
    node.says(PHONE)
    await node.stop()
    assert store.batches == batches


async def test_an_account_that_is_deleted_takes_its_parameters_along() -> None:
    store = FailingStore(0)
    await store.batch([Put(Account("app", "s1", AccountOwner.APP, "u1", "App", b""))])
    node = Node(store)
    node.book.start()
    node.says(PHONE)
    written = store.watch(await store.sequence())
    assert (await asyncio.wait_for(anext(written), 5)).kind == "AorPush"
    await store.batch([Delete(Account, "app")])
    kinds = [(await asyncio.wait_for(anext(written), 5)) for _ in range(2)]
    assert [(one.kind, one.deleted) for one in kinds] == [("Account", True), ("AorPush", True)]
    await node.stop()


async def test_parameters_wait_for_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.push.book.GATHER_SECONDS", 0.01)
    monkeypatch.setattr("gateway.push.book.RETRY_SECONDS", 0.01)
    store = FailingStore(3)
    node = Node(store)
    node.book.start()
    node.says(PHONE)
    written = store.watch(0)
    await asyncio.wait_for(anext(written), 5)
    assert await node.loaded() == (PHONE,)
    await node.stop()


async def test_how_much_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.push.book.MAX_CHANGES", 2)
    store = FailingStore(0)
    node = Node(store)
    for number in range(5):
        node.says(PushParameters("fcm", f"t{number}", "", f"i{number}"))
    assert [one.prid for one in await node.loaded()] == ["t3", "t4"]
    await node.stop()
