"""Each flow of a call, with SIPp as both phones and a whole gateway between them; the caller on UDP and on TCP.

A scenario is joined from files in `sipp/parts/`. What a phone received is read from SIPp's message log, so that "passes
unchanged" is judged on bytes.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from sip.message import Request
from sip.parser import parse
from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.peers import RunningGateway, free_tcp_port, free_udp_port, needs
from tests.system.sipp_load import Sipp, SipUser, joined, register
from tests.system.udp_phone import CONFIG, House

pytestmark = [needs("sipp"), pytest.mark.system]
PROBE = 'x-PROBE:   odd ; "form" ,, =1'
"""A header line of no meaning in a form nobody writes: whatever rewrites headers shows here."""
ELSEWHERE = 'Reason: SIP;cause=200;text="Call completed elsewhere"'
DEADLINE = 8.0
"""Seconds for one call, all of it."""
_FIRST = count(0x100, 0x10)


class Phones:
    """A caller and its callees, all SIPp, on accounts of one site."""

    def __init__(self, gateway: RunningGateway, folder: Path, transport: str) -> None:
        self.gateway, self.folder, self.transport = gateway, folder, transport
        self.site = add_site(gateway, "Flows")
        self.caller, self.account = add_devices(gateway, self.site, 2, first=next(_FIRST))
        self._open = ExitStack()
        self._callees: list[tuple[Sipp, Path]] = []

    def callee(self, device: AddedDevice, *parts: str) -> None:
        """Register a device over UDP and let it act these parts."""
        port = free_udp_port()
        user = SipUser(device.username, device.password, "")
        assert register(self.gateway.address("sip_udp"), self.folder, [user], port).successful == 1
        log = self.folder / f"callee-{port}.messages"
        scenario = joined(self.folder, *parts)
        sipp = Sipp(scenario, self.folder, calls=1, local_port=port, options=("-trace_msg", "-message_file", str(log)))
        self._callees.append((self._open.enter_context(sipp), log))

    def call(self, target: str, *parts: str) -> tuple[list[str], list[list[str]]]:
        """Play the caller's parts against `target`; every SIPp must be content. What (the caller, each callee) received."""
        tcp = self.transport == "tcp"
        log = self.folder / "caller.messages"
        words = ["-t", "t1"] if tcp else []
        sipp = Sipp(
            joined(self.folder, *parts),
            self.folder,
            calls=1,
            remote=self.gateway.address(f"sip_{self.transport}"),
            local_port=free_tcp_port() if tcp else free_udp_port(),
            users=[SipUser(self.caller.username, self.caller.password, target)],
            options=(*words, "-trace_msg", "-message_file", str(log)),
        )
        with sipp:
            results = [sipp.result(DEADLINE), *(one.result(DEADLINE) for one, _ in self._callees)]
        for result in results:
            assert (result.exit_code, result.successful, result.failed, result.unexpected) == (0, 1, 0, 0), result.said
        self.gateway.assert_quiet()
        return received(log), [received(one) for _, one in self._callees]

    def close(self) -> None:
        self._open.close()


def received(log: Path) -> list[str]:
    """The messages that a SIPp received, from its message log."""
    pieces = re.split(r"^-{20,} .*$", log.read_text(), flags=re.MULTILINE)
    heads = [piece.lstrip().partition("\n") for piece in pieces]
    return [text.lstrip("\n") for head, _, text in heads if "message received" in head]


def the(method: str, messages: list[str]) -> str:
    """The one request of this method among them."""
    found = [one for one in messages if one.startswith(method + " ")]
    assert found, f"no {method} among {[one.partition(chr(10))[0] for one in messages]}"
    return found[0]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway"), CONFIG) as running:
        yield running


@pytest.fixture(params=("udp", "tcp"))
def phones(request: pytest.FixtureRequest, gateway: RunningGateway, tmp_path: Path) -> Iterator[Phones]:
    made = Phones(gateway, tmp_path, request.param)
    yield made
    made.close()


def test_the_caller_gives_up_while_it_rings(phones: Phones) -> None:
    phones.callee(phones.account, "uas_rings")
    _, (heard,) = phones.call(phones.account.username, "uac_invites", "uac_cancels")
    assert "Reason:" not in the("CANCEL", heard)


def test_the_callee_is_busy(phones: Phones) -> None:
    phones.callee(phones.account, "uas_busy")
    phones.call(phones.account.username, "uac_invites", "uac_busy")


