"""baresip, a real SIP phone: it registers over UDP, TCP and TLS, and any of the three calls any other through the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from pathlib import Path

import pytest

from tests.system.baresip import Baresip, baresip_in
from tests.system.peers import free_tcp_port, needs
from tests.system.stream_peer import Streams, stream_gateway

pytestmark = [pytest.mark.system, needs("baresip")]
USERS = {"u1": "udp", "u2": "tcp", "u3": "tls"}
_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:0
sip_cafile {ca}
sip_verify_server yes
net_interface 127.0.0.1
call_local_timeout 30
call_max_calls 4
audio_player aubridge,{user}
audio_source aubridge,{user}
audio_alert aubridge,{user}
ctrl_tcp_listen 127.0.0.1:{control}
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
"""


def _folder(site: Streams, user: str, control: int, parent: Path) -> Path:
    """baresip's configuration: one account, answering by itself."""
    folder = parent / user
    folder.mkdir()
    transport = USERS[user]
    host, port = site.addresses[transport]
    account = f"<sip:{user}@{host}:{port};transport={transport}>;auth_pass=secret;answermode=auto;regint=120\n"
    (folder / "accounts").write_text(account)
    (folder / "contacts").write_text("")
    (folder / "config").write_text(_CONFIG.format(ca=site.tls.ca, user=user, control=control))
    return folder


@asynccontextmanager
async def baresip(site: Streams, user: str, parent: Path) -> AsyncIterator[Baresip]:
    """A running baresip, which answers calls by itself."""
    control = free_tcp_port()
    async with baresip_in(_folder(site, user, control, parent), control) as phone:
        yield phone


async def _registered(site: Streams) -> None:
    async with asyncio.timeout(10):
        while not all(site.running.stored.get(user) for user in USERS):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def test_baresip_over_udp_tcp_and_tls_calls_each_other(tmp_path: Path) -> None:
    async with (
        stream_gateway(tmp_path / "tls") as site,
        baresip(site, "u1", tmp_path) as first,
        baresip(site, "u2", tmp_path) as second,
        baresip(site, "u3", tmp_path) as third,
    ):
        await _registered(site)
        for user, transport in USERS.items():
            assert site.running.stored[user][0].flow.startswith(f"{transport}:")
        phones = {"u1": first, "u2": second, "u3": third}
        pairs = list(permutations(phones, 2))
        for number, (caller, callee) in enumerate(pairs, 1):
            phones[caller].tell("dial", callee)
            await phones[callee].seen("CALL_ESTABLISHED")
            await phones[caller].seen("CALL_ESTABLISHED")
            # Each side hangs up in turn, so that BYE goes both ways.
            phones[caller if number % 2 else callee].tell("hangup")
            await phones[callee].seen("CALL_CLOSED")
            await phones[caller].seen("CALL_CLOSED")
        async with asyncio.timeout(5):
            while len(site.running.calls) < len(pairs):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
        assert [(one.facts.caller, one.facts.answered_by) for one in site.running.calls] == pairs
        assert site.running.malformed == []
