"""`ForwardConnection`: one connection of `portico forward`: a line that proves the session, then the bytes of ssh or RTSP.

The protocol (docs/remote-control.md): TLS with ALPN `portico-forward/1`, one line `WORD session secret`, one line back. `open`
spends the ticket and stays; it is cut when the session is over. `connect` carries one connection to the device.
"""

import asyncio
import contextlib

from registry.errors import RegistryError
from tunnel.errors import Code, LinkDown, SessionRefused, StreamClosed
from tunnel.net.ports import Seat
from tunnel.net.sessions import LiveSession
from tunnel.net.tls_splice import splice_tls
from tunnel.net.visitor_connection import VisitorSite
from tunnel.session import is_session_id

FORWARD_ALPN = "portico-forward/1"
MAX_LINE = 256
LINGER = 10.0
"""Seconds a device has to close after the operator's end did."""


class ForwardConnection:
    """See the module's text."""

    def __init__(self, site: VisitorSite, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        self._site = site
        self._reader = reader
        self._writer = writer
        self._seat = seat

    async def run(self) -> None:
        """Serve until either side has enough."""
        task = asyncio.current_task()
        live: LiveSession | None = None
        try:
            async with asyncio.timeout(self._site.deadlines.head):
                word, session_id, secret = await self._line()
            if word == "open":
                secret = await self._site.sessions.open(session_id, secret, self._seat.host, web=False)
            live = await self._site.sessions.admit(session_id, secret, web=False)
            self._seat.release()
            if word == "open":
                await self._stay(live, secret)
            else:
                await self._carry(live)
        except TimeoutError:
            self._site.observer.visitor_refused("head-timeout")
        except SessionRefused:
            await self._no("no-session")
        except RegistryError:
            await self._no("store")
        except OSError:
            pass  # the operator's end went away
        finally:
            if live is not None and task is not None:
                live.tasks.discard(task)

    async def _line(self) -> tuple[str, str, str]:
        """The first line. Raises SessionRefused for anything that is none."""
        try:
            line = await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise SessionRefused("no line") from None
        words = line.decode("ascii", "replace").rstrip("\r\n").split(" ") if len(line) <= MAX_LINE else []
        if len(words) != 3 or words[0] not in ("open", "connect") or not is_session_id(words[1]):
            raise SessionRefused("no such line")
        return words[0], words[1], words[2]

    async def _stay(self, live: LiveSession, cookie: str) -> None:
        """Until the operator's end hangs up, or the session ends: then this task is cancelled and the connection cut."""
        task = asyncio.current_task()
        assert task is not None
        live.tasks.add(task)
        self._writer.write(f"ok {cookie}\n".encode("ascii"))
        await self._writer.drain()
        while await self._reader.read(MAX_LINE):
            pass

    async def _carry(self, live: LiveSession) -> None:
        if not self._site.takes(live, self._seat.host):
            await self._no("too-many-connections")
            return
        try:
            pipe = await self._site.open(live, live.target)
        except LinkDown:
            await self._no("offline")
            return
        except StreamClosed as error:
            await self._no("not-offered" if error.code == Code.SERVICE_REFUSED else "unreachable")
            return
        live.usage.pages[live.target] = None
        self._writer.write(b"ok\n")
        await splice_tls(pipe, self._reader, self._writer, lambda up, down: self._site.moved(live, up, down), LINGER)

    async def _no(self, reason: str) -> None:
        self._site.observer.visitor_refused(reason)
        with contextlib.suppress(OSError):
            self._writer.write(f"no {reason}\n".encode("ascii"))
            await self._writer.drain()
