"""SIP PnP with real multicast, in a network namespace of the test's own: beside a node's SIP on port 5060, SIPp as a device."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.networks import Allowed
from registry.mac import MacAddress
from simulators.autop_client import AutopClient, NoConfiguration, trust
from simulators.pnp import NothingOffered, discover
from sip.net.pnp import MULTICAST, PORT, PnpResponder
from sip.net.udp import UdpSocket
from sip.parser import parse
from tests.system.fleet import add_site
from tests.system.lossy_network import own_network
from tests.system.peers import LOOPBACK, RunningGateway, loopback_config, needs, program, wait_until

KNOWN, STRANGER = MacAddress("0C1105AABBCC"), MacAddress("0C1105AABBCD")
URL = "https://gate.example:8443/autop/enrol/abcdefghijklmnop/"

pytestmark = [
    pytest.mark.system,
    needs("ip"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace of its own"),
]


@pytest.fixture
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def routed(network: None) -> None:
    subprocess.run([str(program("ip")), "route", "add", f"{MULTICAST}/32", "dev", "lo"], check=True)


class Lan:
    """A responder on `lo` that knows one device."""

    def __init__(self, networks: tuple[str, ...] = ("127.0.0.0/8",)) -> None:
        self.counted: list[str] = []
        self.asked: list[MacAddress] = []
        self.responder = PnpResponder(self, allows=Allowed(networks), count=self.counted.append, entropy=os.urandom)

    async def url_for(self, mac: MacAddress) -> str | None:
        self.asked.append(mac)
        return URL if mac == KNOWN else None

    async def until_counted(self, what: str) -> None:
        while what not in self.counted:  # noqa: ASYNC110  (a list tells nobody)
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def node_sip(host: str = "0.0.0.0") -> Iterator[tuple[UdpSocket, list[bytes]]]:
    """What a node has at port 5060, and what came to it."""
    heard: list[bytes] = []
    opened = UdpSocket(lambda data, flow: heard.append(data), lambda: None, lambda behind: None)
    opened.open(asyncio.get_running_loop(), host, PORT)
    try:
        yield opened, heard
    finally:
        opened.close()


@pytest.mark.parametrize("escaped", [False, True])
async def test_a_device_is_told_its_url_beside_a_node(network: None, escaped: bool) -> None:
    lan = Lan()
    with node_sip() as (sip, heard):
        sip.share(True)
        await lan.responder.start(["lo"])
        sip.share(False)
        try:
            assert await discover(KNOWN, interface="lo", escaped=escaped, seconds=10) == URL
            await lan.until_counted("told")
            assert lan.asked == [KNOWN]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
                device.sendto(b"to the node", (LOOPBACK, PORT))
            while not heard:  # noqa: ASYNC110  (a list tells nobody)
                await asyncio.sleep(0.005)
            assert heard == [b"to the node"], "the node hears nothing of what was said to the group"
        finally:
            await lan.responder.stop()


async def test_the_port_is_shared_only_while_it_is_asked_for(network: None) -> None:
    lan = Lan()
    with node_sip() as (sip, _):
        with pytest.raises(OSError, match="in use"):
            await lan.responder.start(["lo"])
        sip.share(True)
        await lan.responder.start(["lo"])
        sip.share(False)
        try:
            with pytest.raises(OSError, match="in use"), node_sip():
                pass
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    thief.bind(("0.0.0.0", PORT))
        finally:
            await lan.responder.stop()


async def test_a_stranger_and_a_foreign_network_hear_nothing(network: None) -> None:
    for lan, mac, what in ((Lan(), STRANGER, "unknown"), (Lan(("10.0.0.0/8",)), KNOWN, "network")):
        await lan.responder.start(["lo"])
        try:
            with pytest.raises(NothingOffered):
                await discover(mac, interface="lo", seconds=0.4)
            assert set(lan.counted) == {what}
            assert lan.asked == ([STRANGER] if what == "unknown" else [])
        finally:
            await lan.responder.stop()


async def test_an_interface_that_is_not_there(network: None) -> None:
    with pytest.raises(OSError, match=r"eth99|[Nn]o (such device|interface)"):
        await Lan().responder.start(["lo", "eth99"])


_SCENARIO = Path(__file__).parent / "sipp" / "pnp_device.xml"


@needs("sipp")
async def test_sipp_as_a_device(routed: None, tmp_path: Path) -> None:
    """SIPp asks, and takes 200 OK and NOTIFY in the state machine of its scenario; it checks From, To, Event and body."""
    lan = Lan()
    await lan.responder.start(["lo"])
    try:
        command = [
            str(program("sipp")),
            "-sf",
            str(_SCENARIO),
            "-m",
            "1",
            "-i",
            LOOPBACK,
            "-p",
            "5071",
            "-nostdin",
            "-timeout",
            "20",
        ]
        process = await asyncio.create_subprocess_exec(
            *command, f"{MULTICAST}:{PORT}", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()[-3000:]
        await lan.until_counted("told")
    finally:
        await lan.responder.stop()


def test_a_node_hears_and_keeps_silent_while_nobody_may_enrol(network: None, tmp_path: Path) -> None:
    config = loopback_config(more='[pnp]\ninterfaces = ["lo"]\n').replace("sip_udp = 0", f"sip_udp = {PORT}")
    config = config.replace(f'address = "{LOOPBACK}"', 'address = "0.0.0.0"')
    with RunningGateway(tmp_path, config) as gateway:
        gateway.ask("POST", "/mac-library", {"mac": KNOWN.text})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
            device.settimeout(1.0)
            device.bind((LOOPBACK, 0))
            # The node's own SIP answers at the port that the group's socket shares.
            port = device.getsockname()[1]
            options = (
                f"OPTIONS sip:{LOOPBACK} SIP/2.0\r\nVia: SIP/2.0/UDP {LOOPBACK}:{port};branch=z9hG4bK1;rport\r\n"
                f"From: <sip:a@{LOOPBACK}>;tag=1\r\nTo: <sip:{LOOPBACK}>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
                "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
            device.sendto(options.encode(), (LOOPBACK, PORT))
            parse(device.recv(4096))
            device.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), 1))
            question = options.replace("OPTIONS sip:", f"SUBSCRIBE sip:MAC{KNOWN}@").replace("OPTIONS", "SUBSCRIBE")
            question = question.replace("branch=z9hG4bK1", "branch=z9hG4bK2").replace("Max-", "Event: ua-profile\r\nMax-")
            device.settimeout(0.4)
            device.sendto(question.encode(), (MULTICAST, PORT))
            with pytest.raises(TimeoutError):
                device.recv(4096)


async def test_a_device_that_knows_nothing_enrols_and_is_never_told_again(network: None, tmp_path: Path) -> None:
    config = loopback_config(more='[pnp]\ninterfaces = ["lo"]\n')
    with RunningGateway(tmp_path, config) as gateway:
        site = add_site(gateway, "House")
        for mac in (KNOWN, STRANGER):
            gateway.ask("POST", "/mac-library", {"mac": mac.text, "site": site})
        body = {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate"}
        added = gateway.ask("PUT", f"/devices/{KNOWN}", body)
        with pytest.raises(NothingOffered):
            await discover(KNOWN, interface="lo", seconds=0.4)
        window = gateway.ask("POST", "/enrolment-windows", {"site": site, "minutes": 5})
        with pytest.raises(NothingOffered):  # in the library, and not added
            await discover(STRANGER, interface="lo", seconds=0.4)
        url = await discover(KNOWN, interface="lo", seconds=10)
        assert url not in (window["enrolment_url"], added["autop_url"])
        with pytest.raises(NoConfiguration):
            await AutopClient(url=url, mac=STRANGER, tls=trust(None)).fetch()
        device = AutopClient(url=url, mac=KNOWN, tls=trust(None))
        bootstrap = await device.fetch()
        assert bootstrap.config is not None
        assert bootstrap.config.account is None
        real = await device.fetch()
        assert real.config is not None
        assert real.config.account is not None
        wait_until("it has enrolled", lambda: gateway.ask("GET", f"/devices/{KNOWN}/status")["enrolled"] is not None, 15)
        with pytest.raises(NothingOffered):
            await discover(KNOWN, interface="lo", seconds=0.4)
        with pytest.raises(NoConfiguration):
            await AutopClient(url=url, mac=KNOWN, tls=trust(None)).fetch()
