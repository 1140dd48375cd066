"""`Listeners`: opens what the configuration wants, each at all its addresses, and knows where it all is."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack

from gateway.accept import AcceptLimits, Acceptor, Seat, within_descriptors
from gateway.config import OFF, Listen
from gateway.errors import StartError
from gateway.handshakes import HandshakePlaces
from gateway.welcome import address

ACCEPTORS = 8
"""TCP listeners of devices and visitors, which share the descriptors: four of SIP, channel, Remote Control, two of autop."""
Address = tuple[str, int]
Start = Callable[[str, int], Awaitable[Address]]
"""Opens at an address and a port (0: a free one); returns what was bound. Raises OSError."""


class Listeners:
    """`bound`: where each listener is, by its name in the configuration, in the order of its addresses there.

    `stack` closes what `accept` opened. `refused(listener, reason)` counts connections that were turned away.
    """

    def __init__(self, wanted: Listen, stack: AsyncExitStack, refused: Callable[[str, str], None]) -> None:
        self._wanted = wanted
        self._stack = stack
        self._refused = refused
        self.handshakes = HandshakePlaces()
        self.bound: dict[str, list[Address]] = {}

    def port(self, name: str) -> int:
        """Where this listener is; 0: it is off."""
        places = self.bound.get(name)
        return places[0][1] if places else 0

    async def accept(
        self,
        name: str,
        connect: Callable[[Seat], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        *,
        limits: AcceptLimits | None = None,
        told: Callable[[Address], None] = lambda bound: None,
        more_ports: Sequence[int] = (),
    ) -> None:
        """Open a TCP listener of devices or visitors; `told` hears where, before the first connection. It stops before what was
        put on the stack earlier. `more_ports`: further ones at each address, told nobody. Raises StartError."""
        acceptor = Acceptor(
            connect=connect,
            tls=tls,
            handshakes=self.handshakes,
            refused=lambda reason: self._refused(name, reason),
            limits=within_descriptors(limits or AcceptLimits(), ACCEPTORS),
        )

        async def start(host: str, port: int) -> Address:
            bound = await acceptor.start(host, port)
            told(bound)
            return bound

        self._stack.push_async_callback(acceptor.stop)
        await self.open(name, self._wanted.address, start)
        if name in self.bound:
            for host in self._wanted.address:
                for port in more_ports:
                    await _start_at(acceptor.start, host, port, f"{name}.ports")

    async def open(self, name: str, hosts: Iterable[str], start: Start) -> None:
        """Open a listener at each of these addresses. A port picked at the first one is taken at the others too, if it is free
        there. Raises StartError naming the listener, the address and the key to change."""
        port: int = getattr(self._wanted, name)
        if port == OFF:
            return
        places = self.bound[name] = []
        for host in hosts:
            if port == 0 and places:
                with contextlib.suppress(OSError):
                    places.append(await start(host, places[0][1]))
                    continue
            try:
                places.append(await start(host, port))
            except OSError as error:
                raise StartError(
                    f"listen.{name}: {address((host, port))}: {error.strerror or error}. "
                    f"Stop what uses it, or set another listen.{name} in portico.toml (0 picks a free port, -1 turns it off)."
                ) from None


async def _start_at(start: Start, host: str, port: int, key: str) -> None:
    try:
        await start(host, port)
    except OSError as error:
        raise StartError(
            f"{key}: {address((host, port))}: {error.strerror or error}. Stop what uses it, or set other {key} in portico.toml."
        ) from None
