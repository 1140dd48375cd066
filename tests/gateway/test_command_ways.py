"""The ways of commands: which one is taken, what is said on the wire, and what the answers mean."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.command_ways import CommandWays, Said
from registry.command_states import Event, sent
from registry.commands import MAX_LOG, Command, CommandName, CommandWay
from registry.mac import MacAddress
from registry.records import Device, DeviceKind
from tests.gateway.command_world import device_record
from tests.registry.test_command_states import command
from tunnel.errors import LinkDown
from tunnel.messages import Result

N = CommandName
MAC = MacAddress("0C1105000001")
MONITOR = replace(device_record(MAC), model="C313", kind=DeviceKind.INDOOR_MONITOR)


class Link:
    """A channel or connector that answers what the test lays out."""

    def __init__(self, way: str = "channel", answer: Any = None) -> None:
        self.way = way
        self.answer = answer
        self.asked: list[tuple[str, Mapping[str, Any], float, bytes]] = []

    async def call(self, name: str, body: Mapping[str, Any], deadline: float, call_id: bytes = b"") -> Result:
        self.asked.append((name, body, deadline, call_id))
        await asyncio.sleep(0)
        answer = self.answer(body) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return Result(call_id, *answer)


def ways(link: Link | None = None, status: int = 200, registered: bool = False) -> tuple[CommandWays, list[tuple[str, str]]]:
    notified: list[tuple[str, str]] = []

    async def notify(account: str, event: str) -> int:
        notified.append((account, event))
        return status

    return CommandWays(lambda _mac: link, notify, lambda _account: registered), notified


async def send(link: Link, made: Command, device: Device | None = None, seconds: float = 100.0) -> Said | None:
    way = ways(link)[0].best(made, device or device_record(MAC))
    assert way is not None
    return await way.send(made, device or device_record(MAC), seconds)


@pytest.mark.parametrize("name", N)
def test_the_channel_takes_everything(name: CommandName) -> None:
    way = ways(Link(), registered=True)[0].best(command(name), MONITOR)
    assert way is not None
    assert way.kind is CommandWay.CHANNEL


@pytest.mark.parametrize("name", N)
def test_a_connector_takes_what_the_local_api_has_and_sip_what_check_sync_is(name: CommandName) -> None:
    way = ways(Link("connector"), registered=True)[0].best(command(name), MONITOR)
    alone = ways(registered=True)[0].best(command(name), MONITOR)
    by_connector = name in (N.REBOOT, N.RESET, N.OPEN_RELAY)
    by_sip = name in (N.REBOOT, N.PROVISION, N.TRANSMISSION, N.UPGRADE)
    assert (way and way.kind) == (CommandWay.CONNECTOR if by_connector else CommandWay.SIP if by_sip else None)
    assert (alone and alone.kind) == (CommandWay.SIP if by_sip else None)


def test_sip_only_where_the_catalogue_says_so_and_the_device_is_registered() -> None:
    assert ways(registered=False)[0].best(command(), MONITOR) is None
    for model in ("R29", "PORTICO-SIM-DOOR", "UNHEARD-OF"):
        assert ways(registered=True)[0].best(command(), replace(MONITOR, model=model)) is None


def test_what_was_begun_on_the_channel_does_not_go_on_by_another_way() -> None:
    begun = sent(command(N.REBOOT), CommandWay.CHANNEL, "n", 1.0)
    assert ways(Link("connector"), registered=True)[0].best(begun, MONITOR) is None
    assert ways(Link("channel"), registered=True)[0].best(begun, MONITOR) is not None


@pytest.mark.parametrize(
    ("made", "name", "body", "seconds"),
    [
        (command(N.REBOOT), "reboot", {}, 10.0),
        (command(N.UPGRADE), "provision", {}, 10.0),
        (command(N.TRANSMISSION, transmission="tls"), "provision", {}, 10.0),
        (command(N.LOCKDOWN, on=True), "lockdown", {"on": True}, 3.0),
    ],
)
async def test_what_is_said_on_the_wire(made: Command, name: str, body: dict[str, Any], seconds: float) -> None:
    link = Link(answer=(True, {}))
    assert await send(link, made) == Said(Event.DONE, "done")
    assert link.asked == [(name, body, seconds, made.call_id)]
    await send(link, made, seconds=1.5)
    assert link.asked[-1][2] == 1.5


async def test_an_opening_names_the_command_and_must_say_opened() -> None:
    made = command(N.OPEN_RELAY, relay=2, created_by="token:a")
    link = Link(answer=(True, {"opened": True}))
    assert await send(link, made) == Said(Event.DONE, "opened")
    assert link.asked[0][1] == {"relay": 2, "method": "command", "by": "token:a", "call_id": "", "command": made.id}
    assert await send(Link(answer=(True, {})), made) == Said(Event.REFUSED, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((False, {"error": "jammed"}), Said(Event.REFUSED, "jammed")),
        ((False, {"error": "x" * 100}), Said(Event.REFUSED, "x" * 64)),
        ((False, {"error": "a\nb"}), Said(Event.REFUSED, "")),
        ((False, {"error": 7}), Said(Event.REFUSED, "")),
        ((False, {"error": "interrupted"}), Said(Event.REFUSED, "interrupted: it may or may not have been done")),
        (LinkDown("gone"), None),
        (TimeoutError(), None),
    ],
)
async def test_what_answers_mean(answer: Any, said: Said | None) -> None:
    assert await send(Link(answer=answer), command(N.REBOOT)) == said


async def test_a_log_comes_in_pieces_of_which_each_has_an_id_of_its_own() -> None:
    text = b"0123456789" * 1000

    def piece(body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        part = text[body["offset"] : body["offset"] + 4096]
        return True, {"text": part, "more": body["offset"] + len(part) < len(text)}

    link, made = Link(answer=piece), command(N.COLLECT_LOG)
    assert await send(link, made) == Said(Event.DONE, "10000 bytes", text)
    ids = [call_id for _, _, _, call_id in link.asked]
    assert (ids[0], len(set(ids)), [len(one) for one in ids]) == (made.call_id, 3, [16, 16, 16])
    again = Link(answer=piece)
    await send(again, made)
    assert [call_id for _, _, _, call_id in again.asked] == ids


async def test_a_log_without_end_is_cut_and_one_that_is_none_is_refused() -> None:
    made = command(N.COLLECT_LOG)
    said = await send(Link(answer=(True, {"text": b"x" * 4096, "more": True})), made)
    assert said is not None
    assert (said.event, len(said.log), said.word) == (Event.DONE, MAX_LOG, f"{MAX_LOG} bytes, and there was more")
    for body in ({"text": "text", "more": False}, {"text": b"a"}, {"text": b"", "more": True}):
        assert await send(Link(answer=(True, body)), made) == Said(Event.REFUSED, "a malformed answer")
    assert await send(Link(answer=(False, {"error": "failed"})), made) == Said(Event.REFUSED, "failed")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, Said(Event.ACCEPTED, "the device answered 200")),
        (202, Said(Event.ACCEPTED, "the device answered 202")),
        (401, Said(Event.REFUSED, "the device answered 401")),
        (489, Said(Event.REFUSED, "the device answered 489")),
        (408, None),
        (430, None),
        (480, Said(Event.NOT_SENT)),
    ],
)
async def test_over_sip_nothing_is_claimed(status: int, said: Said | None) -> None:
    found, notified = ways(status=status, registered=True)
    for name, event in ((N.PROVISION, "check-sync"), (N.REBOOT, "check-sync;reboot=true")):
        way = found.best(command(name), MONITOR)
        assert way is not None
        assert await way.send(command(name), MONITOR, 5.0) == said
        assert notified.pop() == (MONITOR.account, event)
