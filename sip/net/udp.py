"""A UDP socket that reads many datagrams per wake-up.

A plain socket in the loop, not a Datagram transport: under load one readiness event then serves up to `BURST` datagrams and
one round of outputs.
"""

import asyncio
import socket
import sys
from collections.abc import Callable

from sip.flow import Flow

RECEIVE_BUFFER = 4 * 1024 * 1024
"""SO_RCVBUF: a 200 ms stall must not lose a burst (the kernel may give less: `UdpSocket.receive_buffer`)."""
LARGEST = 65535
BURST = 64
"""Datagrams per wake-up at most, so that timers and other sockets get their turn."""
SINGLES = 8
"""Wake-ups for one datagram each after which a second one is looked for."""
BACKLOG = 1024 * 1024
"""Octets of kernel memory waiting past which we are behind: about 800 messages, a tenth of a second of work."""
_SO_MEMINFO = 55
"""Linux: an array of 32-bit numbers, of which the first is what the receive queue takes up now (sock_diag.h, SK_MEMINFO_*)."""
_IP_MULTICAST_ALL = 49  # linux/in.h; the socket module has no name for it
MAX_FLOWS = 65_536
"""Flow objects kept for addresses seen; past it all are made afresh. They are most of what a flood from ever new addresses costs:
twice as many were 63 MiB (test_sip_attacks.py)."""


class UdpSocket:
    """One bound socket. `received(data, flow)` is called per datagram, then `drained()` once per wake-up; `backlog(waits)` when
    more than `BACKLOG` waits in the kernel after a whole burst was read, and when it no longer does."""

    def __init__(
        self, received: Callable[[bytes, Flow], None], drained: Callable[[], None], backlog: Callable[[bool], None]
    ) -> None:
        self._received = received
        self._drained = drained
        self._backlog = backlog
        self._behind = False
        self._wanted = 1
        self._single = 0
        self._flows: dict[tuple[str, int], Flow] = {}
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.local = ""
        self.ipv6 = False
        self.receive_buffer = 0
        self.send_errors = 0

    def open(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> tuple[str, int]:
        """Bind; port 0 picks a free one. `host` is an IP literal. Raises OSError."""
        self.ipv6 = ":" in host
        opened = socket.socket(socket.AF_INET6 if self.ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            if self.ipv6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            else:
                # Else Linux gives it all multicast to its port that any program of this machine has joined (SIP PnP).
                opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            opened.bind((host, port))
        except OSError:
            opened.close()
            raise
        # Linux reports twice what was asked for, its bookkeeping included (socket(7)).
        self.receive_buffer = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        bound: tuple[str, int] = opened.getsockname()[:2]
        self.local = str(bound[1])
        self._socket = opened
        self._loop = loop
        loop.add_reader(opened.fileno(), self._readable, opened)
        return bound

    def close(self) -> None:
        """Stop reading and close."""
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._socket = None

    def share(self, shared: bool) -> None:
        """Whether another socket may bind this port beside ours, to an address of its own. It was bound without, so that a second
        gateway fails; turn it off again at once, since Linux lets any user's socket in meanwhile."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(shared))

    def send(self, data: bytes, host: str, port: int) -> bool:
        """Send one datagram; False if the kernel would not take it (buffer full, no route, too long): UDP may lose it."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(data, (host, port))
        except OSError:
            self.send_errors += 1
            return False
        return True

    def _readable(self, opened: socket.socket) -> None:
        """Read what waits, but no more datagrams than there were lately: to be told that none waits costs as much as one.

        What is left brings the next readiness event at once (the loop's readiness is level-triggered).
        """
        flows = self._flows
        wanted = self._wanted
        read = 0
        while read < wanted:
            try:
                data, address = opened.recvfrom(LARGEST)
            except BlockingIOError:
                if self._behind:
                    self._behind = False
                    self._backlog(False)
                break
            except OSError:
                # An ICMP error of an earlier datagram is reported here; the next read goes on.
                read += 1
                continue
            read += 1
            flow = flows.get(address)
            if flow is None:
                flow = self._new_flow(address)
            self._received(data, flow)
        if read < wanted:
            self._wanted = max(1, read)
            self._single = 0
        elif wanted == 1 and self._single < SINGLES:
            self._single += 1
        else:
            self._wanted = min(2 * wanted, BURST)
            if wanted == BURST:
                self._weigh(opened)
        self._drained()

    def _new_flow(self, address: tuple[str, int]) -> Flow:
        """The flow of an address that was not seen lately (of an IPv6 address, two more numbers follow)."""
        if len(self._flows) >= MAX_FLOWS:
            self._flows.clear()
        flow = self._flows[address] = Flow("udp", self.local, address[0].partition("%")[0], address[1])
        return flow

    def _weigh(self, opened: socket.socket) -> None:
        """A whole burst was read: how much still waits? One system call tells. Being behind ends when nothing does."""
        if self._behind:
            return
        waiting = int.from_bytes(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)[:4], sys.byteorder)
        if waiting > min(BACKLOG, self.receive_buffer):
            self._behind = True
            self._backlog(True)
