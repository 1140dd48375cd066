"""What a factory-fresh device does first: it asks the LAN for its provisioning URL (SIP PnP, akuvox-devices.md section 2).

url = await discover(mac, interface="eth0", model="R20K", version="220.30.3.1")
"""

import asyncio
import fcntl
import secrets
import socket
import struct

from registry.mac import MacAddress
from sip.errors import MalformedMessage
from sip.message import Request
from sip.parser import parse
from sip.responses import make_response

GROUP = ("224.0.1.75", 5060)
T1, T2 = 0.5, 4.0
_SIOCGIFADDR = 0x8915  # linux/sockios.h
SECONDS = 32.0
"""How long a device asks."""
_SUBSCRIBE = """SUBSCRIBE sip:MAC{escaped}{mac}@224.0.1.75 SIP/2.0
Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch}
Max-Forwards: 70
From: <sip:MAC{escaped}{mac}@224.0.1.75>;tag={tag}
To: <sip:MAC{escaped}{mac}@224.0.1.75>
Call-ID: {branch}@{host}
CSeq: 1 SUBSCRIBE
Contact: <sip:MAC{escaped}{mac}@{host}:{port}>
Event: ua-profile;profile-type="device";vendor="{vendor}";model="{model}";version="{version}"
Accept: application/url
Expires: 0
User-Agent: {vendor} {model} {version}
Content-Length: 0

"""


class NothingOffered(OSError):
    """Nobody on the LAN told the device a URL."""


async def discover(
    mac: MacAddress,
    *,
    interface: str,
    vendor: str = "Akuvox",
    model: str = "R20K",
    version: str = "220.30.3.1",
    escaped: bool = False,
    seconds: float = SECONDS,
) -> str:
    """The URL that somebody on this network interface gives the device. `escaped`: ask for `MAC%3A<mac>`, as other vendors do.

    Raises NothingOffered.
    """
    loop = asyncio.get_running_loop()
    host = _address_of(interface)
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    told: asyncio.Future[str] = loop.create_future()
    try:
        opened.setblocking(False)
        index = struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex(interface))
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
        opened.bind((host, 0))
        branch = secrets.token_hex(8)
        question = _SUBSCRIBE.format(
            mac=mac,
            escaped="%3A" if escaped else "",
            host=host,
            port=opened.getsockname()[1],
            branch=branch,
            tag=secrets.token_hex(4),
            vendor=vendor,
            model=model,
            version=version,
        )
        loop.add_reader(opened.fileno(), _heard, opened, f"{branch}@{host}".encode(), told)
        async with asyncio.timeout(seconds):
            return await _ask(opened, question.replace("\n", "\r\n").encode(), told)
    except TimeoutError:
        raise NothingOffered(f"nobody told {mac} a URL within {seconds:g} s") from None
    finally:
        loop.remove_reader(opened.fileno())
        opened.close()


async def _ask(opened: socket.socket, question: bytes, told: "asyncio.Future[str]") -> str:
    """Ask until a NOTIFY comes: Timer E of RFC 3261."""
    pause = T1
    while True:
        opened.sendto(question, GROUP)
        try:
            async with asyncio.timeout(pause):
                return await asyncio.shield(told)
        except TimeoutError:
            pause = min(2 * pause, T2)


def _heard(opened: socket.socket, call_id: bytes, told: "asyncio.Future[str]") -> None:
    datagram, peer = opened.recvfrom(65535)
    try:
        message = parse(datagram)
    except MalformedMessage:
        return
    if not isinstance(message, Request) or message.method != b"NOTIFY" or message.call_id != call_id:
        return  # the 200 to our question says nothing that we wait for
    opened.sendto(make_response(message, 200).to_bytes(), peer)
    if message.get(b"content-type") == b"application/url" and not told.done():
        told.set_result(message.body.decode("ascii", "replace").strip())


def _address_of(interface: str) -> str:
    """The interface's own IPv4 address. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
    return socket.inet_ntoa(answer[20:24])
