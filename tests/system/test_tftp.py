"""TFTP over real sockets: the probe list of provisioning-and-admin.md by hand, bounds, and hostile peers."""

import asyncio
import contextlib
import os
import random
import socket
import time

import pytest

from autop.net.tftp import NOT_FOUND, UNKNOWN_TRANSFER, TftpLimits
from autop.tftp_packets import data, netascii, oack
from tests.system.lossy_network import add_address, own_network
from tests.system.peers import needs
from tests.system.tftp_site import BIG, TEXT, client, serving, until_idle

pytestmark = pytest.mark.system


# The probe list


async def test_options_that_are_accepted() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", b"blksize", b"1024", b"tsize", b"0", b"timeout", b"2", b"windowsize", b"1")
            accepted = ((b"blksize", 1024), (b"tsize", len(TEXT)), (b"timeout", 2), (b"windowsize", 1))
            assert await probe.hear() == oack(accepted)
            assert probe.peer[1] != served.port
            probe.tell(b"\0\4\0\0")
            assert await probe.read_on(size=1024) == TEXT


async def test_options_that_are_not() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", b"frobnicate", b"1", b"tsize", b"0")
            assert await probe.hear() == oack(((b"tsize", len(TEXT)),))
        with client(served) as probe:
            probe.ask(b"text", b"frobnicate", b"1", b"timeout", b"2.0", b"blksize", b"many")
            assert await probe.hear() == data(1, TEXT[:512])


async def test_a_huge_block_size_hurts_nobody() -> None:
    async with serving() as served:
        for size in (b"70000", b"65464", b"9" * 12, b"9" * 40, b"-1", b"0"):
            with client(served) as probe:
                probe.ask(b"big", b"blksize", size, b"tsize", b"0")
                heard = await probe.hear()
                assert heard[:2] == b"\0\6"
                probe.tell(b"\0\4\0\0")
                assert len(await probe.hear()) <= 1432
                probe.tell(b"\0\5\0\0enough\0")
        with client(served) as probe:
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024


async def test_a_repeated_ack() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"big")
            await probe.hear()
            for _ in range(5):
                probe.tell(b"\0\4\0\1")
            assert (await probe.hear())[:4] == data(2, b"")
            assert await probe.hears_nothing()


async def test_what_is_lost_comes_again() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text")
            first = await probe.hear()
            assert await probe.hear() == first
            probe.tell(b"\0\4\0\1")
            assert (await probe.hear())[:4] == data(2, b"")


async def test_another_port_is_told_and_the_transfer_goes_on() -> None:
    async with serving() as served:
        with client(served) as probe, client(served) as stranger:
            probe.ask(b"even")
            first = await probe.hear()
            for _ in range(10):
                stranger.tell(b"\0\4\0\1", probe.peer)
            for _ in range(3):
                assert await stranger.hear() == UNKNOWN_TRANSFER
            assert await stranger.hears_nothing()
            stranger.tell(b"\0\5\0\0stop\0", probe.peer)
            assert first == data(1, b"x" * 512)
            probe.tell(b"\0\4\0\1")
            assert await probe.hear() == data(2, b"x" * 512)
            probe.tell(b"\0\4\0\2")
            assert await probe.hear() == data(3, b"")


async def test_netascii() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", mode=b"NetAscii")
            assert await probe.read_on() == netascii(TEXT)


async def test_what_is_refused_by_form() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", mode=b"mail")
            assert (await probe.hear())[:4] == b"\0\5\0\4"
            probe.ask(b"text", opcode=b"\0\2")
            assert (await probe.hear())[:4] == b"\0\5\0\2"
            probe.tell(b"\0\1text")
            assert (await probe.hear())[:4] == b"\0\5\0\4"
            for noise in (b"", b"\0", b"\0\4\0\1", b"\0\5\0\1x\0", b"SIP/2.0 200 OK\r\n\r\n", b"\0\1" + b"a" * 2000):
                probe.tell(noise)
            assert await probe.hears_nothing()
        assert served.counted == ["mode", "write", "malformed"]
        assert served.sources == []


