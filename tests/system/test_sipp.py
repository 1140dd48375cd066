"""SIPp through the gateway: 200 devices register with digest, then 200 calls, nothing lost; and what must not work does not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.fleet import add_devices, add_site, each_calls_the_next
from tests.system.peers import RunningGateway, free_udp_port, needs
from tests.system.sipp_load import call, register

pytestmark = [needs("sipp"), pytest.mark.system]

USERS = 200


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def test_200_users_register_and_make_200_calls(gateway: RunningGateway, tmp_path: Path) -> None:
    users = each_calls_the_next(add_devices(gateway, add_site(gateway, "SIPp"), USERS))
    port = free_udp_port()
    sip = gateway.address("sip_udp")

    registered = register(sip, tmp_path, users, port)
    assert (registered.exit_code, registered.successful, registered.failed) == (0, USERS, 0), registered.said

    made, answered = call(sip, tmp_path, users, port, calls=USERS)
    assert (made.exit_code, made.successful, made.failed, made.unexpected) == (0, USERS, 0, 0), made.said
    assert (answered.exit_code, answered.successful, answered.failed) == (0, USERS, 0), answered.said
    gateway.assert_quiet()


def test_a_wrong_password_does_not_register(gateway: RunningGateway, tmp_path: Path) -> None:
    (user,) = each_calls_the_next(add_devices(gateway, add_site(gateway, "Wrong password"), 1, first=0x1000))
    sip = gateway.address("sip_udp")
    refused = register(sip, tmp_path, [replace(user, password="not-this")], free_udp_port())
    assert (refused.successful, refused.failed) == (0, 1)
    unknown = register(sip, tmp_path, [replace(user, username="nobody")], free_udp_port())
    assert (unknown.successful, unknown.failed) == (0, 1)


def test_a_call_into_another_site_is_refused(gateway: RunningGateway, tmp_path: Path) -> None:
    here = add_devices(gateway, add_site(gateway, "Here"), 1, first=0x2000)
    there = add_devices(gateway, add_site(gateway, "There"), 1, first=0x3000)
    caller, callee = each_calls_the_next([*here, *there])
    port = free_udp_port()
    sip = gateway.address("sip_udp")
    assert register(sip, tmp_path, [caller, callee], port).successful == 2
    made, answered = call(sip, tmp_path, [caller], port, calls=1)
    assert (made.successful, made.failed) == (0, 1)
    assert answered.successful == 0
