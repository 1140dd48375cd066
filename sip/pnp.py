"""SIP plug and play: a factory-fresh device asks the group 224.0.1.75 for its provisioning URL, and is told it by a NOTIFY.

What the devices do (akuvox-devices.md section 2, provisioning-and-admin.md section 3), looser than RFC 6080:

    device -> group    SUBSCRIBE sip:MAC%3A<mac>@224.0.1.75 or sip:MAC<mac>@..., Event: ua-profile;profile-type="device";...
    we -> its source   200 OK
    we -> its source   NOTIFY, From and To swapped, Event echoed, Subscription-State: terminated;reason=timeout, the URL as body

It proves nothing: everybody on the LAN hears the question and may ask it. So whoever answers `Asked` gives nothing but a one-time
enrolment URL, and everything that is not exactly this question gets silence and a count, so that nobody learns who is known.
The two transactions are those of RFC 3261 17.1.2 and 17.2.2: a SUBSCRIBE that is repeated gets the same 200, the NOTIFY is
repeated by Timer E until the device answers it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from registry.errors import MalformedMac
from registry.mac import MacAddress
from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.errors import MalformedMessage
from sip.events import Output, Send
from sip.flow import Flow
from sip.grammar import URI
from sip.header_values import parse_params
from sip.headers import wire_name
from sip.message import Request, Response
from sip.parser import parse
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.source_limits import STRANGER_CREDIT, SourceLimits
from sip.timers import Timers
from sip.transaction_layer import TransactionLayer

GROUP: Final = "group"
"""`Flow.local` of what came to the multicast group."""
OWN: Final = "own"
"""`Flow.local` of what goes out from, and comes back to, our own address."""
MAX_DATAGRAM: Final = 4096
"""Octets of a question; real ones have some 600."""
MAX_TRANSACTIONS: Final = 2048
"""Questions and NOTIFYs at a time; answered questions, kept for their repeats only, make room."""
REQUESTS_IN_A_ROW: Final = 20
"""Messages that one source may send at once; one more for every 7.5 s after that. A device that hears nothing sends eleven."""
SOURCES: Final = 4096
MAX_URL: Final = 127
"""Octets that the URL field of a device holds (akuvox-devices.md section 1)."""
_COST: Final = STRANGER_CREDIT / REQUESTS_IN_A_ROW
_MAX_EVENT: Final = 512
_VISIBLE: Final = bytes(range(33, 127))


class Asked(NamedTuple):
    """A device wants its URL: find it, and call `PnpCore.told(key, ...)`. What it says of itself proves nothing."""

    key: bytes
    mac: MacAddress
    flow: Flow
    vendor: str
    model: str
    version: str


class Counted(NamedTuple):
    """Something ended, or was met with silence. `what` is one of a fixed set: "told" (the device has its URL), "unanswered" and
    "rejected" (it did not take the NOTIFY), "unknown" (no URL for it), "rate", "busy", "malformed", "method", "not-a-device"."""

    what: str


PnpOutput = Send | Asked | Counted


class PnpCore:
    """Answers devices. Give it datagrams of allowed sources and the time; carry out what `take` gives.

    `entropy(n)` gives n random bytes, for branches and tags.
    """

    def __init__(self, *, entropy: Callable[[int], bytes], timers: Timers | None = None) -> None:
        self._outputs: list[Output | Asked | Counted] = []
        self._heap = DeadlineHeap()
        self._layer = TransactionLayer(
            self,
            # The transaction layer writes its Sends into this very list, so that they stay in order with the rest.
            outputs=self._outputs,  # type: ignore[arg-type]
            deadlines=self._heap,
            entropy=entropy,
            timers=timers or Timers(),
            limit=MAX_TRANSACTIONS,
        )
        self._sources = SourceLimits(SOURCES)
        self._waiting: dict[bytes, ServerTransaction] = {}

    @property
    def open(self) -> int:
        """Transactions held."""
        return self._layer.server_count + self._layer.client_count

    # The core contract

    def receive(self, datagram: bytes, flow: Flow, now: float) -> None:
        """A datagram came. `flow.local` is GROUP or OWN."""
        if len(datagram) > MAX_DATAGRAM:
            self._count("malformed")
            return
        if not self._sources.spend(flow.source, now, _COST):
            self._count("rate")
            return
        try:
            message = parse(datagram)
        except MalformedMessage:
            self._count("malformed")
            return
        if isinstance(message, Response):
            self._layer.received(message, now)
        else:
            self._asked(message, flow, now)

    def told(self, key: bytes, url: bytes, own: bytes, now: float) -> None:
        """The answer to `Asked(key, ...)`: the URL, b"" for none. `own` is our address towards the device, as "host:port"."""
        transaction = self._waiting.pop(key, None)
        if transaction is None or not transaction.is_open:
            return
        if not url or len(url) > MAX_URL or url.strip(_VISIBLE) or self._layer.full():
            self._count("unknown" if not url else "busy")
            transaction.abandon()
            return
        request = transaction.request
        tag = self._layer.token(4)
        contact = b"<sip:%b>" % own
        self._layer.respond(
            transaction, make_response(request, 200, to_tag=tag, extra=((b"contact", contact), (b"expires", b"0"))), now
        )
        flow = Flow(transaction.flow.transport, OWN, transaction.flow.host, transaction.flow.port)
        self._layer.send(self._notify(request, url, tag, contact, own, flow), flow, key, now)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`, if ever."""
        return self._heap.next()

    def on_deadline(self, now: float) -> None:
        """Run what is due."""
        self._heap.fire(now)

    def take(self) -> list[PnpOutput]:
        """The outputs since the last take, in order."""
        taken: list[PnpOutput] = [one for one in self._outputs if isinstance(one, Send | Asked | Counted)]
        self._outputs.clear()
        return taken

    # What the transaction layer tells

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The device has the NOTIFY."""
        if response.status >= 200:
            self._count("told" if response.status < 300 else "rejected")

    def request_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        """It never said so."""
        self._count("unanswered")

    def response_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """There is nothing to fail: a datagram is lost in silence."""

    # Questions

    def _asked(self, request: Request, flow: Flow, now: float) -> None:
        if request.method != b"SUBSCRIBE" or flow.local != GROUP or request.to_tag:
            self._count("method")
            return
        key = self._layer.key(request) + flow.name.encode()
        if self._layer.absorb(key, request, flow, now):
            return
        mac = device_mac(request)
        event = request.get(b"event") or b""
        about = device_profile(event)
        if mac is None or about is None:
            self._count("not-a-device")
            return
        if self._layer.full():
            self._count("busy")
            return
        self._waiting[key] = self._layer.open(key, request, flow, now)
        self._outputs.append(Asked(key, mac, flow, _word(about, b"vendor"), _word(about, b"model"), _word(about, b"version")))

    def _notify(self, request: Request, url: bytes, tag: bytes, contact: bytes, own: bytes, flow: Flow) -> Request:
        fields = (
            (b"via", b"SIP/2.0/UDP %b;branch=%b;rport" % (own, self._layer.new_branch())),
            (b"max-forwards", b"70"),
            (b"from", (request.get(b"to") or b"") + b";tag=" + tag),
            (b"to", request.get(b"from") or b""),
            (b"call-id", request.call_id),
            (b"cseq", b"1 NOTIFY"),
            (b"contact", contact),
            (b"event", request.get(b"event") or b""),
            (b"subscription-state", b"terminated;reason=timeout"),
            (b"content-type", b"application/url"),
        )
        names = [name for name, _ in fields]
        lines = [wire_name(name) + b": " + value for name, value in fields]
        return Request(b"NOTIFY", _remote_target(request, flow), names, lines, url)

    def _count(self, what: str) -> None:
        self._outputs.append(Counted(what))


def device_mac(request: Request) -> MacAddress | None:
    """The MAC in a Request-URI `sip:MAC%3A<mac>@...` (Snom, Grandstream) or `sip:MAC<mac>@...` (Yealink, Akuvox), or None."""
    user = request.target[0]
    if user[:3].upper() != b"MAC" or not user.isascii():
        return None
    try:
        return MacAddress.parse(user[3:].removeprefix(b":").decode("ascii"))
    except MalformedMac:
        return None


def device_profile(event: bytes) -> dict[bytes, bytes] | None:
    """The parameters of `Event: ua-profile;profile-type="device";...`, read loosely: none where they break the grammar.

    None for another event or another profile.
    """
    package, semicolon, rest = event.partition(b";")
    if len(event) > _MAX_EVENT or package.strip().lower() != b"ua-profile":
        return None
    try:
        found = parse_params(semicolon + rest, b"Malformed Event")
    except MalformedMessage:
        return {}
    return found if found.get(b"profile-type", b"device").lower() == b"device" else None


def _word(about: dict[bytes, bytes], name: bytes) -> str:
    """What a device says of itself, as far as it may stand in a log."""
    return "".join(one for one in about.get(name, b"")[:64].decode("ascii", "replace") if one.isascii() and one.isprintable())


def _remote_target(request: Request, flow: Flow) -> bytes:
    """The Contact of the SUBSCRIBE (RFC 3261 12.1.1); where that is none, the address it came from."""
    try:
        for contact in request.contacts:
            if contact.uri[:4].lower() == b"sip:" and not contact.uri.translate(None, URI):
                return contact.uri
    except MalformedMessage:
        pass
    host = b"[%b]" % flow.host_bytes if ":" in flow.host else flow.host_bytes
    return b"sip:%b:%d" % (host, flow.port)
