"""NOTIFY out of any dialog: how a device is told to look after its configuration (`Event: check-sync`, a custom of SIP phones
that no RFC has). It goes to the newest binding of the account, over the flow that registered it.

The device's final answer is all that comes back: that it took the NOTIFY, not that it did anything. Retransmission and the end
without an answer are the transaction layer's (RFC 3261 17.1.2). We have no credentials of the device's: a challenge is a
refusal.
"""

from collections.abc import Callable

from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.events import Notified, Output
from sip.flow import Flow
from sip.location import Location
from sip.message import Request, Response
from sip.own_address import OwnAddress
from sip.server_transaction import ServerTransaction
from sip.timers import Timers
from sip.transaction_layer import TransactionLayer

NO_ANSWER = 408
UNREACHABLE = 480
FLOW_FAILED = 430
TOO_MANY = 503
MAX_NOTICES = 1000
"""NOTIFYs without an answer at a time."""


class _Notice:
    """Which NOTIFY a transaction is of."""

    __slots__ = ("serial",)

    def __init__(self, serial: int) -> None:
        self.serial = serial


class Notices:
    """Sends NOTIFYs and tells of their final answers with `Notified`. Each `send` is told of exactly once, perhaps before it
    returns."""

    def __init__(
        self,
        location: Location,
        own: OwnAddress,
        *,
        outputs: list[Output],
        deadlines: DeadlineHeap,
        entropy: Callable[[int], bytes],
        timers: Timers,
    ) -> None:
        self._location = location
        self._own = own
        self._outputs = outputs
        self._layer = TransactionLayer(
            self, outputs=outputs, deadlines=deadlines, entropy=entropy, timers=timers, limit=MAX_NOTICES
        )

    def send(self, serial: int, account: str, event: bytes, now: float) -> None:
        """Tell the account's newest binding of `event` (a value of the Event header, ours)."""
        bindings = self._location.bindings(account, now)
        if not bindings:
            self._outputs.append(Notified(serial, UNREACHABLE))
            return
        if self._layer.client_count >= MAX_NOTICES:
            self._outputs.append(Notified(serial, TOO_MANY))
            return
        binding = max(bindings, key=lambda one: one.updated)
        layer = self._layer
        branch, tag, call_id = layer.new_branch(), layer.token(8), layer.token(12)
        via = self._own.via(binding.flow, branch)
        me = b"sip:" + account.encode("utf-8", "surrogateescape") + b"@" + _sent_by(via)
        fields = [(b"via", b"Via: " + via), (b"max-forwards", b"Max-Forwards: 70")]
        fields += [(b"route", b"Route: " + hop) for hop in binding.path]
        fields += [
            (b"from", b"From: <" + me + b">;tag=" + tag),
            (b"to", b"To: <" + me + b">"),
            (b"call-id", b"Call-ID: " + call_id),
            (b"cseq", b"CSeq: 1 NOTIFY"),
            (b"contact", b"Contact: <" + me + b">"),
            (b"event", b"Event: " + event),
            # RFC 6665 8.2.1 wants the header; there is no subscription, and there will be none.
            (b"subscription-state", b"Subscription-State: terminated"),
        ]
        request = Request(b"NOTIFY", binding.contact, [name for name, _ in fields], [line for _, line in fields])
        layer.send(request, binding.flow, _Notice(serial), now, branch)

    def received(self, response: Response, now: float) -> bool:
        """Take a response to a NOTIFY of ours. False: it is none."""
        return self._layer.received(response, now)

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The flow is gone."""
        self._layer.flow_failed(flow, now)

    @property
    def count(self) -> int:
        """NOTIFYs under way."""
        return self._layer.client_count

    # TransactionUser

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The device answered."""
        if response.status >= 200:
            self._tell(transaction, response.status)

    def request_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        """No answer came, or the flow is gone."""
        self._tell(transaction, NO_ANSWER if why == "Timer F" else FLOW_FAILED)

    def response_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """We answer nothing here."""

    def _tell(self, transaction: ClientTransaction, status: int) -> None:
        notice = transaction.user
        if isinstance(notice, _Notice):
            self._outputs.append(Notified(notice.serial, status))


def _sent_by(via: bytes) -> bytes:
    """Host and port of our own Via."""
    return via.partition(b" ")[2].partition(b";")[0]
