"""All trunks of a node: rounds of probes, failover, whose answers count, and over which ways a landline may be called."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.trunk import SiteLandlines, Trunk, TrunkGateway, TrunkTransport
from sip.events import Dial, HangUp, Resolve, Send, TrunkChanged
from sip.flow import Flow
from sip.message import Request
from sip.own_address import OwnAddress
from sip.parser import parse
from sip.responses import make_response
from sip.trunk_core import TrunkCore
from sip.trunk_gateways import Pace
from sip.trunk_limits import LandlineRefusal
from sip.trunk_routing import TrunkLeg
from sip.trunk_state import TrunkFacts

ONE, TWO = "192.0.2.1", "192.0.2.2"
NUMBER = "+49301234567"
TCP, TLS = TrunkTransport.TCP, TrunkTransport.TLS


def counted() -> Callable[[int], bytes]:
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(b"%d" % drawn).digest(count)

    return draw


def facts(*gateways: TrunkGateway, name: str = "t", password: bytes = b"secret", **fields: Any) -> TrunkFacts:
    settings = {"allowed_prefixes": ("+49",), **fields}
    return TrunkFacts(Trunk(name, "Carrier", gateways, **settings), password)


class Node:
    """The core with a network that answers when it is told to."""

    def __init__(self, *wanted: TrunkFacts, pace: Pace | None = None) -> None:
        self.core = TrunkCore(own=OwnAddress(frozenset((b"gw.test",)), {}), entropy=counted(), pace=pace)
        for transport in ("udp", "tcp", "tls"):
            self.core.advertise(transport, "198.51.100.1", ("198.51.100.1", 5060))
        self.now = 0.0
        self.sent: list[tuple[Flow, Request]] = []
        self.said: list[TrunkChanged] = []
        self.asked: list[Resolve | Dial | HangUp] = []
        self.core.configure(wanted, 0.0)
        self.run(0.0)

    def take(self) -> None:
        for output in self.core.take():
            if isinstance(output, Send):
                message = parse(output.data)
                assert isinstance(message, Request)
                self.sent.append((output.flow, message))
            elif isinstance(output, TrunkChanged):
                self.said.append(output)
            else:
                assert isinstance(output, Resolve | Dial | HangUp)
                self.asked.append(output)

    def run(self, until: float) -> None:
        """Let time pass."""
        self.take()
        while (due := self.core.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.core.on_deadline(self.now)
            self.take()
        self.now = until

    def answer(self, status: int, *headers: tuple[bytes, bytes], host: str = "", at: int = -1) -> bool:
        flow, request = self.sent[at]
        response = make_response(request, status, to_tag=b"x", extra=headers).to_bytes()
        source = Flow(flow.transport, flow.local, host or flow.host, flow.port)
        taken = self.core.receive(response, source, self.now)
        self.take()
        return taken

    def methods(self) -> list[tuple[bytes, str]]:
        return [(request.method, flow.host) for flow, request in self.sent]

    def gateway(self) -> str:
        """The name that the last `Resolve` or `Dial` gave."""
        return [one.gateway for one in self.asked if not isinstance(one, HangUp)][-1]

    def states(self, trunk: str = "t") -> list[str]:
        found = self.core.state(trunk, self.now)
        assert found is not None
        return [one.state for one in found.gateways]

    def ways(self, site: str = "s", number: str = NUMBER, **limits: Any) -> list[str] | LandlineRefusal:
        found = self.core.legs(site, number, SiteLandlines(site, **limits))
        return [f"{leg.trunk.id} {leg.flow.host}" for leg in found] if isinstance(found, tuple) else found


def up(*wanted: TrunkFacts) -> Node:
    """All gateways (addresses, UDP) have answered their first probe."""
    node = Node(*wanted)
    for at in range(len(node.sent)):
        if node.sent[at][1].method == b"OPTIONS":
            node.answer(200, at=at)
    return node


def test_probes_go_out_from_our_own_socket_and_any_answer_is_life() -> None:
    node = Node(facts(TrunkGateway(ONE), TrunkGateway(TWO, 5070)))
    assert node.methods() == [(b"OPTIONS", ONE), (b"OPTIONS", TWO)]
    flow, probe = node.sent[1]
    assert flow == Flow("udp", "5060", TWO, 5070)
    assert probe.uri == b"sip:192.0.2.2:5070"
    assert probe.top_via.host == b"198.51.100.1"
    assert node.answer(404, at=0)
    assert node.answer(503, at=1)
    assert node.states() == ["up", "down"]
    assert [(one.gateway, one.what, one.why) for one in node.said] == [(ONE, "up", "404"), (f"{TWO}:5070", "down", "503")]


def test_silence_is_counted_after_the_probes_deadline_and_down_takes_two() -> None:
    node = up(facts(TrunkGateway(ONE)))
    node.run(34.0)
    assert node.sent[-1][1].method == b"OPTIONS"
    node.run(40.0)
    assert node.states() == ["up"]
    node.run(60.0)
    assert node.states() == ["down"]
    assert node.said[-1].why == "no answer"


def test_only_answers_from_a_configured_address_count() -> None:
    node = Node(facts(TrunkGateway(ONE)))
    assert not node.answer(200, host="203.0.113.66"), "the SIP core's, which drops it as a stray"
    assert node.states() == ["unknown"]
    flow, request = node.sent[0]
    assert not node.core.receive(request.to_bytes(), flow, node.now), "requests are the SIP core's"
    assert not node.core.receive(b"SIP/2.0 200 z9hG4bKtrunk", flow, node.now)
    assert node.answer(200)
    node.run(6.0)
    assert not node.answer(200), "a repeat after the end"


@given(st.binary(max_size=200))
def test_noise_from_a_gateway_raises_nothing(noise: bytes) -> None:
    node = Node(facts(TrunkGateway(ONE)))
    flow = node.sent[0][0]
    node.core.receive(noise, flow, 0.0)
    node.core.receive(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKtrunk1\r\n" + noise, flow, 0.0)


def test_names_are_resolved_each_round_and_a_new_address_is_followed() -> None:
    node = Node(facts(TrunkGateway("sip.carrier.example")))
    (asked,) = node.asked
    assert asked == Resolve(node.gateway(), "sip.carrier.example", 0, "udp")
    node.core.resolved(node.gateway(), [(ONE, 5060), (TWO, 5061)], 0.0)
    node.take()
    node.answer(200)
    node.run(34.0)
    node.core.resolved(node.gateway(), [(TWO, 5061), (ONE, 5060)], node.now)
    node.take()
    assert node.sent[-1][0].host == ONE, "an address that still holds is kept"
    node.answer(200)
    node.run(68.0)
    node.core.resolved(node.gateway(), [(TWO, 5061)], node.now)
    node.take()
    assert node.sent[-1][0] == Flow("udp", "5060", TWO, 5061)
    node.core.resolved("t/999", [(ONE, 5060)], node.now)
    node.core.resolved(node.gateway(), [(ONE, 5060)], node.now)
    assert len(node.sent) == 3, "answers that nobody waits for"


def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer() -> None:
    node = Node(facts(TrunkGateway("sip.carrier.example")))
    gateway = node.gateway()
    hosts = []
    for _ in range(3):
        node.core.resolved(gateway, [(ONE, 5060), (TWO, 5060)], node.now)
        node.take()
        hosts.append(node.sent[-1][0].host)
        node.run(node.now + 18.0)
    assert hosts == [ONE, TWO, ONE]


def test_no_address_is_down() -> None:
    node = Node(facts(TrunkGateway("sip.carrier.example")))
    node.core.resolved(node.gateway(), [], 0.0)
    assert node.states() == ["down"]


def test_a_stream_is_dialled_by_name_kept_and_dialled_again_when_it_is_gone() -> None:
    node = Node(facts(TrunkGateway(ONE, 5061, TLS)))
    (dial,) = node.asked
    assert dial == Dial(node.gateway(), "tls", ONE, 5061, ONE)
    assert node.ways() is LandlineRefusal.NO_GATEWAY
    flow = Flow("tls", "boot-1", ONE, 5061)
    node.core.connected(node.gateway(), flow, 0.0)
    node.take()
    assert node.sent[0][0] == flow
    node.answer(200)
    assert node.ways() == [f"t {ONE}"]
    node.run(34.0)
    assert len(node.asked) == 1, "the next probe uses the same connection"
    node.core.flow_closed(flow, node.now)
    node.run(node.now + 12.0)
    assert [type(one) for one in node.asked] == [Dial, Dial]
    node.core.dial_failed(node.gateway(), node.now)
    assert node.states() == ["down"], "a lost probe, then a lost connection"


def test_a_connection_that_nobody_waits_for_any_more_is_hung_up() -> None:
    node = Node(facts(TrunkGateway(ONE, 0, TCP)))
    gateway = node.gateway()
    node.core.configure([], 1.0)
    flow = Flow("tcp", "boot-1", ONE, 5060)
    node.core.connected(gateway, flow, 2.0)
    node.take()
    assert node.asked[-1] == HangUp(flow)


def test_unprobed_gateways_are_up_until_calls_tell_otherwise() -> None:
    node = Node(facts(TrunkGateway(ONE), probe=False))
    assert node.sent == []
    assert node.states() == ["up"]
    (leg,) = node.core.legs("s", NUMBER, SiteLandlines("s"))
    assert isinstance(leg, TrunkLeg)
    node.core.call_heard(leg.gateway, False, 1.0)
    assert node.states() == ["up"]
    node.core.call_heard(leg.gateway, False, 2.0)
    assert node.states() == ["down"]


REGISTERS: dict[str, Any] = {"registrar": "carrier.test", "username": "4930123"}


def test_it_registers_once_a_gateway_is_up_and_moves_when_the_first_one_is() -> None:
    node = Node(facts(TrunkGateway(ONE), TrunkGateway(TWO), **REGISTERS))
    assert {method for method, _ in node.methods()} == {b"OPTIONS"}
    node.answer(200, at=1)
    assert node.methods()[-1] == (b"REGISTER", TWO)
    contact = node.sent[-1][1].get(b"contact")
    assert contact == b"<sip:4930123@198.51.100.1:5060>"
    node.answer(200)
    node.answer(200, at=0)
    assert node.methods()[-1] == (b"REGISTER", ONE)
    node.answer(200)
    assert node.core.registered_over("t") == (ONE, 5060)
    assert [one.what for one in node.said] == ["up", "registered", "up", "registered"]


def test_an_unanswered_registration_tells_of_its_gateway() -> None:
    node = up(facts(TrunkGateway(ONE), probe=False, **REGISTERS))
    node.run(31.0)
    assert node.states() == ["up"]
    node.run(120.0)
    assert "down" in [one.what for one in node.said]


def test_a_removed_trunk_takes_its_binding_back_and_a_changed_one_keeps_it() -> None:
    node = up(facts(TrunkGateway(ONE), **REGISTERS))
    node.answer(200)
    node.core.configure([facts(TrunkGateway(ONE), max_calls=1, **REGISTERS)], 5.0)
    node.run(5.0)
    assert [request.get(b"expires") for _, request in node.sent if request.method == b"REGISTER"] == [b"600"]
    node.answer(200)
    node.answer(200)
    node.core.configure([], 6.0)
    node.take()
    assert node.sent[-1][1].get(b"expires") == b"0"
    challenge = (b"www-authenticate", b'Digest realm="c", nonce="n", qop="auth"')
    assert node.answer(401, challenge), "also answered when the trunk is gone"
    assert node.sent[-1][1].get(b"expires") == b"0"
    assert node.sent[-1][1].get(b"authorization") is not None
    node.answer(200)
    assert not node.answer(200), "now its address is nobody's"
    before = len(node.sent)
    node.run(10_000.0)
    assert len(node.sent) == before


def test_what_has_not_changed_goes_on_undisturbed() -> None:
    node = up(facts(TrunkGateway(ONE)), facts(TrunkGateway(TWO), name="u"))
    before = len(node.sent)
    node.core.configure([facts(TrunkGateway(ONE))], 1.0)
    node.run(1.0)
    assert len(node.sent) == before
    assert node.states() == ["up"]
    assert node.core.state("u", 1.0) is None


def test_a_disabled_trunk_is_none() -> None:
    node = Node(facts(TrunkGateway(ONE), enabled=False))
    assert node.sent == []
    assert node.ways() is LandlineRefusal.NO_TRUNK


def test_ways_go_by_priority_then_order_and_leave_out_what_is_down() -> None:
    node = Node(
        facts(TrunkGateway("192.0.2.9"), name="a", priority=5),
        facts(TrunkGateway(ONE), TrunkGateway(TWO), name="b", priority=1),
        facts(TrunkGateway("192.0.2.8"), name="c", sites=("other",)),
    )
    assert node.ways() == [f"b {ONE}", f"b {TWO}", "a 192.0.2.9"], "unknown ones may be tried"
    node.answer(503, at=[host for _, host in node.methods()].index(ONE))
    assert node.ways() == [f"b {TWO}", "a 192.0.2.9"]
    assert node.ways("other") == ["c 192.0.2.8", f"b {TWO}", "a 192.0.2.9"]


def test_why_a_landline_is_not_called() -> None:
    node = up(facts(TrunkGateway(ONE), allowed_prefixes=("+49", "!+49900"), max_calls=1, sites=("s",)))
    assert node.ways("elsewhere") is LandlineRefusal.NO_TRUNK
    assert node.ways(number="+12125550100") is LandlineRefusal.TRUNK_PREFIX
    assert node.ways(number="+49900123456") is LandlineRefusal.TRUNK_PREFIX
    assert node.ways(allowed_prefixes=("+4989",)) is LandlineRefusal.SITE_PREFIX
    assert node.ways(max_calls=0) is LandlineRefusal.SITE_FULL
    assert node.core.calls.take("call", "1", "s", "t", 2, 1) is None
    assert node.ways(max_calls=1) is LandlineRefusal.SITE_FULL
    assert node.ways(max_calls=2) is LandlineRefusal.TRUNK_FULL
    state = node.core.state("t", 0.0)
    assert state is not None
    assert state.calls == 1
    node.core.calls.ended("call")
    assert node.ways() == [f"t {ONE}"]


def test_numbers_are_written_as_the_trunk_wants_them() -> None:
    settings: dict[str, Any] = {
        "country_code": "49",
        "international_prefix": "00",
        "national_prefix": "0",
        "caller_id": "+4930999999",
    }
    node = up(facts(TrunkGateway(ONE), domain="carrier.example", allowed_prefixes=("+",), **settings))
    legs = [node.core.legs("s", number, SiteLandlines("s"))[0] for number in (NUMBER, "+12125550100")]
    assert [leg.names.called for leg in legs if isinstance(leg, TrunkLeg)] == [
        b"sip:0301234567@carrier.example;user=phone",
        b"sip:0012125550100@carrier.example;user=phone",
    ]
    assert isinstance(legs[0], TrunkLeg)
    assert legs[0].names.caller == b"sip:030999999@carrier.example;user=phone"


@pytest.mark.parametrize("host", ["203.0.113.66", TWO])
def test_credentials_are_for_the_trunks_own_gateways_alone(host: str) -> None:
    """S08: a callee, or another trunk's gateway, that answers 401 or 407 to harvest gets nothing."""
    node = up(facts(TrunkGateway(ONE), **REGISTERS), facts(TrunkGateway(TWO), name="u", password=b"other"))
    assert node.core.credentials("t", Flow("udp", "5060", ONE, 5060)) is not None
    assert node.core.credentials("t", Flow("udp", "5060", host, 5060)) is None
    assert node.core.credentials("t", Flow("udp", "5060", ONE, 5062)) is None
    assert node.core.credentials("none", Flow("udp", "5060", ONE, 5060)) is None
    without = up(facts(TrunkGateway(ONE)))
    credentials = without.core.credentials("t", Flow("udp", "5060", ONE, 5060))
    challenge = make_response(without.sent[0][1], 407, extra=((b"proxy-authenticate", b'Digest realm="x", nonce="n"'),))
    assert credentials is not None
    assert credentials.answer(challenge, b"INVITE", b"sip:x", 0) is None, "no user name, nothing to prove"
