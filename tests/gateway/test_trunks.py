"""The trunk book: follows the registry, opens passwords, and says what the admin API shows."""

import asyncio
import os
from collections.abc import Sequence

from admin_api.ports import TrunkGatewayPresence, TrunkPresence
from gateway.feed import Feed
from gateway.trunks import TrunkBook, presence
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.store import Delete, Put
from registry.trunk import Trunk, TrunkGateway, trunk_secret
from registry.vault import Vault
from sip.trunk_state import GatewayState, TrunkFacts, TrunkState

VAULT = Vault(bytes(range(32)), os.urandom)
GATEWAYS = (TrunkGateway("192.0.2.1"),)


async def test_trunks_are_configured_at_the_start_and_with_every_change() -> None:
    store = MemoryStore()
    read_model = ReadModel(store)
    feed = Feed(store, read_model)
    await feed.start()
    told: asyncio.Queue[Sequence[TrunkFacts]] = asyncio.Queue()
    await store.batch([Put(Trunk("a", "A", GATEWAYS, username="u", sealed_password=VAULT.seal_text("pw", trunk_secret("a"))))])
    book = TrunkBook(store, read_model, VAULT, told.put_nowait)
    book.start()
    try:
        async with asyncio.timeout(5):
            (first,) = await told.get()
            assert (first.trunk.id, first.password) == ("a", b"pw")
            await store.batch([Put(Trunk("b", "B", GATEWAYS))])
            while len(found := await told.get()) != 2:
                pass
            assert [(one.trunk.id, one.password) for one in found] == [("a", b"pw"), ("b", b"")]
            copied = VAULT.seal_text("pw", trunk_secret("a"))
            await store.batch([Delete(Trunk, "a"), Put(Trunk("b", "B", GATEWAYS, username="u", sealed_password=copied))])
            while await told.get():
                pass  # a secret sealed for another trunk does not open: that trunk is left out
    finally:
        await book.stop()
        await feed.stop()


def test_presence_has_wall_clock_times() -> None:
    state = TrunkState(True, 10.0, "", 1, (GatewayState("192.0.2.1", "up", 5.0),))
    assert presence(state, 100.0, 1_000_100.0) == TrunkPresence(
        True, 1_000_010.0, "", 1, (TrunkGatewayPresence("192.0.2.1", "up", 1_000_005.0),)
    )
    assert presence(None, 0.0, 0.0) == TrunkPresence()
