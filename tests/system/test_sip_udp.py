"""The SIP service over real UDP sockets, met by SIPp and by raw sockets."""

import asyncio
from pathlib import Path

import pytest

from tests.system.peers import free_udp_port, needs
from tests.system.sip_gateway import gateway
from tests.system.sipp_load import SipUser, call, register

pytestmark = pytest.mark.system
USERS = 200


@needs("sipp")
async def test_sipp_registers_200_users_and_makes_200_calls(tmp_path: Path) -> None:
    users = [SipUser(f"u{n}", "secret", f"u{(n + 1) % USERS}") for n in range(USERS)]
    async with gateway() as (running, address):
        for user in users:
            running.add(user.username)
        port = free_udp_port()
        registered = await asyncio.to_thread(register, address, tmp_path, users, port)
        assert (registered.successful, registered.failed) == (USERS, 0), registered.said
        assert len(running.stored) == running.core.census().bindings == USERS
        made, answered = await asyncio.to_thread(call, address, tmp_path, users, port, calls=USERS)
        assert (made.successful, made.failed, made.unexpected) == (USERS, 0, 0), made.said
        assert (answered.successful, answered.failed) == (USERS, 0), answered.said
        assert {one.facts.answered_by for one in running.calls} == {user.username for user in users}
        assert len(running.calls) == USERS
        assert running.malformed == []
