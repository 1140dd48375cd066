"""Bindings: expiry, streams that close, what is stored, and what comes back."""

from sip.binding import LiveBinding, live_binding
from sip.deadlines import DeadlineHeap
from sip.flow import Flow, parse_flow
from sip.location import Location

UDP_FLOW, TCP_FLOW = Flow("udp", "5060", "198.51.100.1", 5060), Flow("tcp", "17", "198.51.100.2", 40000)


def binding(flow: Flow = UDP_FLOW, expires_at: float = 100.0, port: int = 5060) -> LiveBinding:
    return LiveBinding(
        b"sip:101@198.51.100.1:%d" % port, b";+sip.instance=\"<urn:x>\"", flow, b"call", 7, expires_at, 0.0,
        q=500, instance_id=b"<urn:x>", reg_id=2, path=(b"<sip:e;lr>",), user_agent=b"Akuvox",
    )  # fmt: skip


class Heard:
    def __init__(self) -> None:
        self.changes: list[tuple[str, int]] = []
        self.deadlines = DeadlineHeap()
        self.location = Location(self.deadlines, lambda aor, bindings, _now: self.changes.append((aor, len(bindings))))


def test_bindings_live_until_they_expire_and_not_a_moment_longer() -> None:
    heard = Heard()
    heard.location.replace("101", (binding(expires_at=50.0), binding(expires_at=100.0, port=7000)), 0.0)
    assert len(heard.location.bindings("101", 49.9)) == 2
    assert len(heard.location.bindings("101", 50.0)) == 1
    heard.deadlines.fire(50.0)
    heard.deadlines.fire(100.0)
    assert heard.changes == [("101", 2), ("101", 1), ("101", 0)]
    assert (len(heard.location), heard.location.binding_count, heard.deadlines.next()) == (0, 0, None)


def test_a_refresh_moves_the_expiry() -> None:
    heard = Heard()
    heard.location.replace("101", (binding(expires_at=50.0),), 0.0)
    heard.location.replace("101", (binding(expires_at=90.0),), 40.0)
    heard.deadlines.fire(50.0)
    assert len(heard.location.bindings("101", 60.0)) == 1


def test_a_closed_stream_takes_its_bindings_with_it() -> None:
    heard = Heard()
    heard.location.replace("101", (binding(), binding(TCP_FLOW, port=7000)), 0.0)
    heard.location.flow_closed(TCP_FLOW, 1.0)
    assert [one.flow for one in heard.location.bindings("101", 1.0)] == [UDP_FLOW]
    heard.location.flow_closed(TCP_FLOW, 1.0)
    assert heard.changes == [("101", 2), ("101", 1)]


def test_what_is_stored_comes_back_with_its_time_left() -> None:
    stored = binding(expires_at=130.0).stored(-100.0)
    assert (stored.expires, stored.flow, stored.q, stored.reg_id) == (30.0, "udp:5060:198.51.100.1:5060", 500, 2)
    back = live_binding(stored, 1000.0)
    assert back is not None
    assert back.stored(-1000.0) == stored
    assert back.params == b';+sip.instance="<urn:x>";reg-id=2'
    assert live_binding(binding(TCP_FLOW).stored(0.0), 0.0) is None
    assert live_binding(binding(expires_at=0.0).stored(0.0), 0.0) is None


def test_what_was_loaded_does_not_replace_what_is_known() -> None:
    heard = Heard()
    heard.location.replace("101", (binding(),), 0.0)
    heard.location.load("101", [binding(port=7000).stored(0.0)], 0.0)
    assert heard.location.bindings("101", 0.0)[0].contact.endswith(b":5060")
    heard.location.load("102", [binding(port=7000).stored(0.0)], 0.0)
    assert heard.location.bindings("102", 0.0)[0].contact.endswith(b":7000")
    assert heard.changes == [("101", 1)]


def test_names_of_flows_are_read_back_and_others_are_not() -> None:
    for flow in (UDP_FLOW, TCP_FLOW, Flow("udp", "5060", "2001:db8::1", 5062)):
        assert parse_flow(flow.name) == flow
    for name in (
        "",
        "udp",
        "udp:5060",
        "udp:5060:h",
        "udp:5060:h:",
        "udp:5060:h:0",
        "udp:5060:h:65536",
        "udp:5060::1",
        "udp:1:h:１",
    ):
        assert parse_flow(name) is None
    assert (Flow("udp", "1", "::1", 1).address_key, UDP_FLOW.address_key) == ("udp6", "udp")
