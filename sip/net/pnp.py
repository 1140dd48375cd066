"""`PnpResponder`: hears devices that ask the group 224.0.1.75 on the LAN, and tells each its URL. For nodes and connectors.

Two sockets. The one of the group is bound to the group's address and port, so that it gets nothing else; beside it the node's own
SIP socket may have port 5060 of all addresses (`UdpSocket.share`). The other, on a port of its own, sends the NOTIFYs: what comes
back for them would end at the node's SIP socket if they came from 5060.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Protocol

from registry.mac import MacAddress
from sip.events import Send
from sip.flow import UDP, Flow
from sip.net.deadline import DeadlineTimer
from sip.pnp import GROUP, MAX_DATAGRAM, OWN, Asked, Counted, PnpCore
from sip.timers import Timers

MULTICAST = "224.0.1.75"
PORT = 5060
URL_SECONDS = 5.0
"""How long a URL may take."""
_BURST = 64
_log = logging.getLogger("portico.pnp")


class EnrolmentUrls(Protocol):
    """Where URLs come from."""

    async def url_for(self, mac: MacAddress) -> str | None:
        """The one-time enrolment URL for a device that may have one now, at most 127 visible ASCII characters; else None. It must
        open nothing but an enrolment: everybody on the LAN may ask in that device's name. Must not raise."""
        ...


class PnpResponder:
    """`start`, then `stop`. `allows(host)` says which sources are heard; `count(what)` gets `Counted.what`, and "network"."""

    def __init__(
        self,
        urls: EnrolmentUrls,
        *,
        allows: Callable[[str], bool],
        count: Callable[[str], None],
        entropy: Callable[[int], bytes],
        timers: Timers | None = None,
    ) -> None:
        self._urls = urls
        self._allows = allows
        self._count = count
        self._core = PnpCore(entropy=entropy, timers=timers)
        self._group: socket.socket | None = None
        self._own: socket.socket | None = None
        self._timer: DeadlineTimer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, interfaces: Iterable[str], port: int = PORT) -> None:
        """Join the group on these network interfaces ("eth0"). Raises OSError for one that is missing, or a port in use."""
        loop = asyncio.get_running_loop()
        try:
            self._group = group = _udp_socket()
            # Others of this machine may listen to the group as well. That is the group's nature: it is bound to nothing else.
            group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            group.bind((MULTICAST, port))
            for name in interfaces:
                # struct ip_mreqn: the group, any local address, the interface's index.
                joined = struct.pack("=4s4si", socket.inet_aton(MULTICAST), bytes(4), socket.if_nametoindex(name))
                group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            self._own = own = _udp_socket()
            own.bind(("0.0.0.0", 0))
        except OSError:
            self._close()
            raise
        self._timer = DeadlineTimer(loop, loop.time, self._due)
        loop.add_reader(group.fileno(), self._readable, group, GROUP)
        loop.add_reader(own.fileno(), self._readable, own, OWN)

    async def stop(self) -> None:
        """Hear and say nothing more."""
        loop = asyncio.get_running_loop()
        for opened in (self._group, self._own):
            if opened is not None:
                loop.remove_reader(opened.fileno())
        if self._timer is not None:
            self._timer.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._close()

    def _close(self) -> None:
        for opened in (self._group, self._own):
            if opened is not None:
                opened.close()
        self._group = self._own = None

    def _readable(self, opened: socket.socket, local: str) -> None:
        for _ in range(_BURST):
            try:
                datagram, peer = opened.recvfrom(MAX_DATAGRAM + 1)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error of an earlier answer
            if self._allows(peer[0]):
                self._core.receive(datagram, Flow(UDP, local, peer[0], peer[1]), asyncio.get_running_loop().time())
            else:
                self._count("network")
        self._carry_out()

    def _due(self) -> None:
        self._core.on_deadline(asyncio.get_running_loop().time())
        self._carry_out()

    def _carry_out(self) -> None:
        for output in self._core.take():
            if isinstance(output, Send):
                self._send(output)
            elif isinstance(output, Counted):
                self._count(output.what)
            else:
                task = asyncio.get_running_loop().create_task(self._answer(output), name="pnp answer")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        if self._timer is not None:
            self._timer.arm(self._core.next_deadline())

    async def _answer(self, asked: Asked) -> None:
        url: str | None = None
        try:
            async with asyncio.timeout(URL_SECONDS):
                url = await self._urls.url_for(asked.mac)
        except TimeoutError:
            pass  # the device asks again
        finally:
            self._tell(asked, url)

    def _tell(self, asked: Asked, url: str | None) -> None:
        own = self._own_address(asked.flow) if url else b""
        if url and own:
            fields = {"mac": asked.mac.text, "vendor": asked.vendor, "model": asked.model, "version": asked.version}
            _log.info("a device on the LAN is told its enrolment URL", extra={"fields": fields})
        self._core.told(asked.key, url.encode("utf-8") if url and own else b"", own, asyncio.get_running_loop().time())
        self._carry_out()

    def _own_address(self, flow: Flow) -> bytes:
        """Our address towards a device; b"" where there is no route to it. Sends nothing."""
        if self._own is None:
            return b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((flow.host, flow.port))
                return f"{probe.getsockname()[0]}:{self._own.getsockname()[1]}".encode()
            except OSError:
                return b""

    def _send(self, output: Send) -> None:
        opened = self._own if output.flow.local == OWN else self._group
        if opened is None:
            return
        with contextlib.suppress(OSError):  # as good as lost: the timers know what to do
            opened.sendto(output.data, (output.flow.host, output.flow.port))


def _udp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
