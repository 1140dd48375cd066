"""Apps that sleep, over real sockets: a real push service is asked, the app comes back on a new connection, and rings once."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.push.http_client import HttpClient
from gateway.push.sender import PushSender
from gateway.push.webhook import Webhook
from registry.logs import CallResult
from registry.ring_plan import RingPlan, Target, TargetKind
from registry.ring_plan import Stage as PlanStage
from sip.message import Request
from tests.sip.test_traps_calls import ack_of, cancel_of
from tests.system.push_service import PushService, push_service
from tests.system.stream_peer import StreamPeer, Streams, stream_gateway

pytestmark = pytest.mark.system
INSTANCE = b"<urn:uuid:00000000-0000-4000-8000-00000000000a>"


class House:
    """A gateway whose user u3 is an app, a door u1, a monitor u2, and the push service that its webhook asks."""

    def __init__(self, site: Streams, service: PushService) -> None:
        self.site, self.service, self.running = site, service, site.running
        self.running.add("u3", kind="app")
        self.sender = PushSender(
            [Webhook(f"{service.url}/wake", b"s" * 16, ("fcm",), HttpClient(ssl.create_default_context()), time.time)],
            told=self.running.service.pushed,
            dead=lambda _account, _prid: None,
            count=lambda *_labels: None,
        )
        self.running.on_push = self.sender.send

    def plan(self, *accounts: str, seconds: int = 20) -> None:
        stage = PlanStage(tuple(Target(TargetKind.ACCOUNT, name) for name in accounts), seconds)
        self.running.plans[("north", "1")] = RingPlan("north", "1", (stage,))

    async def app(self, transport: str) -> StreamPeer:
        """The app on a new connection, registered with its push parameters."""
        peer = await self.site.dial(transport, "u3")
        contact = b'<%b;pn-provider=fcm;pn-prid=the-token>;+sip.instance="%b"' % (peer.phone.contact, INSTANCE)
        data = peer.phone.register(contact=contact, call_id=b"reg-%b" % peer.phone.sent_by.replace(b":", b"-"))
        assert (await peer.answer(await peer.challenged(data))).status == 200
        return peer

    async def falls_asleep(self, peer: StreamPeer) -> None:
        """Its connection is gone, or over UDP its binding's time: what push parameters it gave is all that is left."""
        peer.kill()
        async with asyncio.timeout(2.0):
            while peer._transport != "udp" and self.running.stored["u3"]:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)
        self.running.service.forget_account("u3")


async def dials(caller: StreamPeer, number: bytes = b"1") -> bytes:
    """The door has called, has proven who it is, and has heard its 100. Returns its INVITE."""
    headers = (b"Contact: <" + caller.phone.contact + b">",)
    invite = caller.own(caller.phone.request(b"INVITE", b"sip:%b@gw.test" % number, headers=headers))
    challenge = await caller.answer(invite)
    caller.send(ack_of(invite, challenge))
    invite = caller.phone.with_credentials(invite, challenge)
    caller.send(invite)
    assert (await caller.response()).status == 100
    return invite


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    async with push_service() as service, stream_gateway(folder) as site:
        made = House(site, service)
        try:
            yield made
        finally:
            await made.sender.stop()


