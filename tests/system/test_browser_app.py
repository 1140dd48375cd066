"""A resident's app in a browser: JsSIP in Chromium over WSS rings, calls, opens the door and comes back by itself, and two such
apps talk with media of their own, through a whole node."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from tests.system.browser_app import Page
from tests.system.browser_home import Home, answered, called, final, loses, plain, running_home, secure
from tests.system.peers import ROOT, needs, wait_until

pytestmark = [pytest.mark.system, needs("chromium", "chromedriver", "npm", "node")]

DOCUMENT = (ROOT / "docs" / "browser-app.md").read_text()
INSTANCE = re.compile(r'\+sip\.instance="<urn:uuid:[^>]+>"')
MEDIA_DEADLINE = 10.0
GOING_AWAY = 1001
"""What RFC 6455 7.4.1 has a server say that stops."""


def block(language: str) -> str:
    """The documentation's one block of code in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def page(home: Home) -> Iterator[Page]:
    with home.registered() as opened:
        yield opened


def test_a_page_of_another_origin_is_not_let_in(home: Home) -> None:
    stranger = home.open(home.origin.replace("localhost", "127.0.0.1"))
    stranger.starts(home.url)
    assert stranger.sees("disconnected")["error"]
    assert stranger.count("connected") == 0
    stranger.script("app.stop()")
    stranger.close()


def test_the_monitor_answers_and_the_page_is_told_that_the_call_was_completed_elsewhere(home: Home, page: Page) -> None:
    invite, (rung,) = called(home.door, "101", plain(), home.monitor)
    assert page.sees("rings")["caller"] == home.door.user
    answered(home.monitor, rung, plain())
    home.door.send(home.door.in_dialog(b"ACK", final(home.door, 200), invite))
    home.monitor.asked(b"ACK")
    ended = page.sees("failed")
    assert ended["cause"] == "Canceled"
    assert 'text="Call completed elsewhere"' in ended["reason"]
    home.monitor.send(home.monitor.in_dialog_as_callee(b"BYE", rung))
    home.door.answers(home.door.asked(b"BYE"), 200)
    home.monitor.gets(200, b"BYE")


def test_a_page_that_cannot_take_a_doors_media_leaves_the_monitor_ringing(home: Home, page: Page) -> None:
    invite, (rung,) = called(home.door, "101", plain(), home.monitor)
    page.sees("rings")
    page.script("app.answer()")
    assert page.sees("failed")["cause"] == "WebRTC Error"
    answered(home.monitor, rung, plain())
    ok = final(home.door, 200)
    home.door.send(home.door.in_dialog(b"ACK", ok, invite))
    home.monitor.asked(b"ACK")
    home.door.send(home.door.in_dialog(b"BYE", ok, invite))
    home.monitor.answers(home.monitor.asked(b"BYE"), 200)
    home.door.gets(200, b"BYE")


def test_the_page_answers_opens_the_door_and_hangs_up(home: Home, page: Page) -> None:
    invite, (rung,) = called(home.door, "101", secure(b"actpass"), home.monitor)
    home.monitor.answers(rung, 180)
    page.sees("rings")
    page.script("app.answer()")
    ok = final(home.door, 200)
    assert b"a=setup:active" in ok.body
    loses(home.monitor, rung)
    home.door.send(home.door.in_dialog(b"ACK", ok, invite))
    page.sees("confirmed")
    page.script("app.press('#')")
    info = home.door.asked(b"INFO")
    assert info.get(b"content-type") == b"application/dtmf-relay"
    assert info.body.startswith(b"Signal=#\r\n")
    home.door.answers(info, 200)
    page.script("app.hangUp()")
    home.door.answers(home.door.asked(b"BYE"), 200)
    assert page.sees("ended")["originator"] == "local"


def test_the_page_calls_the_monitor_which_hangs_up(home: Home, page: Page) -> None:
    page.script("app.dial(arguments[0])", home.monitor.user)
    rung = home.monitor.asked(b"INVITE")
    assert rung.body.decode() == page.sdp("local offer")
    home.monitor.answers(rung, 180)
    page.sees("progress")
    answered(home.monitor, rung, secure(b"active"))
    page.sees("confirmed")
    home.monitor.asked(b"ACK")
    home.monitor.send(home.monitor.in_dialog_as_callee(b"BYE", rung))
    home.monitor.gets(200, b"BYE")
    assert page.sees("ended")["originator"] == "remote"


