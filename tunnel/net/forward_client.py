"""`ForwardClient`: the operator's end of a port forward: listens locally, carries each connection to the gateway over TLS.

The protocol is that of `tunnel.net.forward_connection` (docs/remote-control.md).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from tunnel.errors import TunnelError
from tunnel.net.forward_connection import FORWARD_ALPN, MAX_LINE

CHUNK = 65_536
DIAL_DEADLINE = 20.0
"""Seconds for TCP, TLS and the gateway's word; the device may take ten to be reached."""
CONNECTIONS = 32
"""Local connections at a time."""


class ForwardRefused(TunnelError):
    """The gateway said no; the text is its word for it."""


def forward_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS that checks the gateway: against a CA file, else the system's trust. Raises OSError for a file that is none."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([FORWARD_ALPN])
    return context


class ForwardClient:
    """One forward. `host`, `port`, `session` and `ticket` as the admin API gave them. `say(text)` tells the operator."""

    def __init__(
        self, *, host: str, port: int, session: str, ticket: str, tls: ssl.SSLContext, say: Callable[[str], None]
    ) -> None:
        self._place = (host, port)
        self._session = session
        self._ticket = ticket
        self._tls = tls
        self._say = say
        self._cookie = ""
        self._carrying: set[asyncio.Task[None]] = set()

    async def run(self, host: str, port: int, told: Callable[[str, int], None]) -> None:
        """Spend the ticket, listen at a local address (port 0: a free one; `told` hears which), and carry until the session ends.

        Raises ForwardRefused and OSError.
        """
        watch, writer, answer = await self._dial("open", self._ticket)
        self._cookie = answer
        server = await asyncio.start_server(self._accepted, host, port, limit=CHUNK)
        try:
            bound = server.sockets[0].getsockname()
            told(str(bound[0]), int(bound[1]))
            with contextlib.suppress(OSError):
                await watch.read()  # the gateway says nothing more until the session is over
        finally:
            server.close()
            writer.close()
            for task in list(self._carrying):
                task.cancel()
            if self._carrying:
                await asyncio.wait(self._carrying)

    async def _dial(self, word: str, secret: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """A connection to the gateway for which it said ok, and what it said besides."""
        async with asyncio.timeout(DIAL_DEADLINE):
            reader, writer = await asyncio.open_connection(*self._place, ssl=self._tls, limit=CHUNK)
            try:
                if writer.get_extra_info("ssl_object").selected_alpn_protocol() != FORWARD_ALPN:
                    raise ForwardRefused("that port is no Remote Control listener of a gateway that forwards")
                writer.write(f"{word} {self._session} {secret}\n".encode("ascii"))
                await writer.drain()
                line = (await reader.readuntil(b"\n"))[:MAX_LINE].decode("ascii", "replace").split()
            except asyncio.IncompleteReadError:
                writer.transport.abort()
                raise ForwardRefused("the gateway hung up") from None
            except BaseException:
                writer.transport.abort()
                raise
        if not line or line[0] != "ok":
            writer.transport.abort()
            raise ForwardRefused(line[1] if len(line) > 1 else "refused")
        return reader, writer, line[1] if len(line) > 1 else ""

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._carrying) >= CONNECTIONS:
            self._say("too many connections at once; one was turned away")
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer, _ = await self._dial("connect", self._cookie)
        except (OSError, ForwardRefused) as error:
            self._say(f"a connection failed: {error or type(error).__name__}")
            writer.transport.abort()
            return
        up = asyncio.create_task(_copy(reader, far_writer))
        down = asyncio.create_task(_copy(far_reader, writer))
        try:
            # TLS has no half-close here: the device's end of the answer, or the operator's end of all, ends both.
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            far_writer.close()
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