async def _door(home: House) -> StreamPeer:
    door = await home.site.dial("tcp", "u1")
    assert (await door.register()).status == 200
    return door


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws", "wss"])
async def test_a_sleeping_app_is_woken_and_answers_on_its_new_connection(tmp_path: Path, transport: str) -> None:
    async with house(tmp_path) as home:
        home.plan("u3")
        await home.falls_asleep(await home.app(transport))
        door = await _door(home)
        await dials(door)
        asked = (await home.service.next()).json
        assert (asked["purpose"], asked["prid"], asked["caller"], asked["dialled"]) == ("call", "the-token", "u1", "1")
        app = await home.app(transport)
        arrived = await app.request()
        assert arrived.method == b"INVITE"
        app.reply(arrived, 180)
        assert (await door.response()).status == 180
        app.reply(arrived, 200)
        answered = await door.response()
        assert answered.status == 200
        door.send(door.phone.in_dialog(b"ACK", answered, arrived))
        assert (await app.request()).method == b"ACK"
        app.send(app.own(app.phone.in_dialog_as_callee(b"BYE", arrived)))
        bye = await door.request()
        assert bye.method == b"BYE"
        door.reply(bye, 200)
        assert (await app.response()).status == 200
        facts = home.running.calls[0].facts
        assert (facts.result, facts.answered_by, facts.woken, facts.missed) == (CallResult.ANSWERED, "u3", ("u3",), ())
        assert [step.event.value for step in facts.trace] == [
            "push", "push-accepted", "registered", "invite", "ringing", "answered",
        ]  # fmt: skip


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_an_app_whose_old_connection_is_half_dead_rings_once_over_its_new_one(tmp_path: Path, transport: str) -> None:
    """The binding is live, and nobody reads its flow any more: a phone in Doze, a NAT that has forgotten the connection."""
    async with house(tmp_path) as home:
        home.plan("u3")
        old = await home.app(transport)
        door = await _door(home)
        await dials(door)
        asked = (await home.service.next()).json
        assert (asked["purpose"], asked["prid"]) == ("call", "the-token")
        assert home.running.stored["u3"], "the old binding is live: this is no app without one"
        app = await home.app(transport)
        arrived = await app.request()
        assert arrived.method == b"INVITE"
        app.reply(arrived, 180)
        assert (await door.response()).status == 180
        app.reply(arrived, 200)
        answered = await door.response()
        assert answered.status == 200
        door.send(door.phone.in_dialog(b"ACK", answered, arrived))
        assert (await app.request()).method == b"ACK"
        app.send(app.own(app.phone.in_dialog_as_callee(b"BYE", arrived)))
        bye = await door.request()
        door.reply(bye, 200)
        assert (await app.response()).status == 200
        facts = home.running.calls[0].facts
        assert (facts.result, facts.answered_by, facts.missed) == (CallResult.ANSWERED, "u3", ())
        assert [step.event.value for step in facts.trace if step.event.value != "push-accepted"] == [
            "invite", "push", "registered", "invite", "cancelled", "ringing", "answered",
        ]  # fmt: skip
        assert [step.reason for step in facts.trace if step.event.value == "cancelled"] == ["moved"]
        # What lay in the old flow is the INVITE alone, and it was not cancelled before a provisional response (9.1).
        assert (await old.request()).method == b"INVITE"
        assert home.service.asked.empty(), "it was awake: no cancel push"


async def test_an_app_that_rings_over_its_connection_is_not_rung_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.plan("u3")
        app = await home.app("tcp")
        door = await _door(home)
        await dials(door)
        assert (await home.service.next()).json["purpose"] == "call"
        arrived = await app.request()
        app.reply(arrived, 180)
        assert (await door.response()).status == 180
        woken = await home.app("tcp")
        assert (await woken.answer(woken.phone.request(b"OPTIONS", b"sip:gw.test"))).status == 200
        app.reply(arrived, 200)
        assert (await door.response()).status == 200


async def test_a_push_service_that_hangs_delays_no_monitor(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.service.answers["/wake"] = None
        home.plan("u3", "u2")
        await home.falls_asleep(await home.app("tls"))
        door, monitor = await _door(home), await home.site.dial("udp", "u2")
        assert (await monitor.register()).status == 200
        await dials(door)
        arrived = await monitor.request()  # before the push service has said a word: it never does
        monitor.reply(arrived, 180)
        assert (await door.response()).status == 180
        assert (await home.service.next()).json["purpose"] == "call"
        monitor.reply(arrived, 200)
        assert (await door.response()).status == 200
        cancel = (await home.service.next()).json
        assert (cancel["purpose"], cancel["reason"], cancel["prid"]) == ("cancel", "answered-elsewhere", "the-token")


async def test_the_caller_leaves_before_the_app_registers(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.plan("u3")
        await home.falls_asleep(await home.app("tcp"))
        door = await _door(home)
        invite = await dials(door)
        assert (await home.service.next()).json["purpose"] == "call"
        door.send(cancel_of(invite))
        assert sorted([(await door.response()).status, (await door.response()).status]) == [200, 487]
        cancel = (await home.service.next()).json
        assert (cancel["purpose"], cancel["reason"]) == ("cancel", "given-up")
        app = await home.app("tcp")
        # What waited for it would have come behind the 200; an OPTIONS is answered next instead.
        assert (await app.answer(app.phone.request(b"OPTIONS", b"sip:gw.test"))).status == 200
        facts = home.running.calls[0].facts
        assert (facts.result, facts.missed) == (CallResult.CANCELLED, ("u3",))


async def test_a_dead_push_service_ends_no_call_that_the_app_can_still_take(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.service.answers["/wake"] = (410, {})
        home.plan("u3")
        await home.falls_asleep(await home.app("tcp"))
        door = await _door(home)
        await dials(door)
        await home.service.next()
        app = await home.app("tcp")  # its owner opened it by hand
        arrived = await app.request()
        assert isinstance(arrived, Request)
        app.reply(arrived, 486)
        assert (await door.response()).status == 486
        facts = home.running.calls[0].facts
        assert ("push-refused", "dead-token") in [(step.event.value, step.reason) for step in facts.trace]
        assert facts.missed == ()