def test_the_page_calls_and_gives_up(home: Home, page: Page) -> None:
    page.script("app.dial(arguments[0])", home.monitor.user)
    rung = home.monitor.asked(b"INVITE")
    home.monitor.answers(rung, 180)
    page.sees("progress")
    page.script("app.hangUp()")
    loses(home.monitor, rung)
    assert page.sees("failed")["originator"] == "local"


def test_a_page_that_was_reloaded_is_the_same_phone_and_rings_once(home: Home, page: Page) -> None:
    before = page.script("return app.events.find((event) => event[0] === 'registered')[1].contact")
    page.reloads()
    after = page.sees("registered")["contact"]
    # The contact is another, the phone is not, and there is one only.
    assert after.partition(";")[0] != before.partition(";")[0]
    assert INSTANCE.findall(after) == INSTANCE.findall(before)
    rings_once(home, page)


def test_a_page_finds_back_to_a_gateway_that_was_restarted(home: Home, page: Page) -> None:
    home.gateway.stop()
    assert page.sees("disconnected")["code"] == GOING_AWAY
    home.gateway.start()
    page.sees("registered")
    rings_once(home, page)


def test_the_example_of_the_documentation_registers_and_answers(home: Home) -> None:
    page = home.open()
    example = block("js").replace("wss://gw.example:5067", home.url).replace("gw.example", "gw.test")
    example = example.replace("ACCOUNT", page.account).replace("PASSWORD", page.password)
    page.script("document.body.innerHTML = '<button id=answerButton>'")
    page.script(example + "await new Promise((resolve) => agent.on('registered', resolve));")
    invite, (rung,) = called(home.door, "101", secure(b"actpass"), home.monitor)
    home.monitor.answers(rung, 180)
    for _ in range(2):
        home.door.gets(180)
    page.script("answerButton.click()")
    ok = final(home.door, 200)
    loses(home.monitor, rung)
    home.door.send(home.door.in_dialog(b"ACK", ok, invite))
    home.door.send(home.door.in_dialog(b"BYE", ok, invite))
    home.door.gets(200, b"BYE")
    page.close()


def test_the_configuration_of_the_documentation_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "portico.toml"
    file.write_text(block("toml"))
    assert main(["check-config", "--config", str(file)]) == 0


def rings_once(home: Home, page: Page) -> None:
    """The door calls 101 and gives up: monitor and page have rung once, and have stopped."""
    invite, (rung,) = called(home.door, "101", plain(), home.monitor)
    page.sees("rings")
    home.monitor.answers(rung, 180)
    home.door.gets(180)
    home.door.gets(180)
    call_id, cseq = invite.call_id, invite.cseq[0]
    cancel = home.door.request(b"CANCEL", invite.uri, tag=invite.from_tag, call_id=call_id, cseq=cseq, branch=invite.branch)
    home.door.send(cancel)
    home.door.gets(200, b"CANCEL")
    loses(home.monitor, rung)
    page.sees("failed")
    final(home.door, 487)
    assert page.count("rings") == 1


def test_two_pages_talk_with_media_of_their_own(home: Home, page: Page) -> None:
    neighbour = home.open_neighbours()
    neighbour.starts(home.url)
    neighbour.sees("registered")
    neighbour.script("app.dial('101')")
    home.monitor.answers(home.monitor.asked(b"INVITE"), 486)
    home.monitor.asked(b"ACK")
    page.sees("rings")
    page.script("app.answer()")
    for one in (page, neighbour):
        one.sees("confirmed")
    # Not an octet of either SDP is ours: ICE candidates, keys and all.
    assert page.sdp("remote offer") == neighbour.sdp("local offer")
    assert neighbour.sdp("remote answer") == page.sdp("local answer")
    for one in (page, neighbour):
        wait_until("sound from the other page", one.hears, MEDIA_DEADLINE)
    neighbour.script("app.hangUp()")
    assert page.sees("ended")["originator"] == "remote"
    neighbour.script("app.stop()")
    neighbour.close()
