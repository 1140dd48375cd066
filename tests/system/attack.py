"""What the attack tests have in common: a gateway's counters and memory, and known devices that go on meanwhile."""

import re
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from sip.message import Response
from tests.system.peers import RunningGateway
from tests.system.udp_phone import UdpPhone

T1, T2, TRIES = 0.5, 4.0, 7


def refused(gateway: RunningGateway, reason: str, transport: str = "udp") -> int:
    """How many requests or connections the gateway says it refused for this reason."""
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    wanted = rf'^portico_sip_refused_total\{{reason="{reason}",transport="{transport}"\}} ([0-9.e+]+)$'
    found = re.search(wanted, text, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def pid_of(gateway: RunningGateway) -> int:
    return int(gateway.ready["pid"])


def resident(gateway: RunningGateway) -> int:
    """Octets of the gateway's process in memory."""
    text = Path(f"/proc/{pid_of(gateway)}/status").read_text()
    found = re.search(r"^VmRSS:\s+([0-9]+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


def descriptors(gateway: RunningGateway) -> int:
    """How many the gateway's process has open."""
    return len(list(Path(f"/proc/{pid_of(gateway)}/fd").iterdir()))


def insisting(phone: UdpPhone, data: bytes) -> Response | None:
    """What a client transaction gets: the request is repeated as Timer E says. None: never an answer."""
    wait = T1
    for _ in range(TRIES):
        phone.send(data)
        try:
            answer = phone.next(wait)
        except AssertionError:
            wait = min(2 * wait, T2)
            continue
        assert isinstance(answer, Response)
        return answer
    return None


@dataclass
class Tally:
    """Registrations with challenge: how many were tried and done, and the seconds of each that was."""

    tried: int = 0
    seconds: list[float] = field(default_factory=list)

    def registers(self, phone: UdpPhone) -> bool:
        """One more registration of this phone."""
        since = time.monotonic()
        self.tried += 1
        data = phone.register()
        challenge = insisting(phone, data)
        if challenge is None or challenge.status != 401:
            return False
        final = insisting(phone, phone.with_credentials(data, challenge))
        if final is None or final.status != 200:
            return False
        self.seconds.append(time.monotonic() - since)
        return True

    def percentile(self, share: float) -> float:
        """Nearest rank; infinite without any."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("inf")
