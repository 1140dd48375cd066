"""A thousand downloads asked for at once by readers that do not read: what they cost, and whether the node still provisions."""

import asyncio
import socket
import statistics
import time
from contextlib import suppress
from pathlib import Path

import pytest

from registry.mac import MacAddress
from simulators.admin_client import AdminClient
from simulators.autop_client import trust
from simulators.flash import image
from simulators.seeding import Seeder
from tests.system.test_firmware_upgrade import NEW, House

pytestmark = [pytest.mark.system, pytest.mark.slow]

DOWNLOADS = 1000
DEVICES = 20


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def drop(writer: asyncio.StreamWriter) -> None:
    """End a connection without reading what is left."""
    with suppress(OSError):
        writer.close()
        writer.transport.abort()


async def test_a_thousand_downloads_cost_little_and_hold_nobody_up(tmp_path: Path) -> None:
    site = House(tmp_path)
    with site.gateway:
        ready = site.ready
        seeder = Seeder(AdminClient(*ready.admin, ready.admin_token_file), site.secrets)
        site.site = await seeder.site("House")
        macs = [MacAddress(f"0C11050001{number:02X}") for number in range(DEVICES)]
        await seeder.in_library([mac.text for mac in macs], site.site)
        for mac in macs:
            await seeder.device(mac.text, {"site": site.site, "kind": 0, "model": "R29", "name": mac.text})
        image_id = site.upload(image(NEW, 64_000_000))
        upgrade = site.upgrade(image_id)
        await site.until(upgrade, lambda states: set(states) == {"offered"})
        tls = trust(ready.ca_file_text)
        host, port = site.gateway.address("autop_https")
        places = asyncio.Semaphore(15)  # so many handshakes at a time; the acceptor has its own tests
        writers: list[asyncio.StreamWriter] = []

        async def ask(path: str) -> tuple[bytes, float]:
            """The first line of the answer, and how long it took; the rest is not read."""
            near = socket.socket()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            near.setblocking(False)
            async with places:
                await asyncio.get_running_loop().sock_connect(near, (host, port))
                reader, writer = await asyncio.open_connection(sock=near, ssl=tls, server_hostname=host, limit=4096)
            writers.append(writer)
            began = time.monotonic()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return await reader.readline(), time.monotonic() - began

        def path_of(mac: MacAddress, name: str) -> str:
            held = site.secrets.get(mac.text)
            assert held is not None
            return f"{held.autop_path.rstrip('/')}/{name}"

        async def configurations() -> list[float]:
            found = []
            for number in range(200):
                line, seconds = await ask(path_of(macs[number % DEVICES], f"{macs[number % DEVICES]}.cfg"))
                assert line.startswith(b"HTTP/1.1 200"), line
                found.append(seconds)
                drop(writers.pop())
            return found

        quiet = await configurations()
        before = resident(site.gateway.pid)
        paths = [path_of(mac, f"{mac}-{image_id}.zip") for mac in macs]
        asked = await asyncio.gather(*(ask(paths[number % DEVICES]) for number in range(DOWNLOADS)))
        served = sum(line.startswith(b"HTTP/1.1 200") for line, _ in asked)
        later = sum(line.startswith(b"HTTP/1.1 503") for line, _ in asked)
        grown = resident(site.gateway.pid) - before
        busy = await configurations()
        for writer in writers:
            drop(writer)
        at = 98  # of 100 parts: the 99th percentile
        p99 = [statistics.quantiles(times, n=100)[at] * 1000 for times in (quiet, busy)]
        print(f"{served} served, {later} sent away, +{grown / 2**20:.1f} MiB, configuration p99 {p99[0]:.1f} -> {p99[1]:.1f} ms")
        assert (served, served + later) == (32, DOWNLOADS)
        assert grown < 50 * 2**20
