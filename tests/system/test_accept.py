"""The one accept loop of a running node, met at all its TLS listeners at once."""

import contextlib
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.system.peers import RunningGateway, wait_until

pytestmark = pytest.mark.system

PLACES, PER_SOURCE = 50, 25
"""Handshakes at a time (DESIGN.md section 6), and of one source."""
BEGUN = b"\x16\x03\x01\x02\x00\x01\x00"
"""The first octets of a ClientHello that never goes on."""
TLS_LISTENERS = ("sip_tls", "sip_wss", "channel", "remote_control", "autop_https")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("node")) as gateway:
        yield gateway


def refused(node: RunningGateway, listener: str, reason: str) -> int:
    """How many connections of this listener the node turned away for this reason."""
    host, port = node.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    pattern = rf'^portico_connections_refused_total\{{listener="{listener}",reason="{reason}"\}} ([0-9.e+]+)$'
    found = re.search(pattern, text, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def dial(node: RunningGateway, listener: str, source: str) -> socket.socket:
    return socket.create_connection(node.address(listener), timeout=5, source_address=(source, 0))


def shake_hands(node: RunningGateway, listener: str, source: str = "127.0.0.1") -> float:
    """Seconds that an honest peer's handshake took, from the dial."""
    context = ssl.create_default_context(cafile=node.ready["ca_file"])
    context.set_alpn_protocols(["portico/1"] if listener == "channel" else [])
    began = time.monotonic()
    with dial(node, listener, source) as sock, context.wrap_socket(sock, server_hostname="localhost"):
        return time.monotonic() - began


@pytest.mark.parametrize("listener", TLS_LISTENERS)
def test_handshakes_stalled_at_one_listener_fill_the_places_of_all_and_are_put_out_for_an_honest_peer(
    node: RunningGateway, listener: str
) -> None:
    held = TLS_LISTENERS[TLS_LISTENERS.index(listener) - 1]
    before = refused(node, held, "pressed")
    with contextlib.ExitStack() as stack:
        for number in range(PLACES):
            sock = stack.enter_context(dial(node, held, f"127.0.0.{2 + number // PER_SOURCE}"))
            sock.sendall(BEGUN)
        assert refused(node, held, "pressed") == before  # nobody waits yet
        assert shake_hands(node, listener) < 4.0
        assert refused(node, held, "pressed") > before


@pytest.mark.parametrize("listener", TLS_LISTENERS)
def test_one_source_fills_no_more_than_its_share(node: RunningGateway, listener: str) -> None:
    """Twice its share stalls, at another listener. A peer from elsewhere has a place at once."""
    held = TLS_LISTENERS[TLS_LISTENERS.index(listener) - 1]
    with contextlib.ExitStack() as stack:
        for _ in range(2 * PER_SOURCE):
            stack.enter_context(dial(node, held, "127.0.0.9")).sendall(BEGUN)
        assert shake_hands(node, listener) < 0.9  # the grace is 1 s


def test_what_is_no_tls_is_counted_at_its_listener(node: RunningGateway) -> None:
    before = {listener: refused(node, listener, "handshake") for listener in TLS_LISTENERS}
    for listener in TLS_LISTENERS:
        with dial(node, listener, "127.0.0.1") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
    for listener in TLS_LISTENERS:
        wait_until("count", lambda name=listener: refused(node, name, "handshake") == before[name] + 1, 5.0)  # type: ignore[misc]
