"""The sockets of the rtpengine client, one for each instance.

They are not connected: an ICMP error on a connected socket ends a reader of uvloop's for good (libuv stops polling at POLLERR),
and an instance that was away once would never be heard again. So the source is compared here.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address

from twisted.logger import Logger

from sip.media.ng_client import InstanceTurned, NgClient, NgLimits, Transmit
from sip.media.ng_commands import MAX_ANSWER
from sip.media_engine import MediaOutcome, MediaRequest
from sip.net.deadline import DeadlineTimer

BURST = 64


class RtpengineClient:
    """A `MediaEngine` (media_engine.py) that is one or more rtpengines. `instances` are addresses (IP literal and port) of their
    ng listeners (ValueError for a host name); `entropy` draws the cookies' beginning."""

    log = Logger()

    def __init__(
        self,
        instances: Sequence[tuple[str, int]],
        told: Callable[[MediaOutcome], None],
        *,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
        limits: NgLimits | None = None,
    ) -> None:
        self._instances = [(str(ip_address(host)), port) for host, port in instances]
        self._names = [f"{host}:{port}" for host, port in instances]
        self._told = told
        self._clock = clock
        self._client = NgClient(self._names, entropy(8), clock(), limits)
        self._sockets: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: DeadlineTimer | None = None

    @property
    def calls(self) -> int:
        """Calls that are with an instance."""
        return len(self._client)

    @property
    def alive(self) -> Mapping[str, bool]:
        """Which instances answer."""
        return dict(zip(self._names, self._client.alive, strict=True))

    @property
    def refused(self) -> Mapping[str, int]:
        """Requests that failed, by reason."""
        return self._client.refused

    async def start(self) -> None:
        """Begin to ask who lives. Raises OSError when there are no sockets left."""
        self._loop = loop = asyncio.get_running_loop()
        for index, (host, _) in enumerate(self._instances):
            opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            self._sockets.append(opened)
            opened.setblocking(False)
            opened.bind(("::" if ":" in host else "", 0))
            loop.add_reader(opened.fileno(), self._readable, index)
        self._timer = DeadlineTimer(loop, self._clock, self._on_deadline)
        self._pump()

    def request(self, request: MediaRequest) -> None:
        """Carry out what the proxy wants; the outcome is told later."""
        self._client.request(request, self._clock())
        self._pump()

    async def stop(self) -> None:
        """Close the sockets. The instances keep their calls until nothing is heard from them."""
        if self._timer is not None:
            self._timer.stop()
        for opened in self._sockets:
            if self._loop is not None:
                self._loop.remove_reader(opened.fileno())
            opened.close()
        self._sockets.clear()

    def _readable(self, index: int) -> None:
        for _ in range(BURST):
            try:
                data, source = self._sockets[index].recvfrom(MAX_ANSWER + 1)
            except OSError:
                break
            if source[:2] == self._instances[index]:
                self._client.received(index, data, self._clock())
        self._pump()

    def _on_deadline(self) -> None:
        self._client.on_deadline(self._clock())
        self._pump()

    def _pump(self) -> None:
        while outputs := self._client.take():
            for output in outputs:
                if isinstance(output, Transmit):
                    self._transmit(output)
                elif isinstance(output, InstanceTurned):
                    word = "answers" if output.alive else "does not answer"
                    self.log.warn("rtpengine {name} {word}", name=self._names[output.instance], word=word)
                else:
                    self._told(output)
        if self._timer is not None:
            self._timer.arm(self._client.next_deadline())

    def _transmit(self, output: Transmit) -> None:
        if not self._sockets:
            return  # stopped
        try:
            self._sockets[output.instance].sendto(output.data, self._instances[output.instance])
        except OSError:
            return  # it is repeated
