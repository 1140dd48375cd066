"""A whole node and devices on TCP, TLS and WebSockets: what it writes into their configurations, what a SIGHUP and a stop do."""

import asyncio
import os
import signal
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.tls import local_certificates
from sip.message import Request
from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config, wait_until
from tests.system.stream_peer import StreamPeer, WebSocketPeer

pytestmark = pytest.mark.system


def _trust(gateway: RunningGateway) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=gateway.ready["ca_file"])


async def _registered(gateway: RunningGateway, device: AddedDevice, transport: str) -> StreamPeer:
    kind = WebSocketPeer if transport in ("ws", "wss") else StreamPeer
    tls = _trust(gateway) if transport in ("tls", "wss") else None
    peer = await kind.dial(gateway.address(f"sip_{transport}"), device.username, tls)
    if isinstance(peer, WebSocketPeer):
        await peer.upgrade()
    peer.phone.password = device.password.encode()
    assert (await peer.register()).status == 200
    return peer


def _metrics(gateway: RunningGateway) -> str:
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_devices_configuration_names_the_port_of_its_transport(tmp_path: Path, transport: str) -> None:
    with RunningGateway(tmp_path) as gateway:
        mac, site = "0C1105000001", add_site(gateway, "North")
        gateway.ask("POST", "/mac-library", {"mac": mac, "site": site})
        body = {"site": site, "kind": 0, "model": "R29", "name": "Gate", "transmission": transport}
        url = gateway.ask("PUT", f"/devices/{mac}", body)["autop_url"]
        with urllib.request.urlopen(f"{url}{mac}.cfg", context=_trust(gateway), timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        ports = [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip().endswith(".SIP.Port")]
        assert ports == [str(gateway.address(f"sip_{transport}")[1])]


async def test_a_sighup_keeps_every_connection_and_a_stop_is_clean(tmp_path: Path) -> None:
    transports = ("tcp", "tls", "ws", "wss")
    with RunningGateway(tmp_path, loopback_config(more='[sip]\ndomains = ["gw.test"]\n')) as gateway:
        devices = add_devices(gateway, add_site(gateway, "North"), len(transports))
        peers = [await _registered(gateway, one, name) for one, name in zip(devices, transports, strict=True)]
        address = gateway.address("sip_tls")
        before = ssl.get_server_certificate(address)
        local_certificates(gateway.state / "tls", ("127.0.0.1", "renewed.example"), datetime.now(UTC) + timedelta(seconds=1))
        os.kill(gateway.pid, signal.SIGHUP)
        wait_until("new certificate", lambda: ssl.get_server_certificate(address) != before, 10.0)
        for place, caller in enumerate(peers):
            called = peers[place - 1]
            uri = b"sip:%b@gw.test" % called.phone.user.encode()
            caller.send(await caller.challenged(caller.phone.request(b"MESSAGE", uri, body=b"are you there?")))
            arrived = await called.request()
            assert isinstance(arrived, Request)
            assert arrived.body == b"are you there?"
            called.reply(arrived, 200)
            assert (await caller.response()).status == 200
        said = _metrics(gateway)
        for name in transports:
            assert f'portico_sip_requests_sent_total{{method="MESSAGE",transport="{name}"}} 1.0' in said
        assert "portico_sip_streams 4.0" in said
        assert "portico_sip_bindings 4.0" in said
        for peer in peers[:2]:
            peer.kill()
        # In a thread, as it waits for what this loop is still to do.
        await asyncio.to_thread(wait_until, "their bindings to go", lambda: "portico_sip_bindings 2.0" in _metrics(gateway), 5.0)
        await asyncio.to_thread(gateway.stop)
        for peer in peers[2:]:
            await peer.closed()
            peer.kill()
        gateway.start()
