"""When media is relayed: a row for each pair of ends."""

import pytest

from sip.flow import Flow
from sip.media_rule import MediaRule, is_local, is_relayed, transport_toward

AUTO, ALWAYS = MediaRule(), MediaRule(always=True)
BRIDGING = MediaRule(bridges=True)


def flow(host: str, transport: str = "udp", port: int = 5060) -> Flow:
    return Flow(transport, "5060", host, port)


@pytest.mark.parametrize(
    ("one", "other", "relayed"),
    [
        ("203.0.113.5", "203.0.113.5", False),  # one NAT
        ("203.0.113.5", "203.0.113.6", True),  # two
        ("192.168.1.5", "192.168.1.6", False),  # the gateway is on site
        ("192.168.1.5", "10.8.0.6", False),  # or joins its networks
        ("127.0.0.1", "192.168.1.6", False),
        ("127.0.0.1", "203.0.113.5", True),
        ("192.168.1.5", "203.0.113.5", True),  # one on site, one outside
        ("172.16.0.1", "172.31.255.255", False),
        ("172.32.0.1", "172.31.255.255", True),
        ("100.64.0.5", "100.64.0.6", True),  # carrier-grade NAT: its phones are kept apart
        ("100.64.0.5", "100.64.0.5", False),
        ("2001:db8:1:2::5", "2001:db8:1:2::6", False),  # one /64
        ("2001:db8:1:2::5", "2001:db8:1:3::5", True),
        ("fd00:1::5", "fd00:2::5", False),
        ("fe80::5", "::1", False),
        ("192.168.1.5", "fd00:1::5", True),  # IPv4 and IPv6 never meet
        ("127.0.0.1", "::1", True),
    ],
)
def test_a_call_between_two_ends(one: str, other: str, relayed: bool) -> None:
    assert is_relayed(AUTO, flow(one), flow(other)) is relayed
    assert is_relayed(AUTO, flow(other), flow(one, port=40_000)) is relayed
    assert is_relayed(AUTO, flow(one, "tls"), flow(other, "tcp")) is relayed
    assert is_relayed(ALWAYS, flow(one), flow(other))
    assert is_relayed(AUTO, flow(one), flow(other), trunk=True)


@pytest.mark.parametrize(
    ("one", "other", "relayed", "transport"),
    [
        ("wss", "udp", True, b"RTP/AVP"),
        ("udp", "wss", True, b"UDP/TLS/RTP/SAVPF"),
        ("tls", "ws", True, b"UDP/TLS/RTP/SAVPF"),
        ("ws", "wss", False, b""),
        ("tls", "udp", False, b""),
    ],
)
def test_a_browser_and_a_phone_cannot_meet_without_a_bridge(one: str, other: str, relayed: bool, transport: bytes) -> None:
    offerer, receiver = flow("203.0.113.5", one), flow("203.0.113.5", other)
    assert is_relayed(AUTO, offerer, receiver) is relayed
    assert transport_toward(BRIDGING, offerer, receiver) == transport
    assert transport_toward(AUTO, offerer, receiver) == b""


@pytest.mark.parametrize("host", ["10.1.2.3", "172.16.0.1", "172.31.0.1", "192.168.0.1", "169.254.1.1", "127.1.2.3", "fc00::1"])
def test_local_addresses(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host", ["11.1.2.3", "172.15.0.1", "172.160.0.1", "172.1.0.1", "192.169.0.1", "100.64.0.1", "2001:db8::1"]
)
def test_other_addresses(host: str) -> None:
    assert not is_local(host)
