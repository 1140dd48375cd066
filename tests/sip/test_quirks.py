"""What peers with known faults are offered instead of the usual challenges."""

import pytest

from tests.sip.phones import Stage
from tests.sip.test_amplification import DEVICE


@pytest.mark.parametrize(
    ("agent", "offered"),
    [
        (b"baresip v1.0.0 (x86_64/linux)", ["MD5"]),
        (b"kamailio (5.6.3 (x86_64/linux))", ["MD5"]),
        (b"baresip v3.5.0 (x86_64/linux)", ["SHA-512-256", "SHA-256", "MD5"]),
        (b"Akuvox R29 29.30.10.19", ["SHA-512-256", "SHA-256", "MD5"]),
    ],
)
def test_a_client_that_stumbles_over_other_challenges_is_offered_md5_alone(agent: bytes, offered: list[str]) -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    data = phone.register(b"User-Agent: " + agent, *DEVICE)
    stage.book.receive(data, phone.flow).sees("D 401 REGISTER")
    challenges = stage.last(phone).all(b"www-authenticate")
    assert [one.partition(b"algorithm=")[2].partition(b",")[0].decode() for one in challenges] == offered
    stage.book.receive(phone.with_credentials(data, stage.last(phone)), phone.flow).sees("D 200 REGISTER")
