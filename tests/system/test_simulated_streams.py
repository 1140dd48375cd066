"""Simulated devices on TCP and TLS: they register, call each other, and come back by themselves when their connection is cut."""

import asyncio
import os
from pathlib import Path
from typing import TypeVar

import pytest

from simulators.agent_events import REMOTE, AgentEvent, Answered, Ended, IncomingCall, Refreshed, Registered
from simulators.line import SipAccount
from simulators.sip_endpoint import SipEndpoint
from tests.system.stream_peer import Streams, stream_gateway

E = TypeVar("E")
pytestmark = pytest.mark.system


class Phone:
    """An endpoint and what it told."""

    def __init__(self, site: Streams, user: str, transport: str) -> None:
        self.told: asyncio.Queue[AgentEvent] = asyncio.Queue()
        host, port = site.addresses[transport]
        self.endpoint = SipEndpoint(
            SipAccount(user, "secret", host, port, user, 300, transport),
            entropy=os.urandom,
            on_event=self.told.put_nowait,
            user_agent="Test 1.0",
            tls=site.client_tls,
        )

    async def next(self, kind: type[E]) -> E:
        async with asyncio.timeout(10):
            while not isinstance(event := await self.told.get(), kind):
                pass
        return event


@pytest.mark.parametrize(("here", "there"), [("tcp", "tls"), ("tls", "udp"), ("udp", "tcp")])
async def test_they_call_and_come_back_after_a_cut(tmp_path: Path, here: str, there: str) -> None:
    async with stream_gateway(tmp_path) as site:
        caller, callee = Phone(site, "u1", here), Phone(site, "u2", there)
        for phone in (caller, callee):
            await phone.endpoint.start()
            await phone.next(Registered)
        await _call(caller, callee)
        await site.running.service._streams.close_all()
        for phone in (caller, callee):
            if phone.endpoint.account.transport != "udp":
                await phone.next(Refreshed)
        await _call(callee, caller)
        await asyncio.gather(caller.endpoint.stop(), callee.endpoint.stop())
        assert site.running.stored == {"u1": (), "u2": ()}


async def test_a_device_waits_for_a_gateway_that_is_not_there_yet(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        host, port = site.addresses["tcp"]
        await site.acceptors["tcp"].stop()
        phone = Phone(site, "u1", "tcp")
        await phone.endpoint.start()
        await site.acceptors["tcp"].start(host, port)
        await phone.next(Registered)
        await phone.endpoint.stop()


async def _call(caller: Phone, callee: Phone) -> None:
    call = caller.endpoint.dial(callee.endpoint.account.username)
    incoming = await callee.next(IncomingCall)
    callee.endpoint.do(lambda now: callee.endpoint.agent.answer(incoming.call, now))
    await callee.next(Answered)
    callee.endpoint.do(lambda now: callee.endpoint.agent.hang_up(call, now))
    await callee.next(Ended)
    ended = await caller.next(Ended)
    assert (ended.call, ended.by) == (call, REMOTE)
