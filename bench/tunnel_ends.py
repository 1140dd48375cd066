"""One end of a tunnel as a process of its own: `python -m bench.tunnel_ends gateway|agent|relay FOLDER ...`.

The gateway end is a node's channel listener behind its acceptor, with a plain TCP entry as a port forward has (no HTTP).
The agent end is `Agent`. The relay is a link of a given rate and delay. Each writes `FOLDER/<role>.json` once it is ready.
"""

import asyncio
import json
import os
import resource
import socket
import ssl
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import uvloop

from gateway import compiled

compiled.use()

from gateway.accept import AcceptLimits, Acceptor  # noqa: E402
from gateway.handshakes import HandshakePlaces  # noqa: E402
from registry.mac import MacAddress  # noqa: E402
from tests.system.tunnel_site import MAC, Recorder, make_certificate, server_context  # noqa: E402
from tunnel.frames import ALPN  # noqa: E402
from tunnel.handshake import Identity  # noqa: E402
from tunnel.net.agent import Agent, client_context  # noqa: E402
from tunnel.net.channel_listener import ChannelListener  # noqa: E402
from tunnel.net.link import NOTSENT_LOWAT  # noqa: E402
from tunnel.net.ports import CountedGenerations  # noqa: E402
from tunnel.net.splice import SocketSplice  # noqa: E402

KEY = bytes(range(32))
"""Every device's key here: both ends are ours, on loopback."""
DRAIN_AT = 32_768
"""Bytes that may wait for the relay's slow side before it stops reading: a router with a small buffer."""
PIECE = 4_096


class EveryKey:
    """Any MAC is known."""

    async def channel_key(self, _mac: MacAddress) -> bytes | None:
        return KEY


async def gateway(folder: Path) -> None:
    certificate = make_certificate(str(folder))
    recorder = Recorder()
    channel = ChannelListener(
        certificate_sha256=lambda _connection: certificate.sha256,
        keys=EveryKey(),
        generations=CountedGenerations(0),
        events=recorder,
        observer=recorder,
        entropy=os.urandom,
    )
    door = Acceptor(
        connect=channel.connect,
        tls=server_context(certificate, ALPN),
        handshakes=HandshakePlaces(),
        refused=recorder.channel_refused,
        limits=replace(AcceptLimits(), unsent_octets=NOTSENT_LOWAT, probe=False, strangers_per_source=10_000, strangers=10_000),
    )
    address = await door.start("127.0.0.1", 0)

    def enter() -> asyncio.BaseProtocol:
        link = channel.link(MAC)
        return asyncio.Protocol() if link is None else SocketSplice(link.open("web"))

    entry = await asyncio.get_running_loop().create_server(enter, "127.0.0.1", 0, backlog=4096)
    ready(folder, "gateway", channel=address[1], entry=entry.sockets[0].getsockname()[1])
    while True:
        await asyncio.sleep(0.2)
        ready(folder, "gateway", channel=address[1], entry=entry.sockets[0].getsockname()[1], online=len(list(channel.online())))


async def agent(folder: Path, port: int, target: int) -> None:
    ready(folder, "agent")
    await made_agent(folder, MAC, port, {"web": ("127.0.0.1", target)}).run()


def made_agent(folder: Path, mac: MacAddress, port: int, services: dict[str, tuple[str, int]]) -> Agent:
    return Agent(
        host="127.0.0.1",
        port=port,
        identity=Identity(mac, KEY),
        tls=client_context(ca_file=str(folder / "localhost.pem")),
        server_name="localhost",
        entropy=os.urandom,
        services=services,
    )


async def fleet(folder: Path, port: int, count: int, first: int = 0) -> None:
    """Many idle devices in one process, dialled a few at a time."""
    context: ssl.SSLContext = client_context(ca_file=str(folder / "localhost.pem"))
    agents = []
    for number in range(first, first + count):
        one = made_agent(folder, MacAddress(f"0C1105{number:06X}"), port, {})
        one._tls = context
        agents.append((one, asyncio.create_task(one.run())))
        if number % 20 == 19:
            await asyncio.gather(*(each.wait_connected() for each, _ in agents[-20:]))
    await asyncio.gather(*(each.wait_connected() for each, _ in agents))
    ready(folder, "fleet")
    await asyncio.Event().wait()


class Direction:
    """One way through the relay: bytes leave at `rate` bytes a second, and arrive `delay` seconds after."""

    def __init__(self, rate: float, delay: float) -> None:
        self.rate, self.delay = rate, delay
        self.busy_until = 0.0
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.carried = 0

    async def run(self, reader: socket.socket, writer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        room, arrived = asyncio.Event(), asyncio.Event()

        async def deliver() -> None:
            while True:
                while not self.waiting:
                    arrived.clear()
                    await arrived.wait()
                due, data = self.waiting.popleft()
                if (pause := due - loop.time()) > 0:
                    await asyncio.sleep(pause)
                await loop.sock_sendall(writer, data)
                self.carried += len(data)
                room.set()

        delivering = asyncio.create_task(deliver())
        try:
            while data := await loop.sock_recv(reader, PIECE):
                now = loop.time()
                self.busy_until = max(now, self.busy_until) + len(data) / self.rate
                self.waiting.append((self.busy_until + self.delay, data))
                arrived.set()
                if (ahead := self.busy_until - now - DRAIN_AT / self.rate) > 0:
                    await asyncio.sleep(ahead)
        finally:
            delivering.cancel()
            writer.close()


async def relay(folder: Path, port: int, rate: float, delay: float) -> None:
    """A TCP relay: a link of so many bytes a second and seconds each way, with small buffers of its own."""
    loop = asyncio.get_running_loop()
    listener = small(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    listener.setblocking(False)
    ready(folder, "relay", port=listener.getsockname()[1])

    async def join(near: socket.socket) -> None:
        far = small(socket.socket())
        far.setblocking(False)
        await loop.sock_connect(far, ("127.0.0.1", port))
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(Direction(rate, delay).run(near, far), Direction(rate, delay).run(far, near), return_exceptions=True)

    joined = set()
    while True:
        near, _ = await loop.sock_accept(listener)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        joined.add(asyncio.create_task(join(near)))


def small(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    return sock


def ready(folder: Path, role: str, **facts: int) -> None:
    """Say that this end is up, whole or not at all."""
    new = folder / f"{role}.new"
    new.write_text(json.dumps(facts))
    new.rename(folder / f"{role}.json")


def main() -> None:
    role, folder, *numbers = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    roles = {"gateway": gateway, "agent": agent, "fleet": fleet, "relay": relay}
    words: list[float] = [float(word) if "." in word else int(word) for word in numbers]
    uvloop.run(roles[role](Path(folder), *words))  # type: ignore[operator]


if __name__ == "__main__":
    main()