async def test_refusals_leave_at_one_instant_whatever_they_cost() -> None:
    async with serving(TftpLimits(refusal_seconds=0.1)) as served:
        took = []
        for served.slow in (0.0, 0.06):
            with client(served) as probe:
                began = time.monotonic()
                probe.ask(b"../../etc/passwd")
                assert await probe.hear() == NOT_FOUND
                assert probe.peer[1] == served.port
                took.append(time.monotonic() - began)
        assert min(took) >= 0.0985  # timers have a grain


# Bounds


async def test_a_repeated_request_is_one_transfer() -> None:
    async with serving() as served:
        served.slow = 0.05
        with client(served) as probe:
            for _ in range(10):
                probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
            assert len(served.sources) == 1


async def test_a_client_that_begins_anew_from_its_port() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"big")
            await probe.hear()
            first = probe.peer
            probe.tell(b"\0\4\0\1")
            await probe.hear()
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
            assert probe.peer != first
            await until_idle(served)


async def test_places_of_one_source_and_of_all() -> None:
    async with serving(TftpLimits(transfers=3, per_source=2)) as served:
        with contextlib.ExitStack() as open_clients:
            probes = [open_clients.enter_context(client(served)) for _ in range(3)]
            for probe in probes:
                probe.ask(b"big")
            assert [await probe.hear() for probe in probes[:2]] == [data(1, BIG[:512])] * 2
            assert await probes[2].hears_nothing()
            assert served.counted == ["busy"]
            probes[0].tell(b"\0\5\0\0enough\0")
            probes[1].tell(b"\0\5\0\0enough\0")
            await until_idle(served)
            probes[2].ask(b"big")
            assert await probes[2].hear() == data(1, BIG[:512])


async def test_a_source_outside_the_networks_hears_nothing() -> None:
    async with serving(allowed=False) as served:
        with client(served) as probe:
            probe.ask(b"text")
            assert await probe.hears_nothing()
        assert served.counted == ["network"]


async def test_ipv6() -> None:
    async with serving(host="::1") as served:
        with client(served) as probe:
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
        assert served.sources == ["::1"]


async def test_the_answer_comes_from_the_address_that_was_asked() -> None:
    async with serving(host="0.0.0.0") as served:
        served.host = "127.0.0.3"
        with client(served) as probe:
            probe.ask(b"even")
            await probe.hear()
            assert probe.peer[0] == "127.0.0.3"
            probe.tell(b"\0\5\0\0enough\0")


async def test_a_look_up_that_never_ends() -> None:
    async with serving(TftpLimits(find_seconds=0.1)) as served:
        served.slow = 60.0
        with client(served) as probe:
            probe.ask(b"text")
            assert await probe.hear() == NOT_FOUND
        await until_idle(served)


async def test_a_flood_leaves_nothing_behind() -> None:
    """Noise, halves of packets and requests for what is not there, from two hundred sources; then an honest client."""
    chance = random.Random(7)
    starts = [b"", b"\0\1", b"\0\1nothing\0octet\0", b"\0\1nothing\0octet\0blksize\0", b"\0\4", b"\0\2", b"\0\5"]
    async with serving(TftpLimits(transfers=50, per_source=4)) as served:
        for host in range(200):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
                flooder.bind((f"127.1.1.{host + 1}", 0))
                for _ in range(50):
                    noise = chance.randbytes(chance.choice([0, 0, 1, 7, 40]))
                    flooder.sendto(chance.choice(starts) + noise, (served.host, served.port))
            await asyncio.sleep(0)
            assert served.transfers <= 50
        with client(served) as probe:
            probe.ask(b"x", opcode=b"\0\2")
            assert (await probe.hear())[:4] == b"\0\5\0\2", "all that came before has been read"
            await until_idle(served)
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
        await until_idle(served)
        assert {"not-found", "malformed", "write"} <= set(served.counted)


@needs("ip")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace of its own")
async def test_a_link_local_address() -> None:
    with own_network():
        add_address("fe80::5/64", "lo")
        async with serving(host="::") as served:
            served.host = "fe80::5%lo"
            with client(served) as probe:
                probe.ask(b"even")
                assert await probe.read_on() == b"x" * 1024
            assert served.sources == ["fe80::5"]
