"""Kamailio as the carrier's gateway: it challenges the INVITE, hands it to its subscriber, and the dialog runs through both."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sip.message import Request, Response
from sip.parser import parse
from tests.system.kamailio import RunningKamailio
from tests.system.landline_site import NUMBER, PASSWORD, PRESENTED, LandlineSite
from tests.system.peers import ROOT, RunningGateway, free_udp_port, needs, wait_until
from tests.system.udp_phone import CONFIG, UdpPhone

pytestmark = [pytest.mark.system, needs("kamailio")]
CARRIER = ROOT / "tests" / "system" / "kamailio_carrier" / "calls.cfg"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway"), CONFIG) as running:
        yield running


@contextmanager
def carrier(folder: Path) -> Iterator[tuple[RunningKamailio, UdpPhone]]:
    """A carrier and its subscriber, who is reached through it alone."""
    config = folder / "kamailio.cfg"
    kamailio = RunningKamailio(folder, config=config)
    subscriber = UdpPhone(kamailio.address, "P", "subscriber", "")
    config.write_text(CARRIER.read_text().replace("PHONE_URI", subscriber.contact.decode()))
    with subscriber.socket, kamailio:
        yield kamailio, subscriber


@contextmanager
def landlines(gateway: RunningGateway, *addresses: tuple[str, int], **more: Any) -> Iterator[LandlineSite]:
    site = LandlineSite(gateway, *addresses, username="4930100", password=PASSWORD, **more)
    try:
        yield site
    finally:
        site.close()


def talking(site: LandlineSite, subscriber: UdpPhone) -> tuple[Request, Request, Response]:
    """Call type 1, answered by the subscriber: (INVITE as sent, as it arrived, its 200)."""
    invite, (rung,) = site.door.calls("101", site.monitor)
    site.monitor.answers(rung, 100)
    arrived = subscriber.asked(b"INVITE")
    subscriber.answers(arrived, 180)
    site.door.gets(180)
    subscriber.answers(arrived, 200)
    answered = site.door.gets(200)
    cancel = site.monitor.asked(b"CANCEL")
    assert b"cause=200" in (cancel.get(b"reason") or b"")
    site.monitor.answers(cancel, 200)
    site.monitor.answers(rung, 487)
    site.monitor.asked(b"ACK")
    sent = parse(invite)
    assert isinstance(sent, Request)
    site.door.send(site.door.in_dialog(b"ACK", answered, sent))
    assert subscriber.asked(b"ACK").cseq[0] == arrived.cseq[0]
    assert site.status()["calls"] == 1
    return sent, arrived, answered


def test_call_type_1_is_challenged_answered_and_ended_by_the_carrier(gateway: RunningGateway, tmp_path: Path) -> None:
    with carrier(tmp_path) as (kamailio, subscriber), landlines(gateway, kamailio.address) as site:
        sent, arrived, answered = talking(site, subscriber)
        assert arrived.cseq[0] == sent.cseq[0] + 1, "the challenged try was one before"
        assert answered.cseq == sent.cseq
        assert arrived.from_addr.uri == f"sip:{PRESENTED}@127.0.0.1;user=phone".encode()
        assert site.door.user.encode() not in arrived.to_bytes().replace(b"<" + site.door.contact + b">", b"")
        assert not arrived.has(b"proxy-authorization")
        subscriber.send(subscriber.in_dialog_as_callee(b"BYE", arrived))
        site.door.answers(site.door.asked(b"BYE"), 200)
        subscriber.gets(200, b"BYE")
        site.idle()
        entry = site.entry()
        assert (entry["answered_by"], entry["result"], entry["ended_by"]) == (NUMBER, "answered", NUMBER)
        assert NUMBER in entry["rang"]


def test_the_caller_speaks_inside_the_dialog_and_hangs_up(gateway: RunningGateway, tmp_path: Path) -> None:
    with carrier(tmp_path) as (kamailio, subscriber), landlines(gateway, kamailio.address) as site:
        sent, arrived, answered = talking(site, subscriber)
        number = sent.cseq[0]
        for step, method in enumerate((b"INFO", b"INVITE", b"UPDATE"), 1):
            site.door.send(site.door.in_dialog(method, answered, sent, cseq=number + step))
            asked = subscriber.asked(method)
            assert asked.cseq[0] == arrived.cseq[0] + step
            if method == b"INVITE":
                site.door.gets(100)
            subscriber.answers(asked, 200)
            assert site.door.gets(200, method).cseq[0] == number + step
            if method == b"INVITE":
                site.door.send(site.door.in_dialog(b"ACK", answered, sent, cseq=number + step))
                assert subscriber.asked(b"ACK").cseq[0] == asked.cseq[0]
        subscriber.send(subscriber.in_dialog_as_callee(b"INFO", arrived))
        site.door.answers(site.door.asked(b"INFO"), 200)
        subscriber.gets(200, b"INFO")
        site.door.send(site.door.in_dialog(b"BYE", answered, sent, cseq=number + 9))
        subscriber.answers(subscriber.asked(b"BYE"), 200)
        site.door.gets(200, b"BYE")
        site.idle()


def test_the_caller_gives_up_while_the_landline_rings(gateway: RunningGateway, tmp_path: Path) -> None:
    with carrier(tmp_path) as (kamailio, subscriber), landlines(gateway, kamailio.address) as site:
        invite, (rung,) = site.door.calls("101", site.monitor)
        arrived = subscriber.asked(b"INVITE")
        subscriber.answers(arrived, 180)
        site.door.gets(180)
        site.monitor.answers(rung, 180)
        site.door.gets(180)
        site.door.send(invite.replace(b"INVITE sip", b"CANCEL sip").replace(b" INVITE\r\n", b" CANCEL\r\n"))
        site.door.gets(200, b"CANCEL")
        for phone, ringing in ((subscriber, arrived), (site.monitor, rung)):
            phone.answers(phone.asked(b"CANCEL"), 200)
            phone.answers(ringing, 487)
            phone.asked(b"ACK")
        site.door.gets(487)
        site.idle()
        assert site.entry()["result"] == "cancelled"


def test_a_wrong_password_is_a_clear_answer_and_no_challenge_for_the_door(gateway: RunningGateway, tmp_path: Path) -> None:
    with carrier(tmp_path) as (kamailio, _), landlines(gateway, kamailio.address, call_type=4) as site:
        gateway.change("PATCH", f"/trunks/{site.trunk}", {"password": "wrong"})
        wait_until("the new password", lambda: site.status()["gateways"][0]["state"] == "up", 5.0)
        _, (rung,) = site.door.calls("101", site.monitor)
        site.monitor.answers(rung, 486)
        site.monitor.asked(b"ACK")
        refused = site.door.next()
        assert isinstance(refused, Response)
        assert refused.status in (486, 500)
        assert not refused.has(b"proxy-authenticate")
        site.idle()


def test_a_dead_first_gateway_gives_way_to_the_second_within_the_ring_time(gateway: RunningGateway, tmp_path: Path) -> None:
    dead = ("127.0.0.1", free_udp_port())
    with carrier(tmp_path) as (kamailio, subscriber), landlines(gateway, dead, kamailio.address) as site:
        _, (rung,) = site.door.calls("101", site.monitor)
        site.monitor.answers(rung, 100)
        arrived = subscriber.asked(b"INVITE")
        subscriber.answers(arrived, 200)
        site.door.gets(200)
        site.monitor.answers(site.monitor.asked(b"CANCEL"), 200)
        site.monitor.answers(rung, 487)
        subscriber.send(subscriber.in_dialog_as_callee(b"BYE", arrived))
        site.door.answers(site.door.asked(b"BYE"), 200)
        site.idle()
        trace = [(one["event"], one["account"], one["reason"]) for one in site.entry()["trace"]]
        assert ("cancelled", NUMBER, "given-up") in trace
        assert trace.count(("invite", NUMBER, "")) == 2
