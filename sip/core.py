"""The SIP core: bytes -> message -> transaction -> transaction user (registrar or proxy) -> outputs.

The main flow is `receive` -> `_request` -> `_register` or `_call`. Nothing here waits: what needs facts that are not in memory
is parked (`parking.py`) and goes on in `answered`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from registry.location import Binding
from sip.admission import Admission
from sip.authentication import Authentication
from sip.binding import LiveBinding
from sip.call_policy import Destination
from sip.call_record import CallLog
from sip.cancelling import Cancelling
from sip.deadlines import DeadlineHeap
from sip.dialling import Dialling
from sip.digest import ALGORITHMS
from sip.directory import AccountFacts, Directory, DoorDirectory, PushDirectory, PushQuestion, Question
from sip.door_keys import DoorKeys
from sip.errors import MalformedMessage
from sip.events import BindingsChanged, KeyPressed, Output, Refused, Send
from sip.flow import Flow
from sip.gruu import TempGruus
from sip.landline_branches import Landlines
from sip.limits import SipLimits
from sip.location import Location
from sip.media_engine import Digit, MediaFailed, MediaOutcome, MediaReady
from sip.media_rule import MediaRule
from sip.message import Request
from sip.notices import Notices
from sip.offer_answer import OfferAnswer
from sip.outbound import DialogTokens, Hop
from sip.outgoing import Outgoing
from sip.overload import Overload, begins, put_off
from sip.own_address import OwnAddress
from sip.parking import Parked
from sip.parser import parse
from sip.proxy import Proxy
from sip.registration import Registration
from sip.replies import Replies
from sip.responses import make_response
from sip.route_preprocessing import take_own_routes
from sip.server_transaction import ServerTransaction
from sip.source_limits import SourceLimits
from sip.stun import binding_response, is_stun
from sip.timers import Timers
from sip.transaction_layer import TransactionLayer
from sip.trunk_core import TrunkCore
from sip.upstream import Upstream
from sip.via_fixup import stamp_received
from sip.waiting import WaitingRoom

METHODS = b"INVITE, ACK, CANCEL, OPTIONS, BYE, REGISTER, MESSAGE, INFO, UPDATE, PRACK, SUBSCRIBE, NOTIFY, REFER"
_KEEPALIVES = frozenset((b"\r\n\r\n", b"\r\n", b"\0", b"\0\0\0\0", b""))


class Census(NamedTuple):
    """How much the core holds now, for gauges."""

    server_transactions: int
    client_transactions: int
    calls: int
    parked: int
    waiting: int
    media: int
    aors: int
    bindings: int


class SipCore:
    """Registrar and record-routing stateful proxy, without I/O, clock or chance.

    `secret` keys nonces and dialog tokens and is the same on every node. `started` is the present `now`: nonces from before it
    are stale, because which of their counts were used is forgotten. `advertised` maps a transport ("udp") to the host and port
    that peers reach it at; `advertise` adds one later. `algorithms` are offered in this order (RFC 8760: strongest first).
    `push` knows the apps that sleep (RFC 8599); None: no app is woken.
    `doors` knows which relays of a door phone DTMF may trigger; None: nothing is checked.
    `trunks` knows the ways to landlines; None: there are none.
    `media` says which calls' media goes through the engine that carries out `MediaOffer`, `MediaAnswer` and `MediaDelete`; None:
    there is none, and SDP passes untouched.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        entropy: Callable[[int], bytes],
        secret: bytes,
        realm: str,
        domains: frozenset[bytes],
        advertised: Mapping[str, tuple[str, int]],
        limits: SipLimits | None = None,
        timers: Timers | None = None,
        algorithms: Sequence[bytes] = ALGORITHMS,
        started: float = 0.0,
        push: PushDirectory | None = None,
        doors: DoorDirectory | None = None,
        trunks: TrunkCore | None = None,
        media: MediaRule | None = None,
    ) -> None:
        self._limits = limits or SipLimits()
        timers = timers or Timers()
        self._directory = directory
        self._outputs: list[Output] = []
        self._deadlines = DeadlineHeap()
        self._own = OwnAddress(domains, advertised)
        self._tokens = DialogTokens(secret)
        self._temporary = TempGruus(secret)
        self._location = Location(self._deadlines, self._bindings_changed)
        self._sources = SourceLimits(self._limits.sources)
        self._authentication = Authentication(
            directory,
            self._own,
            self._location,
            self._sources,
            realm=realm.encode("utf-8"),
            secret=secret,
            entropy=entropy,
            algorithms=algorithms,
            started=started,
            guesses=self._limits.guesses,
        )
        self._calls = CallLog(
            self._deadlines,
            self._outputs.append,
            limit=self._limits.live_calls,
            give_up_after=self._limits.call_seconds,
        )
        self._dialling = Dialling(self._own, self._temporary, self._location, directory, self._calls)
        self._keys = DoorKeys(doors, self._outputs.append)
        self._overload = Overload(self._limits.transactions)
        outgoing = Outgoing(self._own, self._tokens, self._authentication)
        landlines = Landlines(
            trunks or TrunkCore(own=OwnAddress(frozenset(), {}), entropy=entropy),
            calls=self._calls,
            outgoing=outgoing,
            outputs=self._outputs,
        )
        self._landlines = landlines
        self._calls.ended = landlines.call_ended
        self._proxy = Proxy(
            outgoing=outgoing,
            landlines=landlines,
            location=self._location,
            temporary=self._temporary,
            calls=self._calls,
            deadlines=self._deadlines,
            timers=timers,
            limits=self._limits,
        )
        self._layer = TransactionLayer(
            self._proxy,
            outputs=self._outputs,
            deadlines=self._deadlines,
            entropy=entropy,
            timers=timers,
            limit=self._limits.transactions,
        )
        self._waiting = WaitingRoom(
            self._proxy,
            location=self._location,
            directory=directory,
            push=push,
            deadlines=self._deadlines,
            outputs=self._outputs,
            limit=self._limits.waiting,
            seconds=self._limits.waiting_seconds,
        )
        self._registration = Registration(self._location, self._limits, self._temporary, push, self._outputs.append)
        offers: OfferAnswer | None = None
        if media is not None:
            offers = OfferAnswer(media, deadlines=self._deadlines, outputs=self._outputs, seconds=self._limits.media_seconds)
        self._proxy.layer, self._proxy.waiting, self._proxy.media = self._layer, self._waiting, offers
        self._proxy.upstream = Upstream(self._layer, self._waiting, offers, self._calls)
        self._proxy.cancelling = Cancelling(self._layer, self._waiting, offers, landlines, self._deadlines, timers)
        self._notices = Notices(
            self._location, self._own, outputs=self._outputs, deadlines=self._deadlines, entropy=entropy, timers=timers
        )
        self._replies = Replies(self._layer, self._outputs, self._sources, secret=secret, retry_after=self._limits.retry_after)
        self._admission = Admission(
            directory=directory,
            landlines=landlines,
            own=self._own,
            location=self._location,
            sources=self._sources,
            authentication=self._authentication,
            overload=self._overload,
            layer=self._layer,
            replies=self._replies,
            deadlines=self._deadlines,
            outputs=self._outputs,
            limits=self._limits,
        )

    def advertise(self, transport: str, host: str, port: int, *, ipv6: bool = False) -> None:
        """Name the address that peers of one family reach this transport at (Via, Record-Route): known only once a port 0 is
        bound."""
        self._own.advertise(transport, host, port, ipv6=ipv6)

    # The main flow

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """A datagram, or one framed message of a stream, arrived."""
        if len(data) <= 4 and data in _KEEPALIVES:
            self._keepalive(data, flow)
            return
        if data[0] < 4 and is_stun(data):
            answer = binding_response(data, flow.host, flow.port)
            if answer is not None:
                self._outputs.append(Send(flow, answer))
            return
        self._replies.asked(len(data), now)
        if self._overload.pressed and self._puts_off(data, flow, now):
            return
        try:
            message = parse(data)
        except MalformedMessage as error:
            self._replies.malformed(error, error.partial, flow)
            return
        if isinstance(message, Request):
            self._checked(self._request, message, flow, now)
        elif not self._layer.received(message, now) and not self._notices.received(message, now):
            self._outputs.append(Refused("stray response", 0, flow))

    def backlog(self, waits: bool) -> None:
        """A socket has messages waiting longer than it should, or not any more (`overload.py`)."""
        self._overload.backlog(waits)

    def lag(self, seconds: float) -> None:
        """The loop ran a timer so late: a sample, taken regularly (`overload.py`)."""
        self._overload.lag(seconds)

    def _puts_off(self, data: bytes, flow: Flow, now: float) -> bool:
        """Under overload, new work of strangers gets its 503, or is dropped, before anything else is done for it."""
        self._overload.held(self._layer.server_count + self._layer.client_count)
        if not self._overload.pressed or self._sources.is_known(flow.source, now):
            return False
        if not flow.reliable and begins(data) and not self._overload.answers(now):
            self._outputs.append(Refused("overload", 0, flow))
            return True
        request = put_off(data)
        if request is None:
            return False
        try:
            key = self._layer.key(request)
            stamp_received(request, flow)
            self._replies.refuse(key, request, flow, 503, "overload", self._replies.retry_after())
        except MalformedMessage:
            return False
        return True

    def _checked(self, act: Callable[[Request, Flow, float], None], request: Request, flow: Flow, now: float) -> None:
        """Headers are read when they are needed, so some are found broken only then: 400. All are, before a transaction opens."""
        try:
            act(request, flow, now)
        except MalformedMessage as error:
            self._replies.malformed(error, request if request.method != b"ACK" else None, flow)

    def _request(self, request: Request, flow: Flow, now: float) -> None:
        key = self._layer.key(request)
        if self._layer.absorb(key, request, flow, now):
            return
        stamp_received(request, flow)
        method = request.method
        token = take_own_routes(request, self._own, self._tokens)
        hop = self._tokens.read(token, request.call_id, request.from_tag, request.to_tag) if token else None
        if method == b"ACK":
            self._ack(key, request, hop, flow, now)
        elif method == b"CANCEL":
            self._cancel(key, request, flow, now)
        elif hop is None and request.has(b"route"):
            self._replies.refuse(key, request, flow, 403, "foreign route")
        elif self._serves_itself(key, request, flow):
            pass
        elif (broken := self._admission.broken(request)) is not None:
            self._replies.refuse(key, request, flow, broken[0], broken[1], broken[2])
        elif hop is not None:
            self._in_dialog(key, request, hop, flow, now)
        elif method == b"REGISTER":
            self._register(key, request, flow, now)
        else:
            self._call(key, request, flow, now)

    def _register(self, key: bytes, request: Request, flow: Flow, now: float, asked: Question | None = None) -> None:
        """RFC 3261 10.3: our domain, who is it, may he, then the registrar proper."""
        if self._own.user_here(request.target) is None:
            self._replies.refuse(key, request, flow, 404, "register elsewhere")
            return
        account = self._admission.account(key, request, flow, now, 401, asked)
        if account is None:
            return
        transaction = self._admission.open(key, request, flow, now)
        if transaction is None:
            return
        if not self._names(request.to_addr.uri, account.username):
            self._replies.answer(transaction, 403, "register for another", now)
            return
        response = self._registration.answer(request, account, flow, self._replies.to_tag(key), now)
        self._layer.respond(transaction, response, now)
        # The INVITE that waits for an app comes behind the answer to the REGISTER: an app may take none before it is registered.
        self._waiting.registered(account.username, flow, now)

    def _call(self, key: bytes, request: Request, flow: Flow, now: float, asked: Question | None = None) -> None:
        """A request outside a dialog for somebody here: who is it, is it really him, then where to."""
        account = self._admission.account(key, request, flow, now, 407, asked)
        if account is None:
            return
        transaction = self._admission.open(key, request, flow, now)
        if transaction is None:
            return
        if not self._names(request.from_addr.uri, account.username):
            self._replies.answer(transaction, 403, "from another", now)
            return
        if request.method == b"INFO" and request.body:
            # RFC 6086 3: INFO belongs into a dialog. Outside one of ours a key would come to a door unseen (door_keys.py).
            self._replies.answer(transaction, 481, "no such dialog", now)
            return
        self._route(transaction, account, now, None)

    def _in_dialog(self, key: bytes, request: Request, hop: Hop, flow: Flow, now: float, asked: Question | None = None) -> None:
        """A token proves that a dialog is ours, not who sends: that is the end's own address, or else its password."""
        if not self._admission.is_end(hop, flow, now):
            if hop.trunk and not hop.to_callee:
                self._replies.refuse(key, request, flow, 403, "dialog of another")
                return
            account = self._admission.account(key, request, flow, now, 407, asked, hop)
            if account is None:
                return
            if account.username != hop.sender:
                self._replies.refuse(key, request, flow, 403, "dialog of another")
                return
        if hop.trunk and hop.to_callee and (forbidden := self._landlines.forbidden(request)) is not None:
            self._replies.refuse(key, request, flow, forbidden[0], forbidden[1])
            return
        if request.method == b"INFO" and not self._may_press(key, request, hop, flow, now, asked):
            return
        transaction = self._admission.open(key, request, flow, now)
        if transaction is None:
            return
        if request.method == b"INFO":
            self._keys.passed(request, hop)
        elif request.method == b"BYE":
            self._keys.over(request.call_id, hop.sender, hop.user)
        self._proxy.forward_in_dialog(transaction, hop, now)

    def _may_press(self, key: bytes, request: Request, hop: Hop, flow: Flow, now: float, asked: Question | None) -> bool:
        """Whether an INFO may go on. One that may not is answered, or waits for what must be known of the door."""
        found = self._keys.check(request, hop)
        if not isinstance(found, int):
            if found == asked:
                self._replies.refuse(key, request, flow, 503, "facts unavailable", self._replies.retry_after())
            else:
                self._admission.park(found, Parked(request, flow, None, None, hop), now)
        elif found:
            self._replies.refuse(key, request, flow, found, "dtmf not allowed" if found == 403 else "dtmf unreadable")
        return found == 0

    def _route(self, transaction: ServerTransaction, account: AccountFacts, now: float, asked: Question | None) -> None:
        """Call policy decides where an authenticated request goes (dialling.py), the proxy carries it there."""
        number, found, instance = self._dialling.resolve(account, transaction.request, now)
        if isinstance(found, Destination):
            self._proxy.forward(transaction, account.username, account.site, number, found, now, instance)
        elif found is None and transaction.request.to_tag:
            self._replies.answer(transaction, 481, "no such dialog", now)
        elif found is None:
            self._replies.answer(transaction, 404, "no such number", now)
        elif found == asked:
            self._replies.unavailable(transaction, now)
        else:
            self._admission.park(found, Parked(transaction.request, transaction.flow, transaction, account), now)

    def _ack(self, key: bytes, request: Request, hop: Hop | None, flow: Flow, now: float) -> None:
        """An ACK that no transaction took: of a 2xx, to be passed on; or of an answer we gave without state, known by our tag."""
        if request.to_tag == self._replies.to_tag(key):
            return
        may = hop is not None and request.max_forwards != 0 and self._admission.is_end(hop, flow, now)
        if hop is None or not may or not self._proxy.forward_ack(request, hop, now):
            self._outputs.append(Refused("ack without dialog", 0, flow))

    def _cancel(self, key: bytes, request: Request, flow: Flow, now: float) -> None:
        """9.2: 200 to a CANCEL that finds its INVITE, whatever becomes of that; else 481. Never challenged (22.1)."""
        invite = self._layer.invite_of(request, flow)
        if invite is None:
            self._replies.refuse(key, request, flow, 481, "cancel without invite")
            return
        transaction = self._admission.open(key, request, flow, now)
        if transaction is not None:
            self._layer.respond(transaction, make_response(request, 200, to_tag=self._replies.to_tag(key)), now)
            self._proxy.cancelled(invite, now)

    # Checks (16.3, 16.4)

    def _serves_itself(self, key: bytes, request: Request, flow: Flow) -> bool:
        """OPTIONS to the gateway itself (11.2), also with Max-Forwards 0: a device's keep-alive, so it is not challenged."""
        if request.method != b"OPTIONS" or request.to_tag:
            return False
        if self._own.user_here(request.target) != b"":
            return False
        self._replies.reply(
            request, flow, make_response(request, 200, to_tag=self._replies.to_tag(key), extra=((b"allow", METHODS),))
        )
        return True

    def _names(self, uri: bytes, username: str) -> bool:
        """Whether a From or To URI names this user (trap 22)."""
        return self._own.named_user(uri) == username.encode("utf-8", "surrogateescape")

    # Facts that were not in memory

    def answered(self, question: Question, now: float) -> None:
        """The shell has done what `Fetch(question)` asked, or has given up: go on with what waited for it."""
        if isinstance(question, PushQuestion):
            self._proxy.pushes_known(question.username, now)
            return
        for parked in self._admission.parking.leave(question):
            self._replies.asked(parked.octets, now)
            self._resume(parked, question, now)

    def pushed(self, serial: int, accepted: bool, reason: str, now: float) -> None:
        """The shell has carried out `Push` number `serial`, or could not; `reason` is one of a fixed set, "" if accepted."""
        self._proxy.pushed(serial, accepted, reason, now)

    def media_told(self, outcome: MediaOutcome, now: float) -> None:
        """What the media engine says, in any order but that of one call's requests."""
        media = self._proxy.media
        if isinstance(outcome, Digit):
            ends = self._calls.parties(outcome.call_id, outcome.from_tag, outcome.to_tag)
            if ends is not None:
                self._outputs.append(KeyPressed(outcome.call_id.decode("utf-8", "replace"), ends[0], ends[1], outcome.digit))
        elif media is None:
            return
        elif isinstance(outcome, MediaReady):
            media.ready(outcome, now)
        elif isinstance(outcome, MediaFailed):
            media.refused(outcome, now)
        # MediaEnded: a call that nothing is heard of any more. A proxy cannot hang up; its ends will, or its record ends by time.

    def _resume(self, parked: Parked, question: Question, now: float) -> None:
        request, flow, transaction = parked.request, parked.flow, parked.transaction
        if transaction is not None and parked.account is not None:
            if transaction.is_open:
                self._route(transaction, parked.account, now, question)
            return
        key = self._layer.key(request)
        if self._layer.absorb(key, request, flow, now):
            return
        if request.method == b"REGISTER":
            self._register(key, request, flow, now, question)
        elif parked.hop is not None:
            self._in_dialog(key, request, parked.hop, flow, now, question)
        else:
            self._call(key, request, flow, now, question)

    # Answers of our own

    def _keepalive(self, data: bytes, flow: Flow) -> None:
        """A double CRLF is a ping, its pong a single one (RFC 5626 3.5.1); on UDP some devices ping like that too."""
        if data == b"\r\n\r\n":
            self._outputs.append(Send(flow, b"\r\n"))

    # The rest of the contract

    def unframed(self, error: MalformedMessage, flow: Flow) -> None:
        """A stream can no longer be cut into messages (`StreamFramer.fault`): answer where possible; then it must close."""
        self._replies.malformed(error, error.partial, flow)

    def flow_closed(self, flow: Flow, now: float) -> None:
        """A stream connection is gone: its bindings and transactions are too."""
        self._location.flow_closed(flow, now)
        self._layer.flow_failed(flow, now)
        self._notices.flow_failed(flow, now)

    def load_bindings(self, aor: str, bindings: Iterable[Binding], now: float) -> None:
        """Take over bindings from before a restart. `Binding.expires` holds seconds to live."""
        self._location.load(aor, bindings, now)
        for one in self._location.bindings(aor, now):
            self._sources.authenticated(one.flow.source, now)

    def bindings(self, aor: str, now: float) -> tuple[Binding, ...]:
        """The live bindings of an AOR (user name); `expires` in seconds to live."""
        return tuple(one.stored(-now) for one in self._location.bindings(aor, now))

    def forget_account(self, username: str, now: float) -> None:
        """The account was removed, disabled or moved to another site: drop its bindings."""
        if self._location.bindings(username, now):
            self._location.replace(username, (), now)

    def notify(self, serial: int, account: str, event: str, now: float) -> None:
        """Send a NOTIFY of `event` to the account's newest binding. `Notified(serial, ...)` tells what it answered."""
        self._notices.send(serial, account, event.encode("ascii"), now)

    def talking(self, one: str, other: str) -> str:
        """The Call-ID of an answered call between these two accounts that goes on now, "" if there is none."""
        return self._calls.talking(one, other)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`, if ever."""
        return self._deadlines.next()

    def on_deadline(self, now: float) -> None:
        """Do what is due. The deadline is cleared or moved."""
        self._deadlines.fire(now)

    def take(self) -> list[Output]:
        """The outputs since the last take, in order."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        return outputs

    def census(self) -> Census:
        """How much is held now."""
        return Census(
            server_transactions=self._layer.server_count,
            client_transactions=self._layer.client_count + self._notices.count,
            calls=len(self._calls),
            parked=len(self._admission.parking),
            waiting=len(self._waiting),
            media=0 if self._proxy.media is None else len(self._proxy.media),
            aors=len(self._location),
            bindings=self._location.binding_count,
        )

    def _bindings_changed(self, aor: str, bindings: tuple[LiveBinding, ...], now: float) -> None:
        self._outputs.append(BindingsChanged(aor, bindings))
