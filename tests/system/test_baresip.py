"""baresip, a real SIP phone: it registers over UDP, TCP and TLS, and any of the three calls any other through the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

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


class Baresip:
    """One baresip, told what to do over its JSON control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def seen(self, kind: str, seconds: float = 10.0) -> dict[str, Any]:
        """Wait for an event of this type; others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                size = int((await self._reader.readuntil(b":"))[:-1])
                said = json.loads((await self._reader.readexactly(size + 1))[:-1])
                if said.get("type") == kind:
                    return dict(said)

    def tell(self, command: str, params: str = "") -> None:
        text = json.dumps({"command": command, "params": params, "token": "t"}).encode()
        self._writer.write(b"%d:%b," % (len(text), text))

    def close(self) -> None:
        self._writer.close()


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
    folder = _folder(site, user, control, parent)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "baresip", "-f", str(folder), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        phone = Baresip(*await _control(control, process))
        try:
            yield phone
        finally:
            phone.close()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _control(port: int, process: asyncio.subprocess.Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """baresip says nowhere that its control socket is open, so it is tried until it is."""
    async with asyncio.timeout(10):
        while True:
            assert process.returncode is None
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)


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