def test_one_of_two_monitors_answers_a_users_number(phones: Phones) -> None:
    """The ring plan of a user rings both; the one that does not answer is told why it stops (trap 10)."""
    user = phones.gateway.ask("POST", "/users", {"site": phones.site, "first_name": "Ada", "last_name": "L", "number": "101"})[
        "id"
    ]
    for number, part in enumerate(("uas_rings", "uas_answers_later")):
        phones.callee(_monitor(phones, user, number), part)
    _, (rang, answered) = phones.call("101", "uac_invites", "uac_hangs_up")
    assert ELSEWHERE in the("CANCEL", rang).splitlines()
    assert the("BYE", answered)


def _monitor(phones: Phones, user: str, number: int) -> AddedDevice:
    gateway, site = phones.gateway, phones.site
    mac = f"0C1106{next(_FIRST) + number:06X}"
    gateway.ask("POST", "/mac-library", {"items": [{"mac": mac, "site": site}]})
    body = {"site": site, "kind": 2, "model": "C313", "name": f"Monitor {number}", "owner": user}
    added = gateway.ask("PUT", f"/devices/{mac}", body)
    return AddedDevice(mac, added["account"]["username"], added["account"]["password"], added["autop_url"])


def test_requests_inside_a_call_pass_unchanged(phones: Phones) -> None:
    """PRACK, UPDATE, re-INVITE, INFO, MESSAGE, REFER and NOTIFY: in both directions, and their answers, by the bytes."""
    phones.callee(phones.account, "uas_everything")
    answers, (asked,) = phones.call(phones.account.username, "uac_invites", "uac_everything")
    methods = [one.partition(" ")[0] for one in asked if not one.startswith("SIP/2.0")]
    assert methods == ["INVITE", "PRACK", "UPDATE", "ACK", "INVITE", "ACK", "INFO", "MESSAGE", "REFER", "BYE"]
    assert [one for one in asked if PROBE not in one.splitlines()] == []
    ours = ("SIP/2.0 100", "SIP/2.0 407")
    assert [one for one in answers if not one.startswith(ours) and PROBE not in one.splitlines()] == []
    assert the("NOTIFY", answers).rstrip("\n").endswith("\n\nSIP/2.0 200 OK")
    assert the("INFO", asked).rstrip("\n").endswith("\n\nSignal=1\nDuration=160")
    assert the("MESSAGE", asked).rstrip("\n").endswith("\n\nThe gate: ouvert; naïve.")
    assert "RAck: 731 2 INVITE" in the("PRACK", asked).splitlines()


@pytest.mark.parametrize(("here", "there"), [("uac_message", "uas_message"), ("uac_subscribes", "uas_subscribed")])
def test_requests_outside_a_call_pass_unchanged(phones: Phones, here: str, there: str) -> None:
    phones.callee(phones.account, there)
    answers, (asked,) = phones.call(phones.account.username, here)
    assert len(asked) == (1 if here == "uac_message" else 3)
    assert [one for one in asked if PROBE not in one.splitlines()] == []
    assert [one for one in answers if not one.startswith("SIP/2.0 407") and PROBE not in one.splitlines()] == []


def test_a_200_that_crosses_its_cancel(gateway: RunningGateway) -> None:
    """The late second 200 (KAM#570): the caller can acknowledge and end that call too. Raw sockets, as SIPp has one dialog."""
    house = House(gateway, add_devices(gateway, add_site(gateway, "Late"), 2, first=next(_FIRST)))
    try:
        caller, (one, two) = house.fork("D", "E")
        invite, arrived = caller.calls(one.user, one, two)
        sent = parse(invite)
        assert isinstance(sent, Request)
        for phone, request in zip((one, two), arrived, strict=True):
            phone.answers(request, 180)
            caller.gets(180)
        one.answers(arrived[0], 200)
        finals = [caller.gets(200)]
        cancel = two.asked(b"CANCEL")
        two.answers(arrived[1], 200)
        finals.append(caller.gets(200))
        two.answers(cancel, 200)
        assert [final.to_tag for final in finals] == [b"tag-D", b"tag-E"]
        for phone, final in zip((one, two), finals, strict=True):
            caller.send(caller.in_dialog(b"ACK", final, sent))
            assert phone.asked(b"ACK").to_tag == final.to_tag
            caller.send(caller.in_dialog(b"BYE", final, sent))
            phone.answers(phone.asked(b"BYE"), 200)
            caller.gets(200, b"BYE")
    finally:
        house.close()
