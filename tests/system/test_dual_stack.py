"""A node on IPv4 and IPv6: an IPv4 device and an IPv6 device call each other through it (RFC 5118, RFC 5658)."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from sip.flow import Flow
from tests.system.fleet import add_devices, add_site
from tests.system.peers import LISTENERS, RunningGateway, loopback_config
from tests.system.sip_gateway import gateway
from tests.system.stream_peer import StreamPeer, WebSocketPeer
from tests.system.udp_phone import House, UdpPhone


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = [pytest.mark.system, pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback address (::1)")]
DEVICE_LISTENERS = [name for name in LISTENERS if name not in ("admin", "metrics")]
HOSTS = ("127.0.0.1", "::1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    config = loopback_config(more='[sip]\ndomains = ["gw.test"]\n').replace('"127.0.0.1"', '["127.0.0.1", "::1"]', 1)
    with RunningGateway(tmp_path_factory.mktemp("dual"), config) as gateway:
        house = House(gateway, add_devices(gateway, add_site(gateway, "Both"), 30))
        try:
            yield house
        finally:
            house.close()


def place(house: House, listener: str, host: str) -> tuple[str, int]:
    """Where a listener is in this host's family."""
    (found,) = [
        (str(one), int(port)) for one, port in house.gateway.ready["addresses"][listener] if (":" in one) == (":" in host)
    ]
    return found


def phone(house: House, letter: str, host: str) -> UdpPhone:
    """A registered phone at this host."""
    made = house.phone(letter, host=host)
    made.gateway = place(house, "sip_udp", host)
    assert made.registers(call_id=b"reg-%b-%d" % (letter.encode(), made.port)).status == 200
    return made


def test_every_listener_of_devices_is_at_both_addresses_and_told(house: House) -> None:
    ready = house.gateway.ready
    said = house.gateway.output_file.read_text()
    for name in DEVICE_LISTENERS:
        places = ready["addresses"][name]
        assert [host for host, _ in places] == list(HOSTS)
        assert ready[name] == places[0]
        assert places[0][1] == places[1][1]
        assert f"127.0.0.1:{places[0][1]}, [::1]:{places[1][1]}" in said


@pytest.mark.parametrize("hangs_up", ["caller", "callee"])
@pytest.mark.parametrize(("calling", "called"), [HOSTS, HOSTS[::-1]], ids=["4 to 6", "6 to 4"])
def test_a_call_between_the_families_ends_from_both_sides(house: House, calling: str, called: str, hangs_up: str) -> None:
    caller, callee = phone(house, "A", calling), phone(house, "D", called)
    _, (invite,) = caller.calls(callee.user, callee)
    # Each side's Route names us in its own family: the callee's first one, the caller's the last.
    routes = [value.partition(b"@")[2].partition(b">")[0] for value in invite.all(b"record-route")]
    assert routes == [b"%b;lr" % _own(house, called), b"%b;lr" % _own(house, calling)]
    assert invite.top_via.host == _own(house, called).rpartition(b":")[0]
    callee.answers(invite, 200)
    final = caller.gets(200)
    first = caller.in_dialog(b"ACK", final, invite)
    caller.send(first)
    callee.asked(b"ACK")
    one, other = (caller, callee) if hangs_up == "caller" else (callee, caller)
    if one is caller:
        one.send(caller.in_dialog(b"BYE", final, invite))
    else:
        one.send(callee.in_dialog_as_callee(b"BYE", invite))
    bye = other.asked(b"BYE")
    assert bye.all(b"route") == []
    other.answers(bye, 200)
    one.gets(200, b"BYE")


async def _peer(house: House, transport: str, host: str) -> StreamPeer:
    """A registered device on a connection to this host."""
    device = house.new_account()
    tls = ssl.create_default_context(cafile=house.gateway.ready["ca_file"]) if transport in ("tls", "wss") else None
    kind = WebSocketPeer if transport.startswith("ws") else StreamPeer
    peer = await kind.dial(place(house, f"sip_{transport}", host), device.username, tls)
    if isinstance(peer, WebSocketPeer):
        await peer.upgrade()
    peer.phone.password = device.password.encode()
    assert (await peer.register()).status == 200
    return peer


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
async def test_a_call_from_ipv4_tcp_to_every_transport_of_ipv6(house: House, transport: str) -> None:
    caller, callee = await _peer(house, "tcp", "127.0.0.1"), await _peer(house, transport, "::1")
    contact = b"Contact: <" + caller.phone.contact + b">"
    callee_uri = b"sip:%b@gw.test" % callee.phone.user.encode()
    caller.send(await caller.challenged(caller.phone.request(b"INVITE", callee_uri, headers=(contact,))))
    assert (await caller.response()).status == 100
    invite = await callee.request()
    assert [value.partition(b"@")[2].partition(b"]")[0][:9] for value in invite.all(b"record-route")] == [b"[::1", b"127.0.0.1"]
    callee.reply(invite, 200)
    final = await caller.response()
    assert final.status == 200
    caller.send(caller.phone.in_dialog(b"ACK", final, invite))
    assert (await callee.request()).method == b"ACK"
    callee.send(callee.phone.in_dialog_as_callee(b"BYE", invite))
    bye = await caller.request()
    assert bye.method == b"BYE"
    caller.reply(bye, 200)
    assert (await callee.response()).status == 200
    caller.close()
    callee.close()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("listener", ["sip_tls", "channel", "remote_control", "autop_https"])
def test_tls_listeners_prove_their_address_in_both_families(house: House, listener: str, host: str) -> None:
    context = ssl.create_default_context(cafile=house.gateway.ready["ca_file"])
    with contextlib.closing(socket.create_connection(place(house, listener, host), timeout=5)) as sock:
        context.wrap_socket(sock, server_hostname=host).close()


@pytest.mark.parametrize(
    ("advertised", "shown"), [("192.0.2.1", (b"192.0.2.1", b"[::1]")), ("gw.example", (b"gw.example", b"gw.example"))]
)
async def test_a_public_address_is_for_its_family_and_a_public_name_for_both(advertised: str, shown: tuple[bytes, bytes]) -> None:
    async with gateway() as (running, _):
        for host, expected in zip(HOSTS, shown, strict=True):
            _, port = await running.service.start(host, 0, advertised)
            via = running.core._own.via(Flow("udp", str(port), host, 5070), b"b")
            assert via == b"SIP/2.0/UDP %b:%d;branch=b" % (expected, port)


async def test_the_node_is_behind_while_one_of_its_sockets_is() -> None:
    async with gateway() as (running, _):
        await running.service.start("::1", 0)
        one, other = running.service._sockets
        said = []
        for opened, waits in ((one, True), (other, True), (one, False), (other, False)):
            opened._backlog(waits)
            said.append(running.core._overload.backlogged)
        assert said == [True, True, True, False]


def _own(house: House, host: str) -> bytes:
    """The gateway's host and port as a URI has them."""
    shown, port = place(house, "sip_udp", host)
    return (f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}").encode()
