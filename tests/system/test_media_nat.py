"""Phones behind different NATs, all with the same private address: only a relay that learns where they are lets them talk."""

import asyncio
from pathlib import Path

import pytest

from sip.media_rule import MediaRule
from sip.message import Request, Response
from sip.net.rtp import RelayAddress, RtpRelay
from sip.parser import parse
from sip.sdp import MediaLine, parse_sdp
from tests.sip.media.stage import AUDIO, VIDEO, rtp, sdp
from tests.sip.media_calls import TYPE, TYPED
from tests.system.media_gateway import media_gateway
from tests.system.media_site import End
from tests.system.nat import PRIVATE, Nat, nats
from tests.system.stream_peer import DatagramPeer

pytestmark = pytest.mark.system


class NattedPhone:
    """A phone in one of the networks: signalling, audio and video, and the addresses it was told to send to."""

    def __init__(self, nat: Nat, gateway: tuple[str, int], user: str) -> None:
        with nat.inside():
            self.sip = DatagramPeer(gateway, user)
            self.audio, self.video = End(PRIVATE), End(PRIVATE)
        self.told: list[MediaLine] = []
        self.invite: Request | None = None

    def sdp(self) -> bytes:
        return sdp(PRIVATE, (AUDIO, self.audio.port), (VIDEO, self.video.port))

    def hears(self, body: bytes) -> None:
        self.told = parse_sdp(body).media

    def say(self, index: int, text: bytes) -> None:
        line = self.told[index]
        (self.audio, self.video)[index].send(rtp(text), (line.host, line.port))

    async def rings(self) -> None:
        """Its INVITE has come."""
        self.invite = await self.sip.request()
        self.hears(self.invite.body)

    def answer(self, status: int, body: bytes = b"") -> None:
        assert self.invite is not None
        self.sip.send(self.sip.phone.reply(self.invite, status, headers=TYPED if body else (), body=body))

    async def final(self) -> Response:
        while (response := await self.sip.response()).status < 200:
            if response.body:
                self.hears(response.body)
        if response.body:
            self.hears(response.body)
        return response

    def close(self) -> None:
        self.audio.close()
        self.video.close()
        self.sip.kill()


async def heard(end: End, text: bytes) -> None:
    """This packet arrives; others before it are passed over."""
    async with asyncio.timeout(5):
        while await end.receive() != rtp(text):
            pass


async def test_the_visitor_is_seen_behind_every_nat_before_the_answer_and_both_talk_after_it() -> None:
    with nats(3) as (host, networks):
        async with media_gateway(
            lambda told: RtpRelay([RelayAddress(host, host)], (22_200, 22_299), told), MediaRule(), host
        ) as (running, address, engine):
            assert isinstance(engine, RtpRelay)
            phones = [NattedPhone(nat, address, f"u{number}") for number, nat in enumerate(networks, 1)]
            door, first, second = phones
            try:
                for phone, user in zip(phones, ("u1", "u2", "u2"), strict=True):
                    running.add(user)
                    phone.sip.phone.user = user
                    assert phone.sip.phone.flow.host == PRIVATE
                    assert (await phone.sip.register()).status == 200
                assert {one.flow.split(":")[2] for one in running.stored["u2"]} == {networks[1].public, networks[2].public}
                contact = b"Contact: <" + door.sip.phone.contact + b">"
                data = door.sip.phone.request(b"INVITE", b"sip:u2@gw.test", headers=(contact, TYPE), body=door.sdp())
                invite = await door.sip.challenged(data)
                door.sip.send(invite)
                await asyncio.gather(first.rings(), second.rings())
                # Both ring with early media: each opens its own NAT by sending first, as real phones do.
                for phone in (first, second):
                    phone.answer(183, phone.sdp())
                    phone.say(1, b"hole")
                while (early := await door.sip.response()).status < 183:
                    pass
                door.hears(early.body)
                assert door.told[1].host == host

                async def show() -> None:
                    while True:
                        door.say(1, b"picture")
                        await asyncio.sleep(0.05)

                showing = asyncio.ensure_future(show())
                try:
                    await asyncio.gather(heard(first.video, b"picture"), heard(second.video, b"picture"))
                finally:
                    showing.cancel()
                first.answer(200, first.sdp())
                assert (await door.final()).status == 200
                for _ in range(5):
                    door.say(0, b"who is it")
                    first.say(0, b"come in")
                await asyncio.gather(heard(door.audio, b"come in"), heard(first.audio, b"who is it"))
                # The one that did not answer is cancelled, and has no ports any more.
                assert (await second.sip.request()).method == b"CANCEL"
                assert engine.free_pairs == 50 - 4
                request = parse(invite)
                assert isinstance(request, Request)
                assert first.invite is not None
                first.sip.send(first.sip.phone.in_dialog_as_callee(b"BYE", first.invite))
                assert (await door.sip.request()).method == b"BYE"
                assert (engine.calls, engine.free_pairs) == (0, 50)
            finally:
                for phone in phones:
                    phone.close()


async def test_neighbours_behind_one_nat_are_left_alone(tmp_path: Path) -> None:
    with nats(1) as (host, (network,)):
        async with media_gateway(
            lambda told: RtpRelay([RelayAddress(host, host)], (22_200, 22_299), told), MediaRule(), host
        ) as (running, address, engine):
            phones = [NattedPhone(network, address, user) for user in ("u1", "u2")]
            door, monitor = phones
            try:
                for phone in phones:
                    running.add(phone.sip.phone.user)
                    assert (await phone.sip.register()).status == 200
                contact = b"Contact: <" + door.sip.phone.contact + b">"
                data = door.sip.phone.request(b"INVITE", b"sip:u2@gw.test", headers=(contact, TYPE), body=door.sdp())
                door.sip.send(await door.sip.challenged(data))
                await monitor.rings()
                monitor.answer(200, monitor.sdp())
                await door.final()
                door.say(0, b"hello")
                await heard(monitor.audio, b"hello")
                assert isinstance(engine, RtpRelay)
                assert engine.calls == 0
            finally:
                for phone in phones:
                    phone.close()
