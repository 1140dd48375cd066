"""The shell of one user agent: a UDP socket or a stream, a timer, and the core between them. Each device has its own."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from simulators.agent_events import AgentEvent, Unregistered
from simulators.line import SipAccount
from simulators.sip_stream import SipStream
from simulators.user_agent import UserAgent
from sip.events import Send
from sip.timers import Timers


class SipEndpoint(asyncio.DatagramProtocol):
    """Runs one UserAgent. `on_event` is called in the loop for every event, in order, and must not block.

    `tls` is for an account whose transport is TLS.
    """

    def __init__(
        self,
        account: SipAccount,
        *,
        entropy: Callable[[int], bytes],
        on_event: Callable[[AgentEvent], None],
        user_agent: str,
        instance_id: str = "",
        timers: Timers | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if account.transport == "tls" and tls is None:
            raise ValueError("an account on TLS needs a context that knows whom to trust")
        self.account = account
        self._tls = tls if account.transport == "tls" else None
        self._stream: SipStream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._entropy = entropy
        self._on_event = on_event
        self._user_agent = user_agent
        self._instance_id = instance_id
        self._timers = timers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._agent: UserAgent | None = None
        self._gone: asyncio.Future[None] | None = None

    @property
    def agent(self) -> UserAgent:
        """The core. Only between `start` and `stop`."""
        assert self._agent is not None, "the endpoint is not started"
        return self._agent

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our binding, as far as we know."""
        return self._agent is not None and self._agent.registered

    @property
    def busy(self) -> bool:
        """Whether there is a call."""
        return self._agent is not None and self._agent.busy

    async def start(self) -> tuple[str, int]:
        """Open the socket, or begin to connect, and begin to register; returns our address. Raises OSError if the server's name
        has no address. Over a stream the address is one to be named by only: the gateway comes back over the stream."""
        loop = self._loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.account.server, self.account.port, type=socket.SOCK_DGRAM)
        family, _, _, _, address = found[0]
        server = (str(address[0]), int(address[1]))
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a UDP socket sends nothing; it makes the kernel choose the address the server will see.
            probe.connect(address)
            local = probe.getsockname()[:2]
        if self.account.transport == "udp":
            transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(local[0], 0), family=family)
            self._transport = transport
            local = transport.get_extra_info("sockname")[:2]
        self._agent = UserAgent(
            self.account,
            server=server,
            local=(str(local[0]), int(local[1])),
            entropy=self._entropy,
            user_agent=self._user_agent,
            instance_id=self._instance_id,
            timers=self._timers,
        )
        if self._transport is None:
            self._connect(server)
        else:
            self.do(self._agent.register)
        return str(local[0]), int(local[1])

    async def stop(self, grace: float = 2.0) -> None:
        """Take the binding back, waiting `grace` seconds at most for the registrar's word, and close the socket."""
        if self._agent is None or self._loop is None:
            return
        if grace > 0:
            self._gone = self._loop.create_future()
            self.do(self._agent.unregister)
            await asyncio.wait([self._gone], timeout=grace)
        self.kill()

    def kill(self) -> None:
        """Close the socket at once, as a power cut would: the registrar is told nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._stream is not None:
            self._stream.close()
        self._connecting = self._stream = None
        self._agent = None

    def dial(self, number: str) -> str:
        """Call a number; returns the call's name. Raises ValueError if it cannot be dialled."""
        call = self.agent.dial(number, self._now())
        self._carry_out()
        return call

    def do(self, action: Callable[[float], object]) -> None:
        """Do something with the core, now: `endpoint.do(lambda now: endpoint.agent.hang_up(call, now))`."""
        action(self._now())
        self._carry_out()

    # asyncio.DatagramProtocol

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if self._agent is not None:
            self._agent.receive(data, (str(addr[0]), cast(int, addr[1])), self._now())
            self._carry_out()

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the transactions' timers deal with whatever did not arrive."""

    # A stream

    def _connect(self, server: tuple[str, int]) -> None:
        assert self._loop is not None
        self._stream = SipStream(
            self.account.server,
            self.account.port,
            self._tls,
            up=lambda: self._told(UserAgent.connected),
            received=lambda data: self._told(lambda agent, now: agent.receive(data, server, now)),
            down=lambda: self._told(UserAgent.disconnected),
            chance=lambda: int.from_bytes(self._entropy(4), "big") / 2**32,
        )
        self._connecting = self._loop.create_task(self._stream.run())

    def _told(self, what: Callable[[UserAgent, float], None]) -> None:
        if self._agent is not None:
            what(self._agent, self._now())
            self._carry_out()

    # Inside

    def _now(self) -> float:
        assert self._loop is not None, "the endpoint is not started"
        return self._loop.time()

    def _carry_out(self) -> None:
        if self._agent is None:
            return
        while self._agent is not None and (outputs := self._agent.take()):
            self._pass_on(outputs)
        self._arm()

    def _pass_on(self, outputs: list[Send | AgentEvent]) -> None:
        lost = False
        for output in outputs:
            if isinstance(output, Send):
                if self._transport is not None:
                    self._transport.sendto(output.data, (output.flow.host, output.flow.port))
                elif self._stream is not None:
                    lost |= not self._stream.write(output.data)
            else:
                if isinstance(output, Unregistered) and self._gone is not None and not self._gone.done():
                    self._gone.set_result(None)
                self._on_event(output)
        if lost and self._agent is not None:
            self._agent.disconnected(self._now())

    def _arm(self) -> None:
        if self._agent is None or self._loop is None:
            return
        due = self._agent.next_deadline()
        if self._timer is not None:
            if due == self._armed_for:
                return
            self._timer.cancel()
            self._timer = None
        self._armed_for = due
        if due is not None:
            self._timer = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._agent is not None:
            self._agent.on_deadline(self._now())
            self._carry_out()
