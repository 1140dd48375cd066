"""Auto-provisioning's doorkeeping as a node makes it: which logins are offered, and what its metrics say of sweeps."""

import os

from autop.identify import MacFile
from autop.net.configurations import Refused
from autop.net.proof import Presented
from autop.sweep import MISSES
from gateway.autop_guard import device_logins, guarded
from gateway.config import Config
from gateway.config_file import parse
from gateway.metrics import Metrics
from gateway.refusals import RefusalBook
from registry.mac import MacAddress
from tests.autop.examples import MAC
from tests.autop.test_login import configurations


def offered(config: Config) -> list[bytes] | None:
    logins = device_logins(config, bytes(32), os.urandom)
    if logins is None:
        return None
    return [one.partition(b"algorithm=")[2].partition(b",")[0] for one in logins.challenges(is_tls=False, stale=False)]


async def test_the_algorithms_of_logins_are_the_configurations_in_its_order() -> None:
    assert offered(Config()) == [b"MD5", b"SHA-256"]
    assert offered(parse({"autop": {"login_algorithms": ["SHA-256", "MD5"]}}, "test")) == [b"SHA-256", b"MD5"]
    assert offered(parse({"autop": {"login_algorithms": []}}, "test")) is None


def is_late(found: object) -> bool:
    assert isinstance(found, Refused)
    return found.is_late


async def test_a_sweep_is_counted_told_and_shown_while_it_lasts() -> None:
    told: list[str] = []

    def audit(*, actor: str, action: str, object: str, site: str, detail: str) -> None:
        told.append(f"{actor} {action} {object}")

    class Never:
        def cancel(self) -> None: ...

    metrics = Metrics("test")
    http, tftp = guarded(configurations(), RefusalBook(audit, lambda _seconds, _do: Never()), metrics)
    for number in range(2 * MISSES):
        await tftp.find(MacFile("a" * 26, MacAddress(f"0C1105{number:06X}")), Presented("192.0.2.1"))
    assert is_late(await tftp.find(MacFile("a" * 26, MAC), Presented("192.0.2.1")))
    assert not is_late(await http.find(MacFile("a" * 26, MAC), Presented("192.0.2.1")))  # TFTP's sources can be forged
    shown = metrics.exposition().decode()
    assert told == ["autop autop.sweep source 192.0.2.1"]
    assert "portico_autop_sweeps_total 1.0\n" in shown
    assert "portico_autop_throttled_sources 1.0\n" in shown
