"""SIPp as the carrier and as the door phone, a whole node between them; and a door that tries to ring fifty landlines at once."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sip.message import Response
from tests.system.attack import refused
from tests.system.landline_site import NUMBER, PASSWORD, LandlineSite
from tests.system.peers import LOOPBACK, RunningGateway, free_udp_port, needs
from tests.system.sipp_load import Sipp, SipUser, joined
from tests.system.udp_phone import CONFIG, UdpPhone

pytestmark = [pytest.mark.system, needs("sipp")]
DEADLINE = 10.0
TRIES = 50


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway"), CONFIG) as running:
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def carrier(stack: ExitStack, folder: Path, *parts: str) -> Sipp:
    """A SIPp that takes one call so."""
    port = free_udp_port()
    log = folder / f"carrier-{port}.messages"
    words = ("-trace_msg", "-message_file", str(log))
    return stack.enter_context(Sipp(joined(folder, *parts), folder, calls=1, local_port=port, options=words))


def landlines(stack: ExitStack, gateway: RunningGateway, *carriers: Sipp, call_type: int) -> LandlineSite:
    addresses = [(LOOPBACK, one.local_port) for one in carriers]
    site = LandlineSite(gateway, *addresses, call_type=call_type, username="4930100", password=PASSWORD)
    stack.callback(site.close)
    return site


def caller(stack: ExitStack, site: LandlineSite, folder: Path, *parts: str) -> Sipp:
    """The door as a SIPp that dials 101."""
    user = SipUser(site.door.user, site.door.password.decode(), "101")
    port = free_udp_port()
    address = site.gateway.address("sip_udp")
    return stack.enter_context(Sipp(joined(folder, *parts), folder, calls=1, remote=address, local_port=port, users=[user]))


def content(*phones: Sipp) -> None:
    for one in phones:
        result = one.result(DEADLINE)
        assert (result.exit_code, result.successful, result.failed, result.unexpected) == (0, 1, 0, 0), result.said


def test_call_type_2_the_landline_answers_after_the_monitor_has_declined(
    gateway: RunningGateway, stack: ExitStack, tmp_path: Path
) -> None:
    phone = carrier(stack, tmp_path, "uas_challenges", "uas_answers_later")
    site = landlines(stack, gateway, phone, call_type=2)
    door = caller(stack, site, tmp_path, "uac_invites", "uac_hangs_up")
    rung = site.monitor.asked(b"INVITE")
    assert site.status()["calls"] == 0
    site.monitor.answers(rung, 486)
    site.monitor.asked(b"ACK")
    content(door, phone)
    site.idle()
    entry = site.entry()
    assert (entry["answered_by"], entry["rang"]) == (NUMBER, [NUMBER])
    log = (tmp_path / f"carrier-{phone.local_port}.messages").read_text()
    assert 'Proxy-Authorization: Digest username="4930100"' in log


def test_the_caller_cancels(gateway: RunningGateway, stack: ExitStack, tmp_path: Path) -> None:
    phone = carrier(stack, tmp_path, "uas_rings")
    site = landlines(stack, gateway, phone, call_type=2)
    site.monitor.registers(expires=0)
    content(caller(stack, site, tmp_path, "uac_invites", "uac_cancels"), phone)
    site.idle()
    assert site.entry()["result"] == "cancelled"


def test_a_gateway_that_is_no_use_gives_way_to_the_next(gateway: RunningGateway, stack: ExitStack, tmp_path: Path) -> None:
    broken = carrier(stack, tmp_path, "uas_unavailable")
    phone = carrier(stack, tmp_path, "uas_answers_later")
    site = landlines(stack, gateway, broken, phone, call_type=2)
    site.monitor.registers(expires=0)
    content(caller(stack, site, tmp_path, "uac_invites", "uac_hangs_up"), broken, phone)
    site.idle()


def test_fifty_tries_at_once_ring_two_landlines(gateway: RunningGateway) -> None:
    carrier = UdpPhone(gateway.address("sip_udp"), "P", "carrier", "", host="127.0.0.9")
    with carrier.socket:
        site = LandlineSite(gateway, (carrier.host, carrier.port), call_type=4, most=2)
        try:
            site.monitor.registers(expires=0)
            tries = [site.door.invite_to("101") for _ in range(TRIES)]
            before = refused(gateway, "landline: site has too many landline calls")
            for one in tries:
                site.door.send(one)
            rung = [carrier.asked(b"INVITE") for _ in range(2)]
            answers = [final(site.door) for _ in range(TRIES - 2)]
            assert [one.status for one in answers] == [486] * (TRIES - 2)
            assert refused(gateway, "landline: site has too many landline calls") == before + TRIES - 2
            assert site.status()["calls"] == 2
            assert not [line for line in carrier.arrivals() if not line.startswith(b"INVITE")]
            for invite in rung:
                carrier.answers(invite, 480)
            assert [final(site.door).status for _ in rung] == [480, 480]
            site.idle()
        finally:
            site.close()


def final(phone: UdpPhone) -> Response:
    """The next final answer to an INVITE."""
    while True:
        message = phone.next()
        if isinstance(message, Response) and message.status >= 200:
            return message
