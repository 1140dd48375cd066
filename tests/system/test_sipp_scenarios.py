"""The SIPp scenarios against Kamailio, which owes Portico nothing: they register and call, and they notice when it goes wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.kamailio import CONFIG, PASSWORD, RunningKamailio
from tests.system.peers import free_udp_port, needs
from tests.system.sipp_load import SipUser, call, register

pytestmark = [needs("sipp", "kamailio"), pytest.mark.system]

USERS = [SipUser(f"u{n}", PASSWORD, f"u{(n + 1) % 20}") for n in range(20)]


def test_registrations_and_calls_succeed(tmp_path: Path) -> None:
    port = free_udp_port()
    with RunningKamailio(tmp_path) as kamailio:
        registered = register(kamailio.address, tmp_path, USERS, port)
        assert (registered.exit_code, registered.successful, registered.failed) == (0, 20, 0), registered.said
        made, answered = call(kamailio.address, tmp_path, USERS, port, calls=20)
    assert (made.exit_code, made.successful, made.failed) == (0, 20, 0), made.said
    assert (answered.exit_code, answered.successful, answered.failed) == (0, 20, 0), answered.said


def test_a_wrong_password_is_a_failure(tmp_path: Path) -> None:
    wrong = replace(USERS[0], password="not-this")
    with RunningKamailio(tmp_path) as kamailio:
        registered = register(kamailio.address, tmp_path, [wrong], free_udp_port())
    assert registered.exit_code != 0
    assert (registered.successful, registered.failed) == (0, 1)


def test_a_call_to_nobody_is_a_failure(tmp_path: Path) -> None:
    port = free_udp_port()
    lonely = replace(USERS[0], target="nobody")
    with RunningKamailio(tmp_path) as kamailio:
        made, _ = call(kamailio.address, tmp_path, [lonely], port, calls=1)
    assert made.exit_code != 0
    assert (made.successful, made.failed) == (0, 1)


def test_a_password_that_looks_like_a_hexadecimal_number(tmp_path: Path) -> None:
    password = "0xVTxM9CJioigDPu5GT4KYFP"
    config = tmp_path / "kamailio.cfg"
    config.write_text(CONFIG.read_text().replace(PASSWORD, password))
    with RunningKamailio(tmp_path, config=config) as kamailio:
        registered = register(kamailio.address, tmp_path, [replace(USERS[0], password=password)], free_udp_port())
    assert registered.successful == 1, registered.said
