"""Our Via and Record-Route by family and transport, and what is ours in them."""

import pytest

from sip.flow import Flow
from sip.own_address import OwnAddress

IPV4, IPV6 = Flow("udp", "5060", "198.51.100.7", 5070), Flow("udp", "5060", "2001:db8::7", 5070)


def test_each_family_has_its_own_address() -> None:
    own = OwnAddress(frozenset(), {"udp": ("192.0.2.1", 5060)})
    own.advertise("udp", "2001:db8::1", 5062)
    assert own.via(IPV4, b"b") == b"SIP/2.0/UDP 192.0.2.1:5060;branch=b"
    assert own.via(IPV6, b"b") == b"SIP/2.0/UDP [2001:db8::1]:5062;branch=b"
    assert own.record_route(IPV4, b"t") == b"<sip:t@192.0.2.1:5060;lr>"
    assert own.record_route(IPV6, b"t") == b"<sip:t@[2001:db8::1]:5062;lr>"
    for route in (b"sip:t@192.0.2.1:5060;lr", b"sip:t@[2001:db8::1]:5062;lr"):
        assert own.route_user(route) == b"t"
    assert own.is_sent_by(b"192.0.2.1", None)
    assert own.is_sent_by(b"[2001:db8::1]", 5062)


def test_one_name_for_both_families_keeps_each_ones_port() -> None:
    own = OwnAddress(frozenset(), {})
    own.advertise("udp", "gw.example", 5062, ipv6=True)
    own.advertise("udp", "gw.example", 5060)
    assert own.via(IPV4, b"b") == b"SIP/2.0/UDP gw.example:5060;branch=b"
    assert own.via(IPV6, b"b") == b"SIP/2.0/UDP gw.example:5062;branch=b"


@pytest.mark.parametrize("flow", [IPV4, IPV6, Flow("tcp", "x", "2001:db8::7", 5070)])
def test_a_flow_from_before_a_restart_gets_what_there_is(flow: Flow) -> None:
    assert OwnAddress(frozenset(), {"udp": ("192.0.2.1", 5060)}).via(flow, b"b") == b"SIP/2.0/UDP 192.0.2.1:5060;branch=b"
