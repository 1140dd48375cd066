"""`Targets`: connections to devices, and the rules that hold whatever the gateway asks for.

A connection goes to a device of the list, to a service of the list, at the service's own port, at a literal private address that
is not this machine's, and no byte passes before the neighbour table has said that the address belongs to the device's MAC.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import NamedTuple

from gateway.connector.device_list import DeviceList, Listed
from gateway.connector.neighbours import Neighbours
from gateway.connector.refusal import Refusal, Why
from registry.connector import private_address
from tunnel.errors import Code, LocalError
from tunnel.net.local_service import DIAL_DEADLINE, LocalService, secure
from tunnel.net.pipe import StreamPipe
from tunnel.net.splice import CHUNK, SocketSplice
from tunnel.net.tls_splice import splice_tls

PORTS: Mapping[str, int] = {"web": 80, "web-tls": 443, "ssh": 22, "rtsp": 554}
"""The port of each service: the connector's own, whatever the gateway says."""
TLS_SERVICES = frozenset(("web-tls",))
CONNECT_SECONDS = 3.0
PORT_SHUT = "the port is shut"
"""Said where somebody is there and refuses."""


class Dialled(NamedTuple):
    """A connected socket to a service of a device, and what the service's client should name (OPENED's `authority`)."""

    sock: socket.socket
    authority: str


class Targets:
    """See the module."""

    def __init__(self, devices: DeviceList, neighbours: Neighbours) -> None:
        self._devices = devices
        self._neighbours = neighbours

    async def serve(self, pipe: StreamPipe, service: str) -> None:
        """Answer an offered stream, and carry it to its end. TLS is spoken to the device here, its key reported in OPENED."""
        try:
            async with asyncio.timeout(DIAL_DEADLINE):
                sock, authority = await self.connect(self._devices.get(pipe.device), service)
                if service not in TLS_SERVICES:
                    await asyncio.get_running_loop().create_connection(lambda: SocketSplice(pipe, authority), sock=sock)
                    return
                reader, writer = await asyncio.open_connection(sock=sock, limit=CHUNK)
                spki = await secure(writer)
        except Refusal as refusal:
            pipe.reset(refusal.why.code)
        except (OSError, LocalError):  # TimeoutError and ssl.SSLError are OSErrors
            pipe.reset(Code.TARGET_UNREACHABLE)
        except asyncio.CancelledError:
            pipe.reset(Code.CANCELLED)
            raise
        else:
            pipe.accept(authority, spki)
            await splice_tls(pipe, reader, writer)

    async def connect(self, device: Listed, service: str) -> Dialled:
        """A connection to a service of a listed device, its MAC checked. Raises Refusal."""
        port = PORTS.get(service)
        if port is None or service not in device.services:
            raise Refusal(Why.NOT_LISTED)
        address = self.address(device)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
            self._check(device, address)
        except BaseException as error:
            sock.close()
            if isinstance(error, ConnectionRefusedError):
                raise Refusal(Why.UNREACHABLE, PORT_SHUT) from None
            if isinstance(error, OSError):  # TimeoutError is one
                raise Refusal(Why.UNREACHABLE) from None
            raise
        return Dialled(sock, LocalService(address, port, service in TLS_SERVICES).authority)

    def address(self, device: Listed) -> str:
        """Where the device is. Raises Refusal for an address that must not be connected to."""
        address = device.address or self._neighbours.address_of(device.mac)
        if not address:
            raise Refusal(Why.NO_ADDRESS)
        if private_address(address) != address or self._neighbours.is_own(address):
            raise Refusal(Why.NOT_LISTED)
        return address

    def _check(self, device: Listed, address: str) -> None:
        """After the connection is made the kernel knows who answered. Behind a router it never does: then nobody can check."""
        heard = self._neighbours.mac_of(address)
        if heard is not None and heard != device.mac:
            raise Refusal(Why.WRONG_DEVICE)
