"""All trunks of a node as one core: keeps registrations, probes gateways, and knows which gateways a landline may be called over.

It is a transaction user of its own, beside the proxy: REGISTER and OPTIONS go out through a transaction layer that only these
use, so retransmissions and timeouts are those of every other request. Responses are known by a mark in the branch, and count
only when they come from an address of a configured gateway.

One gateway's round, at intervals:

    IDLE --due--> RESOLVING --addresses--> DIALLING --connected--> PROBING --any answer, silence--> IDLE
                      | none: dead    (UDP: no dialling)  | failed: dead

`Resolve` and `Dial` are always answered by the shell, within its own deadlines.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from registry.trunk import SiteLandlines, Trunk
from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.errors import MalformedMessage
from sip.events import Dial, HangUp, Output, Resolve, TrunkChanged
from sip.flow import Flow
from sip.message import Request, Response
from sip.own_address import DEFAULT_PORTS, OwnAddress
from sip.parser import parse
from sip.server_transaction import ServerTransaction
from sip.timers import NEVER, Timers
from sip.transaction_layer import TransactionLayer
from sip.trunk_credentials import TrunkCredentials
from sip.trunk_gateways import DOWN, UP, Pace, proves_life
from sip.trunk_limits import LandlineCalls, LandlineRefusal
from sip.trunk_registration import GONE, REGISTERED, TrunkRegistration
from sip.trunk_routing import TrunkLeg, legs
from sip.trunk_state import (
    DIALLING,
    IDLE,
    PROBING,
    RESOLVING,
    ConfiguredTrunk,
    Gateway,
    GatewayState,
    TrunkFacts,
    TrunkState,
    best,
    bracketed,
    gateway_uri,
    literal,
)

MAX_TRUNKS: Final = 100
"""Trunks of a node; more are left out, the last ones first."""
BRANCH_MARK: Final = b"z9hG4bKtrunk"
"""How every branch of ours begins."""


class TrunkCore:
    """`own` is told of every listener, as the SIP core's. `entropy(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        *,
        own: OwnAddress,
        entropy: Callable[[int], bytes],
        timers: Timers | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.calls = LandlineCalls()
        """Legs that ring or talk; the proxy counts them."""
        self._own = own
        self._entropy = entropy
        self._pace = pace or Pace()
        self._outputs: list[Output] = []
        self._deadlines = DeadlineHeap()
        self._layer = TransactionLayer(
            self, outputs=self._outputs, deadlines=self._deadlines, entropy=entropy, timers=timers or Timers(), limit=10_000
        )
        self._trunks: dict[str, ConfiguredTrunk] = {}
        self._gateways: dict[str, Gateway] = {}
        self._leaving: dict[TrunkRegistration, Flow] = {}
        """Registrations of trunks that are gone, taking their binding back over this flow."""
        self.hosts: frozenset[str] = frozenset()
        """The addresses of all gateways: nobody else's answers are looked at."""
        self._udp: dict[bool, str] = {}
        self._serial = 0

    # What the composition root and the shell tell

    def advertise(self, transport: str, host: str, bound: tuple[str, int]) -> None:
        """A listener of ours is up at `bound`; peers reach it at `host` and that port. Requests leave from its UDP socket."""
        self._own.advertise(transport, host, bound[1], ipv6=":" in bound[0])
        if transport == "udp":
            self._udp[":" in bound[0]] = str(bound[1])

    def configure(self, facts: Sequence[TrunkFacts], now: float) -> None:
        """The trunks that there are from now on. Those that have not changed go on undisturbed."""
        wanted = {one.trunk.id: one for one in facts if one.trunk.enabled}
        wanted = dict(sorted(wanted.items(), key=lambda item: (item[1].trunk.priority, item[0]))[:MAX_TRUNKS])
        for name in list(self._trunks):
            if self._trunks[name].facts != wanted.get(name):
                self._remove(self._trunks.pop(name), wanted.get(name), now)
        for name, one in wanted.items():
            if name not in self._trunks:
                self._add(one, now)
        self._trunks = {name: self._trunks[name] for name in wanted}
        self._note_hosts()

    def resolved(self, gateway: str, addresses: Sequence[tuple[str, int]], now: float) -> None:
        """The answer to `Resolve`: IP literals and ports, best first; none if there are none."""
        one = self._gateways.get(gateway)
        if one is None or one.stage != RESOLVING:
            return
        if not addresses:
            self._heard(one, False, "no address", now)
            return
        if one.config.transport.value == "udp":
            addresses = [found for found in addresses if (":" in found[0]) in self._udp]
        if not addresses:
            self._heard(one, False, "no address of a family we have", now)
            return
        if (one.address, one.port) not in addresses:
            one.address, one.port = addresses[0]
            self._note_hosts()
            self._let_go(one)
        elif one.health.state == DOWN and len(addresses) > 1:
            # The address that does not answer may be one of several behind the name: next time, the one after it.
            at = list(addresses).index((one.address, one.port))
            one.address, one.port = addresses[(at + 1) % len(addresses)]
            self._note_hosts()
            self._let_go(one)
        transport = one.config.transport.value
        if transport == "udp":
            one.flow = Flow("udp", self._udp[":" in one.address], one.address, one.port)
        if one.flow is None:
            one.stage = DIALLING
            self._outputs.append(Dial(one.name, transport, one.address, one.port, one.config.host))
            return
        self._probe(one, now)

    def connected(self, gateway: str, flow: Flow, now: float) -> None:
        """The answer to `Dial`: the connection is up."""
        one = self._gateways.get(gateway)
        if one is None or one.stage != DIALLING:
            self._outputs.append(HangUp(flow))
            return
        one.flow = flow
        self._probe(one, now)

    def dial_failed(self, gateway: str, now: float) -> None:
        """The answer to `Dial`: no connection."""
        one = self._gateways.get(gateway)
        if one is not None and one.stage == DIALLING:
            self._heard(one, False, "no connection", now)

    def flow_closed(self, flow: Flow, now: float) -> None:
        """A connection is gone. Where it was to a gateway, a new one is tried soon."""
        for one in self._gateways.values():
            if one.flow == flow and flow.reliable:
                one.flow = None
                if one.stage == IDLE:
                    self._deadlines.arm(one, now + self._pace.reconnect)
        self._layer.flow_failed(flow, now)

    def may_be_ours(self, data: bytes, flow: Flow) -> bool:
        """Whether a message is worth a `receive`: cheap, for every message from a gateway is asked about."""
        return flow.host in self.hosts and data[:4] == b"SIP/" and BRANCH_MARK in data

    def receive(self, data: bytes, flow: Flow, now: float) -> bool:
        """Take a message if it is a response to a request of ours; False: it is the SIP core's."""
        if not self.may_be_ours(data, flow):
            return False
        try:
            message = parse(data)
            return isinstance(message, Response) and message.branch.startswith(BRANCH_MARK) and self._layer.received(message, now)
        except MalformedMessage:
            return False

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`, if ever."""
        return self._deadlines.next()

    def on_deadline(self, now: float) -> None:
        """Do what is due."""
        self._deadlines.fire(now)

    def take(self) -> list[Output]:
        """The outputs since the last take, in order."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        return outputs

    # What the proxy and the admin API ask

    def legs(self, site: str, number: str, landlines: SiteLandlines) -> tuple[TrunkLeg, ...] | LandlineRefusal:
        """The ways to call an E.164 number from a site, in the order to be tried.

        Counting them (`calls.take`) is the caller's.
        """
        return legs(self._trunks.values(), self.calls, site, number, landlines)

    def trunk(self, trunk: str) -> ConfiguredTrunk | None:
        """A configured trunk, for the questions of `trunk_routing.py`."""
        return self._trunks.get(trunk)

    def credentials(self, trunk: str, flow: Flow) -> TrunkCredentials | None:
        """What answers a challenge that came over this flow, which must be one to a gateway of the trunk."""
        one = self._trunks.get(trunk)
        if one is None or all(gateway.flow != flow for gateway in one.gateways):
            return None
        return one.credentials

    def call_heard(self, gateway: str, alive: bool, now: float) -> None:
        """A call over this gateway was answered, or went unanswered: it tells as much of its health as a probe."""
        one = self._gateways.get(gateway)
        if one is not None:
            self._weigh(one, alive, "call failed", now)

    def state(self, trunk: str, now: float) -> TrunkState | None:
        """What is known of a trunk; None for one that is not configured or disabled."""
        one = self._trunks.get(trunk)
        if one is None:
            return None
        registered = one.registration.is_registered(now) if one.registration is not None else None
        gateways = tuple(GatewayState(gate.shown, gate.health.state, gate.health.since) for gate in one.gateways)
        return TrunkState(registered, one.since, "" if registered else one.failure, self.calls.of_trunk(trunk), gateways)

    def registered_over(self, trunk: str) -> tuple[str, int] | None:
        """The address that the trunk's registration was last sent to; None if it is not registered or not asked to be."""
        one = self._trunks.get(trunk)
        if one is None or one.registration is None or one.registration.state != REGISTERED:
            return None
        return next(((gate.flow.host, gate.flow.port) for gate in one.gateways if gate.flow and gate.flow.name == one.over), None)

    def states(self, now: float) -> Mapping[str, TrunkState]:
        """`state` of every trunk."""
        return {name: state for name in self._trunks if (state := self.state(name, now)) is not None}

    # Gateways

    def gateway_due(self, one: Gateway, now: float) -> None:
        """Begin a round, or end a probe that was not answered."""
        if one.stage == PROBING:
            if one.probe is not None:
                one.probe.abandon()
            self._heard(one, False, "no answer", now)
        elif one.stage == IDLE and self._gateways.get(one.name) is one:
            one.stage = RESOLVING
            address = literal(one.config.host)
            if address:
                port = one.config.port or DEFAULT_PORTS[one.config.transport.value]
                self.resolved(one.name, ((address, port),), now)
            else:
                self._outputs.append(Resolve(one.name, one.config.host, one.config.port, one.config.transport.value))

    def _probe(self, one: Gateway, now: float) -> None:
        flow = one.flow
        trunk = self._trunks.get(one.trunk)
        if flow is None or trunk is None:
            return
        if not trunk.facts.trunk.probe:
            # That it is there is all we know: enough to try one that is down anew, but no proof against what calls have shown.
            self._heard(one, True if one.health.state != UP else None, "not probed", now)
            return
        one.stage = PROBING
        branch = self._new_branch()
        fields = [
            (b"via", b"Via: " + self._via(flow, branch)),
            (b"max-forwards", b"Max-Forwards: 70"),
            (b"from", b"From: " + self._named(flow, b"portico") + b";tag=" + self._layer.token(8)),
            (b"to", b"To: <" + gateway_uri(one.config) + b">"),
            (b"call-id", b"Call-ID: " + self._layer.token(16)),
            (b"cseq", b"CSeq: 1 OPTIONS"),
            (b"contact", b"Contact: " + self._named(flow, b"portico")),
            (b"accept", b"Accept: application/sdp"),
        ]
        request = Request(b"OPTIONS", gateway_uri(one.config), [name for name, _ in fields], [line for _, line in fields])
        self._deadlines.arm(one, now + self._pace.answer)
        one.probe = self._layer.send(request, flow, one, now, branch)

    def _heard(self, one: Gateway, alive: bool | None, why: str, now: float) -> None:
        """A round is over; `alive` None: it has told nothing."""
        one.stage = IDLE
        one.probe = None
        if alive is not None:
            self._weigh(one, alive, why, now)
        # Spread, so that many gateways are not probed in one breath for ever.
        self._deadlines.arm(one, now + one.health.interval(self._pace) * (0.9 + 0.2 * self._fraction()))

    def _weigh(self, one: Gateway, alive: bool, why: str, now: float) -> None:
        if one.health.heard(alive, now):
            self._outputs.append(TrunkChanged(one.trunk, one.shown, "up" if alive else "down", why))
        trunk = self._trunks.get(one.trunk)
        if trunk is not None and trunk.registration is not None:
            self._follow(trunk, trunk.registration, now)

    def _let_go(self, one: Gateway) -> None:
        """The gateway is another address now."""
        if one.flow is not None and one.flow.reliable:
            self._outputs.append(HangUp(one.flow))
        one.flow = None

    # Registrations (RegistrationSink)

    def register(self, registration: TrunkRegistration, now: float) -> None:
        """Send a REGISTER to the best gateway."""
        flow = self._leaving.get(registration)
        if flow is not None:
            self._send_register(registration, flow, now)
            return
        trunk = self._trunks.get(registration.trunk)
        nearest = best(trunk) if trunk is not None else None
        if trunk is None or nearest is None or nearest.flow is None:
            registration.failed("no gateway", 0, now)
            return
        trunk.over = nearest.flow.name
        self._send_register(registration, nearest.flow, now)

    def registration_armed(self, registration: TrunkRegistration, at: float) -> None:
        """Its deadline changed."""
        self._deadlines.arm(registration, at)

    def registration_changed(self, registration: TrunkRegistration, why: str, now: float) -> None:
        """Say so; a refresh over the same flow is no news."""
        trunk = self._trunks.get(registration.trunk)
        registered = registration.is_registered(now)
        if trunk is not None and trunk.registration is registration:
            if registered and trunk.said == trunk.over:
                return
            trunk.said = trunk.over if registered else ""
            trunk.failure = "" if registered else why
            trunk.since = now
        self._outputs.append(TrunkChanged(registration.trunk, "", "registered" if registered else "not registered", why))

    def _follow(self, trunk: ConfiguredTrunk, registration: TrunkRegistration, now: float) -> None:
        """Register as soon as a gateway is up, and again when the best one or the connection to it is another."""
        nearest = best(trunk)
        if nearest is None or nearest.flow is None or nearest.health.state != UP or nearest.flow.name == trunk.over:
            return
        first = not trunk.over
        trunk.over = nearest.flow.name
        if first:
            registration.start(now)
        else:
            registration.moved(now)

    def _send_register(self, registration: TrunkRegistration, flow: Flow, now: float) -> None:
        branch = self._new_branch()
        request = registration.request(self._via(flow, branch), self._named(flow, registration.username))
        self._layer.send(request, flow, registration, now, branch)

    # What the transaction layer tells (TransactionUser)

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """An answer to an OPTIONS or a REGISTER."""
        user = transaction.user
        if response.status < 200:
            return
        if isinstance(user, Gateway):
            if user.probe is transaction:
                self._heard(user, proves_life(response.status), str(response.status), now)
        elif isinstance(user, TrunkRegistration):
            user.answered(response, now)
            self._say_farewell(user)

    def request_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        """No answer, or the connection is gone."""
        user = transaction.user
        if isinstance(user, Gateway):
            if user.probe is transaction:
                self._heard(user, False, "no connection" if why == "transport error" else "no answer", now)
        elif isinstance(user, TrunkRegistration):
            user.failed("no answer", transaction.request.cseq[0], now)
            self._say_farewell(user)
            for one in self._gateways.values():
                if one.flow == transaction.flow and one.trunk == user.trunk:
                    self._weigh(one, False, "no answer", now)

    def response_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """Never: requests are the SIP core's."""

    # Configuration

    def _add(self, facts: TrunkFacts, now: float) -> None:
        trunk = facts.trunk
        username = trunk.username.encode("utf-8", "surrogateescape")
        credentials = TrunkCredentials(username, facts.password, trunk.realm.encode("utf-8", "surrogateescape"), self._entropy)
        made = self._trunks[trunk.id] = ConfiguredTrunk(facts, credentials, now)
        if trunk.registrar:
            made.registration = TrunkRegistration(
                trunk.id,
                bracketed(trunk.registrar).encode("ascii", "replace"),
                trunk.username.encode("ascii", "replace"),
                trunk.expires,
                credentials,
                self,
                call_id=self._layer.token(16),
                tag=self._layer.token(8),
                fraction=self._fraction,
            )
        for config in trunk.gateways:
            self._serial += 1
            one = Gateway(self, trunk.id, config, f"{trunk.id}/{self._serial}", now)
            made.gateways.append(one)
            self._gateways[one.name] = one
            self._deadlines.arm(one, now)

    def _remove(self, trunk: ConfiguredTrunk, successor: TrunkFacts | None, now: float) -> None:
        registration = trunk.registration
        flow = next((one.flow for one in trunk.gateways if one.flow is not None and one.flow.name == trunk.over), None)
        for one in trunk.gateways:
            del self._gateways[one.name]
            self._deadlines.arm(one, NEVER)
            if one.probe is not None:
                one.probe.abandon()
            if one.flow is not flow:
                self._let_go(one)
        if registration is None:
            if flow is not None and flow.reliable:
                self._outputs.append(HangUp(flow))
            return
        self._deadlines.arm(registration, NEVER)
        if flow is not None and registration.is_registered(now) and not _same_binding(trunk.facts.trunk, successor):
            self._leaving[registration] = flow
            registration.stop(now)
        elif flow is not None and flow.reliable:
            self._outputs.append(HangUp(flow))

    def _say_farewell(self, registration: TrunkRegistration) -> None:
        """A removed trunk's registration may be over now: then its connection is too."""
        if registration.state == GONE and (flow := self._leaving.pop(registration, None)) is not None:
            if flow.reliable:
                self._outputs.append(HangUp(flow))
            self._note_hosts()

    def _note_hosts(self) -> None:
        hosts = {one.address for one in self._gateways.values() if one.address}
        self.hosts = frozenset(hosts | {flow.host for flow in self._leaving.values()})

    # Small things

    def _fraction(self) -> float:
        return int.from_bytes(self._entropy(2), "big") / 65536

    def _new_branch(self) -> bytes:
        return BRANCH_MARK + self._layer.token(12)

    def _via(self, flow: Flow, branch: bytes) -> bytes:
        """Over UDP with rport (RFC 3581): a NAT box between us and the carrier may give us another port."""
        via = self._own.via(flow, branch)
        return via if flow.reliable else via + b";rport"

    def _named(self, flow: Flow, user: bytes) -> bytes:
        """`<sip:user@us>` as the peer at the other end of the flow reaches us."""
        return self._own.record_route(flow, user).removesuffix(b";lr>") + b">"


def _same_binding(trunk: Trunk, successor: TrunkFacts | None) -> bool:
    """Whether the trunk that takes this one's place holds the same binding: then it must not be taken back."""
    if successor is None:
        return False
    other = successor.trunk
    return (trunk.registrar, trunk.username) == (other.registrar, other.username)
