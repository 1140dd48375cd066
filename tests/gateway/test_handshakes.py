"""Who comes next when handshakes wait: nobody who has left, and the newest first once the first has waited too long."""

import asyncio
import contextlib

import pytest

from gateway import handshakes
from gateway.handshakes import HandshakePlaces, Left


class Peers:
    """Peers that shake hands at the one place there is; `order` says who had it, in order."""

    def __init__(self) -> None:
        self.places = HandshakePlaces(places=1, per_source=100, pressed_seconds=60)
        self.order: list[str] = []
        self.gone: set[str] = set()
        self.left: list[str] = []
        self._first_ends = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def _shake(self, name: str) -> None:
        try:
            async with self.places.place("source", lambda: name in self.gone):
                self.order.append(name)
                if name == "first":
                    await self._first_ends.wait()
        except Left:
            self.left.append(name)

    async def come(self, *names: str) -> None:
        for name in names:
            self.tasks.append(asyncio.create_task(self._shake(name)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def finish(self) -> None:
        self._first_ends.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*self.tasks)
        assert self.places.waiting == 0
        assert self.places.delay() == 0.0


async def test_in_order_of_arrival_while_it_goes_quickly() -> None:
    peers = Peers()
    await peers.come("first", "a", "b", "c")
    assert peers.places.waiting == 3
    await peers.finish()
    assert peers.order == ["first", "a", "b", "c"]


async def test_the_newest_first_once_the_first_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "LATE", -1.0)
    peers = Peers()
    await peers.come("first", "a", "b", "c")
    await peers.finish()
    assert peers.order == ["first", "c", "b", "a"]


@pytest.mark.parametrize("late", [60.0, -1.0])
async def test_who_has_left_gets_no_place_and_costs_the_next_one_nothing(late: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "LATE", late)
    peers = Peers()
    await peers.come("first", "a", "b", "c", "d")
    peers.gone = {"a", "b", "d"}
    await peers.finish()
    assert peers.order == ["first", "c"]
    assert sorted(peers.left) == ["a", "b", "d"]


async def test_who_gives_up_while_it_waits_leaves_its_turn_to_the_next() -> None:
    peers = Peers()
    await peers.come("first", "a", "b")
    peers.tasks[1].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await peers.tasks[1]
    del peers.tasks[1]
    await peers.finish()
    assert peers.order == ["first", "b"]


async def test_how_long_the_first_has_waited_is_known() -> None:
    peers = Peers()
    assert peers.places.delay() == 0.0
    await peers.come("first", "a")
    await asyncio.sleep(0.02)
    assert 0.01 <= peers.places.delay() < 2.0
    await peers.finish()


async def test_twice_as_many_waiting_as_there_are_places_is_a_crowd_until_half_of_it_is_gone() -> None:
    peers, told = Peers(), asyncio.Event()
    await peers.come("first", "a")
    crowded = [peers.places.is_crowded]
    await peers.come("b")
    crowded.append(peers.places.is_crowded)
    peers.places.when_room(told.set)
    peers.tasks[1].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await peers.tasks[1]
    crowded.append(peers.places.is_crowded)
    assert told.is_set()
    assert crowded == [False, True, False]
    del peers.tasks[1]
    await peers.finish()
    assert peers.order == ["first", "b"]
