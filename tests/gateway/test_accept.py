"""Who gets a handshake place, and whom an address counts for. tests/system/test_sip_stream.py meets the acceptor itself."""

import asyncio
import resource

import pytest

from gateway.accept import AcceptLimits, source_of, within_descriptors
from gateway.handshakes import HandshakePlaces


class Handshake:
    """One that lasts until it is told to end, or is put out."""

    def __init__(self, places: HandshakePlaces, source: str) -> None:
        self.inside = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(places, source))

    async def _run(self, places: HandshakePlaces, source: str) -> None:
        async with places.place(source):
            self.inside.set()
            await self.end.wait()

    async def begun(self) -> None:
        async with asyncio.timeout(2):
            await self.inside.wait()

    async def over(self) -> bool:
        """Whether it ended by itself, and was not put out."""
        await asyncio.wait((self.task,), timeout=2)
        return not self.task.cancelled()


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_places_are_few_and_go_to_the_next_when_one_is_over() -> None:
    places = HandshakePlaces(places=2, per_source=2, pressed_seconds=60)
    first, second, third = (Handshake(places, source) for source in ("a", "b", "c"))
    await _turns()
    assert [one.inside.is_set() for one in (first, second, third)] == [True, True, False]
    first.end.set()
    await third.begun()
    for one in (second, third):
        one.end.set()
        assert await one.over()


async def test_one_source_cannot_take_them_all() -> None:
    places = HandshakePlaces(places=4, per_source=2, pressed_seconds=60)
    crowd = [Handshake(places, "crowd") for _ in range(10)]
    await _turns()
    other = Handshake(places, "other")
    await other.begun()
    assert sum(one.inside.is_set() for one in crowd) == 2
    for one in (*crowd, other):
        one.end.set()
        assert await one.over()


@pytest.mark.parametrize("per_source", [2, 1])
async def test_who_stalls_gives_way_after_the_grace_and_only_if_somebody_waits(per_source: int) -> None:
    places = HandshakePlaces(places=2, per_source=per_source, pressed_seconds=0.05)
    stalled = [Handshake(places, "a") for _ in range(per_source)]
    for one in stalled:
        await one.begun()
    await asyncio.sleep(0.1)
    assert not any(one.task.done() for one in stalled)
    honest = Handshake(places, "a")
    await honest.begun()
    assert not await stalled[0].over()
    honest.end.set()
    assert await honest.over()
    for one in stalled:
        one.task.cancel()


async def test_a_waiting_one_that_gives_up_leaves_nothing() -> None:
    places = HandshakePlaces(places=1, per_source=1, pressed_seconds=60)
    first, second, third = (Handshake(places, "a") for _ in range(3))
    await first.begun()
    second.task.cancel()
    first.end.set()
    await third.begun()
    third.end.set()
    assert await third.over()
    assert places._sources == {}


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("2001:db8:1:3::9", "2001:db8:1:3::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_an_ipv6_address_counts_for_its_64(host: str, source: str) -> None:
    assert source_of(host) == source


def test_strangers_never_hold_all_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, 1024))
    small = within_descriptors(AcceptLimits(), 4)
    assert (small.strangers, small.strangers_per_source) == (64, 64)
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1_000_000, 1_000_000))
    assert within_descriptors(AcceptLimits(), 4) == AcceptLimits()
