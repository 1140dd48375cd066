"""What the acceptor and the autop listener do for a crowd: nothing for who has left, and 503 only for who has proven itself."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from autop.admission import Rank
from gateway.handshakes import HandshakePlaces
from tests.autop.examples import MAC, TOKEN
from tests.system.autop_site import PATH, make_certificate, running

pytestmark = pytest.mark.system

BEGUN = b"\x16\x03\x01\x02\x00\x01\x00"
"""The first octets of a ClientHello that never goes on."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; the test's own deadline bounds it."""
    while not condition():  # noqa: ASYNC110  (what is waited for has no event: it happens inside the listener)
        await asyncio.sleep(0.005)


async def test_who_left_in_the_kernels_queue_is_not_brought_on(certificate: tuple[Path, Path]) -> None:
    async with running(certificate) as site:
        with socket.create_connection((site.host, site.port), timeout=5) as early:
            early.sendall(BEGUN)
        await until(lambda: site.turned_away == ["left"])
        assert (await site.get(PATH)).status == 200


async def test_who_left_while_it_waited_gets_no_handshake(certificate: tuple[Path, Path]) -> None:
    places = HandshakePlaces(places=1, per_source=5, pressed_seconds=60)
    async with running(certificate, handshakes=places) as site:
        _, stalled = await asyncio.open_connection(site.host, site.port)
        stalled.write(BEGUN)
        await until(lambda: len(places._holders) == 1)
        _, leaver = await asyncio.open_connection(site.host, site.port)
        leaver.write(BEGUN)
        await until(lambda: places.waiting == 1)
        leaver.close()
        await leaver.wait_closed()
        honest = asyncio.create_task(site.get(PATH))
        await until(lambda: places.waiting == 2)
        stalled.close()
        assert (await honest).status == 200
        assert sorted(site.turned_away) == ["handshake", "left"]


async def test_a_crowd_waits_unaccepted_and_is_taken_when_there_is_room(certificate: tuple[Path, Path]) -> None:
    places = HandshakePlaces(places=1, per_source=50, pressed_seconds=60)
    async with running(certificate, handshakes=places) as site:
        _, stalled = await asyncio.open_connection(site.host, site.port)
        stalled.write(BEGUN)
        await until(lambda: len(places._holders) == 1)
        crowd = [asyncio.create_task(site.get(PATH)) for _ in range(12)]
        await until(lambda: places.is_crowded)
        crowd.append(asyncio.create_task(site.get(PATH)))
        await until(lambda: not site.door._reading)
        stalled.close()
        assert [answer.status for answer in await asyncio.gather(*crowd)] == [200] * 13


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_proven_device_is_told_when_to_come_again_and_nobody_else(method: str) -> None:
    async with running() as site:
        ranks: list[tuple[Rank, str, bool]] = []
        site.configurations._gate = lambda rank, mac, is_known: ranks.append((rank, mac.text, is_known)) or 75  # type: ignore[func-returns-value]
        answer = await site.get(PATH, method=method)
        assert (answer.status, answer.headers["retry-after"]) == (503, "75")
        assert answer.body == (b"try again later\n" if method == "GET" else b"")
        assert ranks == [(Rank.DOOR, MAC.text, False)]
        wrong = await site.get(PATH.replace(TOKEN, TOKEN[::-1]))
        assert (wrong.status, "retry-after" in wrong.headers) == (404, False)
        assert len(ranks) == 1
