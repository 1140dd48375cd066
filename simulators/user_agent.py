"""The SIP side of one simulated device as a core: messages and `now` in, datagrams and events out (RFC 3261, UAC and UAS).

It stands on the gateway's own parser, transactions and digest, so a change that breaks devices breaks the build; what both
ends could get wrong alike is held against the RFC's message texts in `tests/simulators/`.
"""

from collections.abc import Callable
from contextlib import suppress

from simulators.agent_events import AgentEvent
from simulators.call import Call
from simulators.calls import Calls
from simulators.line import ALLOW, Exchange, Line, SipAccount
from simulators.registration import Registration
from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.errors import MalformedMessage
from sip.events import Output, Send
from sip.flow import Flow
from sip.message import Request, Response
from sip.parser import parse
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.timers import NEVER, Timers
from sip.transaction_layer import TransactionLayer

MAX_TRANSACTIONS = 256
"""Transactions one device keeps; past it a new request is answered 503 without state."""

KEEP_ALIVE = b"\r\n\r\n"
KEEP_ALIVE_INTERVAL = 30.0
"""Seconds between keep-alives (NAT.UdpKeepInterval, akuvox-devices.md section 4)."""


class UserAgent:
    """One SIP account: registers, calls, answers, over UDP or one stream to the server.

    Datagrams from anywhere but the server are dropped and counted.

    `server` is the server's IP address and port (the shell resolves names), `local` the address the server reaches us at,
    `instance_id` a URN that survives reboots (RFC 5626 4.1) or "". Outputs are `Send`s and `AgentEvent`s, in order.
    """

    def __init__(
        self,
        account: SipAccount,
        *,
        server: tuple[str, int],
        local: tuple[str, int],
        entropy: Callable[[int], bytes],
        user_agent: str = "Portico-Simulator 1.0",
        instance_id: str = "",
        keep_alive: float = KEEP_ALIVE_INTERVAL,
        timers: Timers | None = None,
    ) -> None:
        timers = timers or Timers()
        # The transaction layer writes its Sends into this very list, so that they stay in order with the events.
        self._outputs: list[AgentEvent | Output] = []
        self._heap = DeadlineHeap()
        self._flow = Flow(account.transport, "ua", *server)
        self._layer = TransactionLayer(
            self,
            outputs=self._outputs,  # type: ignore[arg-type]
            deadlines=self._heap,
            entropy=entropy,
            timers=timers,
            limit=MAX_TRANSACTIONS,
        )
        self._line = Line(
            account,
            local=local,
            server=self._flow,
            layer=self._layer,
            entropy=entropy,
            user_agent=user_agent,
            instance_id=instance_id,
        )
        self._registration = Registration(self._line, self._outputs.append)
        self._calls = Calls(self._line, timers, self._outputs.append)
        self._keep_alive = keep_alive
        self._keep_alive_at = NEVER
        self.dropped = 0
        """Datagrams that were no SIP message of our server's."""

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our binding, as far as we know."""
        return self._registration.registered

    @property
    def busy(self) -> bool:
        """Whether there is a call."""
        return self._calls.busy

    # What the device does

    def register(self, now: float) -> None:
        """Register, stay registered, keep the NAT's mapping open."""
        self._keep_alive_at = now + self._keep_alive
        self._registration.start(now)

    def connected(self, now: float) -> None:
        """Our stream to the server is up, perhaps again: register over it."""
        self.register(now)
        self._registration.again(now)

    def disconnected(self, now: float) -> None:
        """There is no stream to the server: what was under way on it has failed."""
        self._layer.flow_failed(self._flow, now)

    def unregister(self, now: float) -> None:
        """Take the binding back (`Unregistered` follows)."""
        self._keep_alive_at = NEVER
        self._registration.stop(now)

    def dial(self, number: str, now: float) -> str:
        """Call a number; returns the call's name. Raises ValueError if it cannot be dialled."""
        try:
            return self._calls.dial(number, now)
        except (MalformedMessage, UnicodeEncodeError) as wrong:
            raise ValueError(f"not a number to dial: {number!r}") from wrong

    def answer(self, call: str, now: float) -> None:
        """Pick up a call that rings here."""
        self._calls.answer(call, now)

    def reject(self, call: str, now: float, status: int = 603) -> None:
        """Refuse a call that rings here."""
        self._calls.reject(call, status, now)

    def hang_up(self, call: str, now: float) -> None:
        """End a call in whatever state it is."""
        self._calls.hang_up(call, now)

    def press(self, call: str, keys: str, now: float) -> None:
        """Send DTMF keys during a call. Raises ValueError for what is no key."""
        self._calls.press(call, keys, now)

    # The core contract

    def receive(self, data: bytes, source: tuple[str, int], now: float) -> None:
        """A datagram arrived."""
        if source != (self._flow.host, self._flow.port):
            self.dropped += 1
            return
        if not data.strip(b"\r\n"):
            return
        try:
            message = parse(data)
            if isinstance(message, Response):
                if not self._layer.received(message, now):
                    self.dropped += 1
            else:
                self._request(message, now)
        except MalformedMessage as broken:
            self.dropped += 1
            self._refuse_malformed(broken)

    def _refuse_malformed(self, broken: MalformedMessage) -> None:
        """Answer what can be answered; where not even its Via can be read, there is nobody to answer."""
        if broken.status and broken.partial is not None:
            with suppress(MalformedMessage):
                response = make_response(broken.partial, broken.status, broken.reason, to_tag=self._line.tag())
                self._layer.reply(broken.partial, self._flow, response)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`, if ever."""
        due = min(self._registration.next_deadline(), self._calls.next_deadline(), self._keep_alive_at)
        heap = self._heap.next()
        if heap is not None:
            due = min(due, heap)
        return None if due == NEVER else due

    def on_deadline(self, now: float) -> None:
        """Do what is due."""
        self._heap.fire(now)
        self._registration.on_deadline(now)
        self._calls.on_deadline(now)
        if self._keep_alive_at <= now:
            self._keep_alive_at = now + self._keep_alive
            self._layer.transmit(self._flow, KEEP_ALIVE)

    def take(self) -> list[Send | AgentEvent]:
        """The outputs since the last take, in order."""
        taken = list(self._outputs)
        self._outputs.clear()
        return taken  # type: ignore[return-value]

    # Requests

    def _request(self, request: Request, now: float) -> None:
        key = self._layer.key(request)
        if self._layer.absorb(key, request, self._flow, now):
            return
        if request.method == b"ACK":
            self._calls.acknowledged(request, now)
        elif self._layer.full():
            self._layer.reply(request, self._flow, make_response(request, 503, to_tag=self._line.tag()))
        else:
            transaction = self._layer.open(key, request, self._flow, now)
            _METHODS.get(request.method, UserAgent._other)(self, transaction, now)

    def _invited(self, transaction: ServerTransaction, now: float) -> None:
        self._calls.invited(transaction, now)

    def _in_dialog(self, transaction: ServerTransaction, now: float) -> None:
        self._calls.requested(transaction, now)

    def _cancelled(self, transaction: ServerTransaction, now: float) -> None:
        invite = self._layer.invite_of(transaction.request, self._flow)
        if invite is None:
            self._line.refuse(transaction, 481, now)
        else:
            self._line.respond(transaction, make_response(transaction.request, 200, to_tag=self._line.tag()), now)
            self._calls.cancelled(invite, now)

    def _asked(self, transaction: ServerTransaction, now: float) -> None:
        extra = ((b"allow", ALLOW), (b"accept", b"application/sdp"))
        response = make_response(transaction.request, 486 if self.busy else 200, to_tag=self._line.tag(), extra=extra)
        self._line.respond(transaction, response, now)

    def _other(self, transaction: ServerTransaction, now: float) -> None:
        self._line.refuse(transaction, 405, now, (b"allow", ALLOW))

    # What the transaction layer tells (TransactionUser)

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        exchange = transaction.user
        assert isinstance(exchange, Exchange)
        wanted = not isinstance(exchange.about, Call) or exchange.method != b"INVITE" or self._calls.may_try_again(exchange.about)
        if response.status in (401, 407) and wanted and self._line.proven_again(exchange, response, now):
            return
        if exchange.about is self._registration:
            self._registration.answered(exchange, response, now)
        else:
            self._calls.answered(exchange, response, now)

    def request_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        exchange = transaction.user
        assert isinstance(exchange, Exchange)
        if exchange.about is self._registration:
            self._registration.failed(exchange, now)
        else:
            self._calls.failed(exchange, now)

    def response_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """A refusal that nobody acknowledged ends with its transaction (17.2.1); unacknowledged 2xx are `Calls`' own matter."""


_METHODS: dict[bytes, Callable[[UserAgent, ServerTransaction, float], None]] = {
    b"INVITE": UserAgent._invited,
    b"BYE": UserAgent._in_dialog,
    b"INFO": UserAgent._in_dialog,
    b"CANCEL": UserAgent._cancelled,
    b"OPTIONS": UserAgent._asked,
}
