"""Runs one TrunkCore: its requests leave over the SIP service's sockets and connections, its responses come from there.

Connections to gateways are dialled here, one to each gateway, and are streams of the SIP service like any other from then on.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from sip.events import Dial, HangUp, Output, Resolve, Send, TrunkChanged
from sip.flow import Flow
from sip.net.deadline import DeadlineTimer
from sip.net.resolver import Address, Resolver
from sip.net.stream import Connection, Seat
from sip.trunk_core import TrunkCore
from sip.trunk_state import TrunkFacts, TrunkState

DIAL_DEADLINE = 10.0
"""Seconds from the first SYN to the end of the TLS handshake."""
USER_TIMEOUT = 30_000
"""TCP_USER_TIMEOUT, milliseconds."""


class SipTransport(Protocol):
    """The SIP service, as far as trunks need it."""

    def listen_to(self, hosts: frozenset[str]) -> None:
        """Show `TrunkService.takes` what comes from these addresses."""
        ...

    def transmit(self, output: Send) -> None:
        """Put bytes on a flow."""
        ...

    def connect(self, transport: str, seat: Seat) -> Connection:
        """The protocol of one connection."""
        ...

    def hang_up(self, flow: Flow) -> None:
        """Close a connection."""
        ...


class _NoSeat:
    """A connection that we dialled holds no place at an acceptor."""

    def release(self) -> None:
        """Nothing to give back."""


class TrunkService:
    """`observe` gets every output but Send, in order (the SIP service shows it those). `clock` is monotonic seconds.

    `tls` verifies gateways; the name checked is the configured one (RFC 5922 7.2).
    """

    log = Logger()

    def __init__(
        self,
        core: TrunkCore,
        transport: SipTransport,
        resolver: Resolver,
        *,
        observe: Callable[[Output], None],
        clock: Callable[[], float],
        tls: ssl.SSLContext,
    ) -> None:
        self._core = core
        self._transport = transport
        self._resolver = resolver
        self._observe = observe
        self._clock = clock
        self._tls = tls
        self._timer: DeadlineTimer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self.unhandled = 0
        """Inputs that raised inside the core: bugs of ours."""

    def configure(self, facts: Sequence[TrunkFacts]) -> None:
        """The trunks there are from now on. Call it once the listeners are up."""
        if self._stopped:
            return
        if self._timer is None:
            self._timer = DeadlineTimer(asyncio.get_running_loop(), self._clock, self._on_deadline)
        self._do(lambda now: self._core.configure(facts, now))

    def stop(self) -> None:
        """Probe and dial no more. Registrations stay: the carrier forgets them in time, and a restart takes them up again."""
        self._stopped = True
        if self._timer is not None:
            self._timer.stop()
        for task in list(self._tasks):
            task.cancel()

    def state(self, trunk: str) -> TrunkState | None:
        """What is known of a trunk now; None where it is disabled or unknown here."""
        return self._core.state(trunk, self._clock())

    def states(self) -> Mapping[str, TrunkState]:
        """`state` of every trunk."""
        return self._core.states(self._clock())

    # What the SIP service tells

    def advertise(self, transport: str, host: str, bound: tuple[str, int]) -> None:
        """A listener is up at `bound`; peers reach it at `host` and that port."""
        self._core.advertise(transport, host, bound)

    def takes(self, data: bytes, flow: Flow) -> bool:
        """Take a message that is a response to a request of the trunks'."""
        if not self._core.may_be_ours(data, flow):
            return False
        taken = False

        def receive(now: float) -> None:
            nonlocal taken
            taken = self._core.receive(data, flow, now)

        self._do(receive)
        return taken

    def closed(self, flow: Flow) -> None:
        """A connection is gone."""
        self._do(lambda now: self._core.flow_closed(flow, now))

    def call_heard(self, gateway: str, alive: bool) -> None:
        """A call over this gateway was answered, or went unanswered."""
        self._do(lambda now: self._core.call_heard(gateway, alive, now))

    # Carrying out

    def _on_deadline(self) -> None:
        self._do(self._core.on_deadline)

    def _do(self, step: Callable[[float], None]) -> None:
        """Give the core an input, then carry out what comes of it."""
        if self._stopped:
            return
        try:
            step(self._clock())
        except Exception:
            self.unhandled += 1
            self.log.failure("the trunk core did not handle an input")
        while outputs := self._core.take():
            for output in outputs:
                if isinstance(output, Send):
                    self._transport.transmit(output)
                    continue
                self._observe(output)
                self._carry_out(output)
        self._transport.listen_to(self._core.hosts)
        if self._timer is not None:
            self._timer.arm(self._core.next_deadline())

    def _carry_out(self, output: Output) -> None:
        match output:
            case Resolve():
                self._spawn(self._resolve(output))
            case Dial():
                self._spawn(self._dial(output))
            case HangUp(flow):
                self._transport.hang_up(flow)
            case TrunkChanged(trunk, gateway, what, why):
                self.log.info(
                    "trunk {trunk} {gateway}: {what} ({why})", trunk=trunk, gateway=gateway or "registration", what=what, why=why
                )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self, wanted: Resolve) -> None:
        found: tuple[Address, ...] = await self._resolver.addresses(wanted.host, wanted.port, wanted.transport)
        self._do(lambda now: self._core.resolved(wanted.gateway, found, now))

    async def _dial(self, wanted: Dial) -> None:
        flow = await self._connection(wanted)
        if flow is None:
            self._do(lambda now: self._core.dial_failed(wanted.gateway, now))
        else:
            self._do(lambda now: self._core.connected(wanted.gateway, flow, now))

    async def _connection(self, wanted: Dial) -> Flow | None:
        encrypted = wanted.transport == "tls"
        try:
            async with asyncio.timeout(DIAL_DEADLINE):
                transport, connection = await asyncio.get_running_loop().create_connection(
                    lambda: self._transport.connect(wanted.transport, _NoSeat()),
                    wanted.host,
                    wanted.port,
                    ssl=self._tls if encrypted else None,
                    server_hostname=wanted.name.strip("[]") if encrypted else None,
                    ssl_handshake_timeout=DIAL_DEADLINE if encrypted else None,
                )
        except (OSError, TimeoutError) as error:  # SSLError is an OSError
            self.log.warn("{name}: no connection: {error}", name=wanted.name, error=_in_words(error))
            return None
        connection.known()
        opened = transport.get_extra_info("socket")
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        return connection.flow


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return getattr(error, "strerror", None) or type(error).__name__
