"""The built-in relay's sockets: one for each port, read in the node's loop one packet per wake-up (docs/decisions/0010)."""

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from sip.media.places import is_ipv6
from sip.media.ports import PortPairs
from sip.media.relay import TICK, Relay, RelayLimits
from sip.media.terminal import MAX_PACKET, Terminal
from sip.media_engine import MediaOutcome, MediaRequest

RECEIVE_BUFFER = 256 * 1024
"""SO_RCVBUF of a port: a second of video, or five of voice, through a stall of the loop."""
TRIES = 64
"""Pairs tried for one stream where another program holds ports of the range."""
SAYS_AGAIN = 60.0
"""Seconds between two log lines about a range that is used up."""
_TOS = 0xB8
"""DSCP EF, for voice and its picture (RFC 4594)."""


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where the relay binds, and what peers are told (the same where there is no NAT). Both IP literals of one family."""

    bind: str
    advertise: str


class RtpRelay:
    """A `MediaEngine` (media_engine.py) in this process. At most one address of each family."""

    log = Logger()

    def __init__(
        self,
        addresses: Sequence[RelayAddress],
        ports: tuple[int, int],
        told: Callable[[MediaOutcome], None],
        limits: RelayLimits | None = None,
    ) -> None:
        self._bind: Mapping[bool, str] = {is_ipv6(one.bind): one.bind for one in addresses}
        self._free = {ipv6: PortPairs(*ports) for ipv6 in self._bind}
        self._own = {host for one in addresses for host in (one.bind, one.advertise)}
        self._range = range(ports[0], ports[1] + 1)
        self._open: dict[tuple[bool, int], tuple[socket.socket, socket.socket]] = {}
        self._resting: list[tuple[socket.socket, Callable[[], None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._relay = Relay(self, {is_ipv6(one.advertise): one.advertise for one in addresses}, self._is_own, told, limits)
        self._says_full_from = 0.0
        self.send_errors = 0
        """Packets the kernel would not take."""

    @property
    def calls(self) -> int:
        """Calls that are relayed now."""
        return len(self._relay)

    @property
    def packets(self) -> int:
        """Packets relayed so far, to the last second."""
        return self._relay.packets

    @property
    def refused(self) -> Mapping[str, int]:
        """What was refused, by reason: packets dropped, and offers and answers not carried out."""
        return self._relay.refused

    @property
    def free_pairs(self) -> int:
        """Pairs of ports that are free, of the family that has fewest."""
        return min(len(one) for one in self._free.values())

    @property
    def resting_ports(self) -> int:
        """Ports that are not read until the next second, because of what strangers send to them."""
        return len(self._resting)

    async def start(self) -> None:
        """Begin. Raises OSError when an address is none of this machine's."""
        self._loop = asyncio.get_running_loop()
        for ipv6, host in self._bind.items():
            _bound(ipv6, host, 0).close()
        self._timer = self._loop.call_later(TICK, self._tick)

    def request(self, request: MediaRequest) -> None:
        """Carry out what the proxy wants; the outcome is told before this returns."""
        self._relay.request(request)

    async def stop(self) -> None:
        """Close every port."""
        if self._timer is not None:
            self._timer.cancel()
        self._relay.close()

    # What sessions want of their sockets (session.Ports)

    def open(self, ipv6: bool, rtp: Terminal, rtcp: Terminal) -> int:
        free = self._free[ipv6]
        for _ in range(TRIES):
            port = free.take()
            if not port:
                break
            try:
                pair = self._pair(ipv6, port)
            except OSError as error:
                free.give_back(port)
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue  # another program has it
                self.log.warn("the media relay cannot open a port: {error}", error=error.strerror)
                return 0
            self._open[ipv6, port] = pair
            for opened, terminal in zip(pair, (rtp, rtcp), strict=True):
                self._read(opened, terminal)
            return port
        assert self._loop is not None
        if self._loop.time() >= self._says_full_from:
            self._says_full_from = self._loop.time() + SAYS_AGAIN
            self.log.warn(
                "the media relay has no free port of {first}-{last}: calls get 503. Widen media.first_port to media.last_port",
                first=free.first,
                last=free.last,
            )
        return 0

    def close(self, ipv6: bool, port: int) -> None:
        for opened in self._open.pop((ipv6, port)):
            assert self._loop is not None
            self._loop.remove_reader(opened.fileno())
            self._resting = [one for one in self._resting if one[0] is not opened]
            opened.close()
        self._free[ipv6].give_back(port)

    def _pair(self, ipv6: bool, port: int) -> tuple[socket.socket, socket.socket]:
        host = self._bind[ipv6]
        first = _bound(ipv6, host, port)
        try:
            return first, _bound(ipv6, host, port + 1)
        except OSError:
            first.close()
            raise

    def _read(self, opened: socket.socket, terminal: Terminal) -> None:
        """Relay what arrives here. The closure holds what it needs: it runs 20,000 times a second for 200 calls."""
        assert self._loop is not None
        recvfrom, receive = opened.recvfrom, terminal.receive
        terminal.send = opened.sendto

        def readable() -> None:
            try:
                data, source = recvfrom(MAX_PACKET + 1)
            except OSError:
                return  # nothing there after all, or an ICMP error of a packet sent before
            sinks = receive(data, source)
            if not sinks:
                if terminal.patience <= 0:
                    self._rest(opened, readable)
                return
            for sink in sinks:
                destination = sink.destination
                if destination is not None:
                    try:
                        sink.send(data, destination)
                    except OSError:
                        self.send_errors += 1

        self._loop.add_reader(opened.fileno(), readable)

    def _rest(self, opened: socket.socket, readable: Callable[[], None]) -> None:
        """A port under attack is left alone until the next tick: the kernel drops what its buffer does not hold."""
        assert self._loop is not None
        self._loop.remove_reader(opened.fileno())
        self._resting.append((opened, readable))

    def _tick(self) -> None:
        assert self._loop is not None
        self._relay.tick()
        resting, self._resting = self._resting, []
        for opened, readable in resting:
            self._loop.add_reader(opened.fileno(), readable)
        self._timer = self._loop.call_later(TICK, self._tick)

    def _is_own(self, host: str, port: int) -> bool:
        return port in self._range and host in self._own


def _bound(ipv6: bool, host: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if ipv6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _TOS)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened
