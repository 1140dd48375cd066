"""Phones on raw UDP sockets, each on a loopback address of its own, around a running gateway: what the SIP trap tests are played
with. Messages are built as in tests/sip/phones.py; every wait is bounded."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Phone
from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config

ANSWER_DEADLINE = 5.0
"""Seconds for what must come."""
QUIET = 0.3
"""Seconds of silence that count as "nothing comes": beyond any answer on loopback, below the first retransmission (T1)."""
CONFIG = loopback_config(more='[sip]\ndomains = ["gw.test"]\n')
_HOSTS = count(10)


class UdpPhone(Phone):
    """A phone that speaks from its own socket. Repeats of a message it has already got are not given again."""

    def __init__(self, gateway: tuple[str, int], letter: str, user: str, password: str, host: str = "") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host or f"127.0.0.{next(_HOSTS) % 200 + 10}", 0))
        bound, port = self.socket.getsockname()[:2]
        super().__init__(letter, user, bound, port, password=password.encode())
        self.gateway = gateway
        self.port: int = port
        self.host: str = bound
        self._seen: set[bytes] = set()

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.gateway)

    def next(self, seconds: float = ANSWER_DEADLINE) -> Request | Response:
        """The next new message. AssertionError when none comes in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, source = self.socket.recvfrom(65535)
            except TimeoutError:
                break
            assert source[:2] == self.gateway, f"{self.letter} heard from {source}"
            if data not in self._seen:
                self._seen.add(data)
                return parse(data)
        raise AssertionError(f"{self.letter} got nothing within {seconds:g} s")

    def arrivals(self, seconds: float = QUIET) -> list[bytes]:
        """The start lines of all that comes within this time, repeats too."""
        found: list[bytes] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                found.append(self.socket.recv(65535).partition(b"\r\n")[0])
            except TimeoutError:
                break
        return found

    def gets(self, status: int, method: bytes = b"INVITE") -> Response:
        """The next new message, which must be this response."""
        message = self.next()
        assert isinstance(message, Response), f"{self.letter} got {message.method!r} instead of {status} {method!r}"
        assert (message.status, message.cseq[1]) == (status, method)
        return message

    def asked(self, method: bytes) -> Request:
        """The next new message, which must be this request."""
        message = self.next()
        assert isinstance(message, Request), f"{self.letter} got {message.status} instead of {method!r}"
        assert message.method == method
        return message

    def answers(self, request: Request, status: int, **how: object) -> None:
        """Answer a request that came."""
        self.send(self.reply(request, status, **how))  # type: ignore[arg-type]

    def asks(self, data: bytes) -> Response:
        """Send a request; the response that comes next, a proxy's 100 aside."""
        self.send(data)
        message = self.next()
        while isinstance(message, Response) and message.status == 100:
            message = self.next()
        assert isinstance(message, Response)
        return message

    def authorised(self, data: bytes) -> bytes:
        """The request with credentials, after its challenge."""
        challenge = self.asks(data)
        assert challenge.status in (401, 407), challenge.status
        return self.with_credentials(data, challenge)

    def registers(
        self, *headers: bytes, contact: bytes = b"", expires: int = 3600, call_id: bytes = b"", cseq: int = 0
    ) -> Response:
        """REGISTER with the challenge in between; the final response."""
        return self.asks(self.authorised(self.register(*headers, contact=contact, expires=expires, call_id=call_id, cseq=cseq)))

    def invite_to(self, user: str, *headers: bytes, body: bytes = b"") -> bytes:
        """An INVITE that has passed its challenge, ready to be sent."""
        lines = (b"Contact: <" + self.contact + b">", *headers)
        return self.authorised(self.request(b"INVITE", b"sip:%b@gw.test" % user.encode(), headers=lines, body=body))

    def calls(self, user: str, *callees: "UdpPhone") -> tuple[bytes, list[Request]]:
        """(the INVITE as sent, the INVITE as each callee got it)."""
        invite = self.invite_to(user)
        self.send(invite)
        self.gets(100)
        return invite, [one.asked(b"INVITE") for one in callees]


class House:
    """One site on a running gateway, and phones for its accounts."""

    def __init__(self, gateway: RunningGateway, devices: list[AddedDevice]) -> None:
        self.gateway = gateway
        self.address = gateway.address("sip_udp")
        self._devices = iter(devices)
        self._open = ExitStack()

    def new_account(self) -> AddedDevice:
        """An account no test has used."""
        device = next(self._devices, None)
        assert device is not None, "the house has no account left: give running_house more"
        return device

    def phone(self, letter: str, device: AddedDevice | None = None, host: str = "") -> UdpPhone:
        """A phone that has not registered, of a new account unless told."""
        device = device or self.new_account()
        made = UdpPhone(self.address, letter, device.username, device.password, host)
        self._open.enter_context(made.socket)
        return made

    def pair(self) -> tuple[UdpPhone, UdpPhone]:
        """A caller A and a callee D, both registered."""
        caller, (callee,) = self.fork("D")
        return caller, callee

    def fork(self, *letters: str) -> tuple[UdpPhone, list[UdpPhone]]:
        """A caller A, and several phones registered for one account."""
        caller, shared = self.phone("A"), self.new_account()
        phones = [self.phone(letter, shared) for letter in letters]
        for one in (caller, *phones):
            assert one.registers(call_id=b"reg-%b-%d" % (one.letter.encode(), one.port)).status == 200
        return caller, phones

    def close(self) -> None:
        self._open.close()


def running_house(folder: Path, accounts: int, first: int) -> Iterator[House]:
    """A gateway with a site of so many accounts; it must end without a complaint."""
    with RunningGateway(folder, CONFIG) as gateway:
        house = House(gateway, add_devices(gateway, add_site(gateway, "Traps"), accounts, first=first))
        try:
            yield house
        finally:
            house.close()
