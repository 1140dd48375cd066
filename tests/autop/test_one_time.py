"""One-Time Autop: the same bytes until a fetch of them is complete, then nothing; over a store in memory and one on disk."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.identify import MacFile
from autop.net.configurations import Configurations, File
from autop.net.one_time import OneTimeDelivery, deflate, inflate, seal_order
from autop.render import OneTime
from registry.configuration import OneTimeAutop, OneTimeOrder
from registry.engines.sqlite import SqliteStore
from registry.errors import BadSeal
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.store import Put, Store
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN

KEY = "Config.Settings.LOGLEVEL.Level"
ASKED = MacFile(TOKEN, MAC)


class Desk:
    """An operator who orders, a device that fetches, and a node between them that can be started anew."""

    def __init__(self, store: Store) -> None:
        self.store, self.vault = store, examples.vault()
        self.ordered = 0
        self.restart()

    def restart(self) -> None:
        """Everything that was only in memory is gone."""
        self.delivery = OneTimeDelivery(self.store, self.vault)
        self.node = Configurations(
            read_model=ReadModel(self.store), vault=self.vault, settings=examples.SETTINGS, one_time=self.delivery
        )

    async def order(self, *lines: str) -> str:
        self.ordered += 1
        order = OneTimeOrder(f"o{self.ordered}", 1.0, "me", seal_order(self.vault, MAC, lines))
        stored = await self.store.get(OneTimeAutop, MAC.text)
        if stored is None:
            await self.store.batch([Put(OneTimeAutop(MAC, "s-1", (order,)), expect=0)])
        else:
            orders = (*stored.record.orders, order)
            await self.store.batch([Put(replace(stored.record, orders=orders), expect=stored.version)])
        self.restart()  # nobody feeds this read model
        return order.id

    async def find(self) -> File:
        found = await self.node.find(ASKED)
        assert isinstance(found, File), found
        return found

    async def rename(self, name: str) -> None:
        await self.store.batch(
            [Put(examples.sealed_device(self.vault, account="", autop_commands=(f"Config.A.B.Name = {name}",)))]
        )
        self.restart()


async def a_desk() -> Desk:
    desk = Desk(MemoryStore())
    await desk.rename("Gate")
    return desk


async def test_the_same_bytes_until_complete_then_gone() -> None:
    desk = await a_desk()
    plain = await desk.find()
    order = await desk.order(f"{KEY} = 7")
    first = await desk.find()
    assert first.body.startswith(f"# One-Time Autop {order}\n".encode())
    assert f"{KEY} = 7\n".encode() in first.body
    await desk.rename("Another gate")  # a change meanwhile must wait: the device may have `first`
    assert await desk.find() == first
    assert not await desk.delivery.complete(MAC, plain.hash), "a fetch of other bytes is none of these"
    desk.restart()
    assert await desk.find() == first
    assert await desk.delivery.complete(MAC, first.hash)
    assert not await desk.delivery.complete(MAC, first.hash)
    assert await desk.store.get(OneTimeAutop, MAC.text) is None
    desk.restart()
    after = await desk.find()
    assert KEY.encode() + b" = 7" not in after.body


async def test_the_read_model_may_be_behind() -> None:
    desk = await a_desk()
    await desk.order(f"{KEY} = 7")
    first = await desk.find()
    await desk.delivery.complete(MAC, first.hash)
    late = await desk.find()  # this node's memory still says that something waits
    assert b"One-Time" not in late.body


async def test_orders_entered_meanwhile_wait_for_their_turn() -> None:
    desk = await a_desk()
    await desk.order(f"{KEY} = 1")
    first = await desk.find()
    second_id = await desk.order(f"{KEY} = 2")
    assert await desk.find() == first
    await desk.delivery.complete(MAC, first.hash)
    second = await desk.find()
    assert second.body.startswith(f"# One-Time Autop {second_id}\n".encode())
    assert f"{KEY} = 2\n".encode() in second.body


async def test_before_anything_was_sent_a_change_is_in_the_file() -> None:
    desk = await a_desk()
    await desk.order(f"{KEY} = 1")
    await desk.order(f"{KEY} = 2", "Config.A.B.C = x")
    await desk.rename("Renamed")
    body = (await desk.find()).body
    assert f"{KEY} = 2\n".encode() in body
    assert body.count(KEY.encode()) == 1


async def test_two_nodes_at_once_send_one_file() -> None:
    desk = await a_desk()
    await desk.order(f"{KEY} = 1")
    other = Configurations(
        read_model=ReadModel(desk.store),
        vault=desk.vault,
        settings=replace(examples.SETTINGS, ntp_servers=("other.ntp",)),
        one_time=OneTimeDelivery(desk.store, desk.vault),
    )
    found = await asyncio.gather(desk.find(), other.find(ASKED), desk.find(), other.find(ASKED))
    assert all(one == found[0] for one in found)


async def test_on_disk_across_a_close(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "s.db")
    desk = Desk(store)
    await desk.rename("Gate")
    await desk.order(f"{KEY} = 7")
    first = await desk.find()
    await store.close()
    desk.store = store = await SqliteStore.open(tmp_path / "s.db")
    desk.restart()
    assert await desk.find() == first
    await desk.delivery.complete(MAC, first.hash)
    await store.close()
    desk.store = store = await SqliteStore.open(tmp_path / "s.db")
    desk.restart()
    assert b"One-Time" not in (await desk.find()).body
    await store.close()


actions = st.lists(st.sampled_from(["order", "fetch", "complete", "crash", "rename"]), max_size=24)


@given(actions)
def test_every_order_is_applied_once_whatever_happens(steps: list[str]) -> None:
    """The device applies a file when its bytes are new, as akuvox-devices.md says; what it applied is counted per order."""

    async def live() -> None:
        desk = await a_desk()
        applied: dict[str, int] = {}
        had = b""
        taken: File | None = None
        for number, step in enumerate([*steps, *["fetch", "complete"] * 14]):
            match step:
                case "order" if desk.ordered < 12:
                    await desk.order(f"Config.A.B.C{desk.ordered + 1} = once")
                case "rename":
                    await desk.rename(f"N{number}")
                case "crash":
                    desk.restart()
                    taken = None  # the node never learns that the device got it
                case "fetch":
                    taken = await desk.find()
                    if taken.body != had:
                        had = taken.body
                        for line in had.decode().splitlines():
                            if line.endswith(" = once"):
                                applied[line] = applied.get(line, 0) + 1
                case "complete" if taken is not None:
                    await desk.delivery.complete(MAC, taken.hash)
                    desk.restart()
        assert applied == {f"Config.A.B.C{n} = once": 1 for n in range(1, desk.ordered + 1)}
        assert await desk.store.get(OneTimeAutop, MAC.text) is None

    # A loop of its own: pytest-twisted runs what hypothesis calls inside the shared one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, live()).result()


def test_a_deflated_file_comes_back_and_nothing_else_does() -> None:
    assert inflate(deflate(b"x" * 500_000)) == b"x" * 500_000
    for damaged in (b"", b"no", deflate(b"x")[:-1], deflate(b"\0" * 2_000_000)):
        with pytest.raises(BadSeal):
            inflate(damaged)


async def test_a_file_too_large_to_keep_is_not_sent() -> None:
    desk = await a_desk()
    await desk.order(f"{KEY} = 1")

    def huge(_one_time: OneTime) -> bytes:
        return hashlib.shake_256(b"does not deflate").digest(70_000)

    with pytest.raises(ValueError, match="too large"):
        await desk.delivery.offer(MAC, huge)
    assert (await desk.store.get(OneTimeAutop, MAC.text)).record.etag == ""  # type: ignore[union-attr]
