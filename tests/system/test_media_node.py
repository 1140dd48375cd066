"""Media through a whole node: its configuration, its log line and its metrics when the relay has no port left."""

import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sip.message import Request, Response
from sip.parser import parse
from sip.sdp import parse_sdp
from tests.sip.media.stage import AUDIO, sdp
from tests.sip.media_calls import TYPE, TYPED
from tests.system.fleet import add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config
from tests.system.udp_phone import House

pytestmark = pytest.mark.system
FIRST, LAST = 21_900, 21_903
"""One audio call takes four ports."""
MEDIA = f'[sip]\ndomains = ["gw.test"]\n[media]\nengine = "relay"\nrelay = "always"\nfirst_port = {FIRST}\nlast_port = {LAST}\n'
SDP = sdp("127.0.0.1", (AUDIO, 40_000))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        gateway = stack.enter_context(RunningGateway(tmp_path, loopback_config(more=MEDIA)))
        house = House(gateway, add_devices(gateway, add_site(gateway, "Media"), 4, first=0x700))
        stack.callback(house.close)
        yield house


def metrics(house: House) -> str:
    host, port = house.gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def ports(message: Request | Response) -> list[int]:
    return [one.port for one in parse_sdp(message.body).media]


def test_a_call_is_relayed_and_one_too_many_is_503_with_one_log_line(house: House) -> None:
    caller, callee = house.pair()
    other, target = house.pair()
    invite = caller.invite_to(callee.user, TYPE, body=SDP)
    caller.send(invite)
    caller.gets(100)
    arrived = callee.asked(b"INVITE")
    assert FIRST <= ports(arrived)[0] <= LAST
    callee.send(callee.reply(arrived, 200, headers=TYPED, body=SDP))
    final = caller.gets(200)
    assert FIRST <= ports(final)[0] <= LAST
    assert ports(final) != ports(arrived)
    assert "portico_media_free_port_pairs 0.0" in metrics(house)

    for _ in range(3):
        other.send(other.invite_to(target.user, TYPE, body=SDP))
        other.gets(100)
        assert other.gets(503).to_tag
    assert 'portico_media_failed_total{reason="ports used up"} 3.0' in metrics(house)
    lines = [line for line in house.gateway.log_lines() if "no free port" in str(line)]
    assert len(lines) == 1
    assert f"{FIRST}-{LAST}" in str(lines[0])

    request = parse(invite)
    assert isinstance(request, Request)
    caller.send(caller.in_dialog(b"BYE", final, request))
    callee.asked(b"BYE")
    assert "portico_media_free_port_pairs 2.0" in metrics(house)
    # A call without SDP needs no port and no engine.
    other.send(other.invite_to(target.user))
    other.gets(100)
    assert target.asked(b"INVITE").body == b""
