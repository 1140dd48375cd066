"""Readers that are slow or stop: what they cost both ends, and that they hold up nobody else."""

import asyncio
import contextlib

import pytest

from tests.system.test_tunnel_hard import resident
from tests.system.tunnel_site import MAC, eventually, tunnel_site

pytestmark = pytest.mark.system

STALLED = 50
KIB = 1_024


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends as much as is taken to who asks for it; answers others at once."""
    if await reader.read(1) != b"e":
        writer.write(b"ok")
        await writer.drain()
        return
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(bytes(65_536))
            await writer.drain()


async def test_fifty_readers_that_stop_cost_little_and_hold_up_nobody() -> None:
    async with tunnel_site(endless) as site:
        link = site.channel.link(MAC)
        assert link is not None
        assert site.agent is not None
        device = site.agent._link
        assert device is not None
        before = resident()
        pipes = [link.open("web") for _ in range(STALLED)]
        for pipe in pipes:
            await pipe.write(b"e")
        mux = link._link._running()
        await eventually(lambda: all(mux.credits(pipe.stream)[1] == 0 for pipe in pipes))
        await eventually(lambda: all(device._running().queued(pipe.stream) > 0 for pipe in pipes))
        unread = sum(len(chunk) for pipe in pipes for chunk in pipe._chunks)
        assert unread <= STALLED * 65_536, "the first window of each, no more"
        assert all(device._running().queued(pipe.stream) <= 2 * 65_536 for pipe in pipes)
        assert resident() - before <= STALLED * 2 * 256 * KIB, "both ends are in this process"
        lively = link.open("web")
        await lively.write(b"s")
        async with asyncio.timeout(2):
            assert await lively.read() == b"ok"
        for pipe in pipes:
            pipe.reset()
        await eventually(lambda: link.open_streams <= 1 and device.open_streams <= 1)


async def slow_reader(seconds: float, rate: int) -> tuple[int, int]:
    """Read a stream without end at so many bytes a second: (bytes read, by how much this process grew after the first second)."""
    async with tunnel_site(endless) as site:
        link = site.channel.link(MAC)
        assert link is not None
        pipe = link.open("web")
        await pipe.write(b"e")
        loop = asyncio.get_running_loop()
        begun, got, first, most = loop.time(), 0, 0, 0
        while (passed := loop.time() - begun) < seconds:
            got += len(await pipe.read())
            await asyncio.sleep(max(0.0, got / rate - passed))
            if passed > 1.0:
                first = first or resident()
                most = max(most, resident())
        pipe.reset()
        return got, most - first


async def test_a_reader_of_one_megabit_a_second_costs_no_more_the_longer_it_reads() -> None:
    got, growth = await slow_reader(3.0, 125_000)
    assert 200_000 <= got <= 700_000
    assert growth < 1_024 * KIB


@pytest.mark.slow
async def test_a_gigabyte_for_a_slow_reader_is_read_for_two_minutes() -> None:
    """A gigabyte at a megabit takes two hours and twenty minutes; what would grow shows in the first two minutes."""
    got, growth = await slow_reader(120.0, 125_000)
    assert 14_000_000 <= got <= 16_000_000
    assert growth < 1_024 * KIB
