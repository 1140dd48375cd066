"""`portico forward`: real ssh and RTSP clients reach a device's services through a node, and nothing else, and not for ever."""

import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulators.admin_client import AdminClient, AdminProblem
from simulators.device import ChannelChanged
from simulators.door_phone import DoorPhone
from simulators.ready_file import Ready, read_ready
from simulators.seeding import SecretsFile, Seeder
from tests.system.peers import ROOT, RunningGateway, free_tcp_port, needs, program
from tests.system.test_simulated_devices import DOOR, plug_in
from tunnel.net.local_service import LocalService

pytestmark = pytest.mark.system
WITHIN = 25.0
SDP = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=Front door\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


class WithServices(DoorPhone):
    """A door phone whose channel offers more than its web page."""

    more: Mapping[str, tuple[str, int]] = {}

    def services(self) -> Mapping[str, LocalService]:
        return {**super().services(), **{name: LocalService(*place) for name, place in self.more.items()}}


@dataclass
class Forwarding:
    """A node, an operator's token, and a device that is up."""

    ready: Ready
    admin: AdminClient
    site: str
    gateway: RunningGateway
    forwards: list["Running"] = field(default_factory=list)

    async def allow(self, allowed: bool) -> None:
        now = await self.admin.call("GET", f"/sites/{self.site}")
        headers = {"If-Match": now.etag or "*"}
        await self.admin.call("PATCH", f"/sites/{self.site}", {"allow_forward": allowed}, headers=headers)

    async def forward(self, *words: str) -> "Running":
        """`portico forward`, listening."""
        host, port = self.ready.admin
        command = [sys.executable, "-m", "gateway", "forward", DOOR.colons, *words, "--api", f"http://{host}:{port}"]
        command += ["--token-file", str(self.ready.admin_token_file), "--ca", str(self.gateway.ready["ca_file"])]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
        running = Running(process)
        self.forwards.append(running)
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if " is at " in line:
            running.port = int(line.split(" is at ")[1].split()[0].rpartition(":")[2])
        return running

    async def audit(self, action: str) -> dict[str, Any]:
        """The newest entry of this action, once there is one: what is over is written behind it."""
        while True:
            async for entry in self.admin.items("/audit"):
                if entry["action"] == action:
                    return dict(entry)
            await asyncio.sleep(0.05)


@dataclass
class Running:
    process: asyncio.subprocess.Process
    port: int = 0

    async def over(self) -> tuple[int, str]:
        """Its exit status and what it said of it."""
        assert self.process.stderr is not None
        said = await self.process.stderr.read()
        return await self.process.wait(), said.decode()


@contextlib.asynccontextmanager
async def forwarding(folder: Path, services: Mapping[str, tuple[str, int]]) -> AsyncIterator[Forwarding]:
    with RunningGateway(folder) as gateway:
        ready = read_ready(folder / "ready.json")
        admin = AdminClient(*ready.admin, ready.admin_token_file)
        secrets = SecretsFile(folder / "devices.jsonl")
        seeder = Seeder(admin, secrets)
        site = await seeder.site("House")
        await seeder.in_library([DOOR.text], site)
        await seeder.device(DOOR.text, {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate"})
        device = plug_in(WithServices, DOOR, ready, secrets)
        device.more = services
        here = Forwarding(ready, admin, site, gateway)
        try:
            await device.boot()
            await device.happenings.next(ChannelChanged, 0)
            yield here
        finally:
            for running in here.forwards:
                if running.process.returncode is None:
                    running.process.kill()
                    await running.process.wait()
            await device.shut_down()


@contextlib.asynccontextmanager
async def sshd(folder: Path) -> AsyncIterator[tuple[tuple[str, int], Path]]:
    """OpenSSH's server, where it is and a key that it takes."""
    _make_privilege_folder()
    for name in ("host", "user"):
        await _done("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    port = free_tcp_port()
    lines = ["ListenAddress 127.0.0.1", f"Port {port}", f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/user.pub"]
    lines += ["StrictModes no", "PasswordAuthentication no", "UsePAM no", "PermitRootLogin yes", f"PidFile {folder}/pid"]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    server = await asyncio.create_subprocess_exec(
        program("sshd") or "", "-D", "-e", "-f", str(folder / "sshd_config"), stderr=asyncio.subprocess.PIPE
    )
    assert server.stderr is not None
    try:
        async with asyncio.timeout(10):
            while b"Server listening" not in (line := await server.stderr.readline()):
                assert line, "sshd ended"
        yield ("127.0.0.1", port), folder / "user"
    finally:
        server.terminate()
        await server.wait()


def _make_privilege_folder() -> None:
    """What Debian's service script makes for sshd; only root can."""
    with contextlib.suppress(OSError):
        Path("/run/sshd").mkdir(exist_ok=True)
    if not Path("/run/sshd").is_dir():
        pytest.skip("sshd needs the folder /run/sshd, which only root can make")


async def _done(*command: str, given: bytes = b"") -> bytes:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, error = await process.communicate(given)
    assert process.returncode == 0, (command, error.decode())
    return out


@needs("sshd")
async def test_ssh_through_a_forward(tmp_path: Path) -> None:
    async with asyncio.timeout(WITHIN), sshd(tmp_path) as (place, key), forwarding(tmp_path, {"ssh": place}) as here:
        refused = await here.forward("ssh")
        status, said = await refused.over()
        assert (status, "does not allow port forwards" in said) == (1, True), said

        await here.allow(True)
        running = await here.forward("22")
        content = os.urandom(2_000_000)
        options = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "LogLevel=ERROR"]
        ssh = ["ssh", "-F", "none", "-i", str(key), "-p", str(running.port), *options, f"{getpass.getuser()}@127.0.0.1"]
        echoed, hashed = await asyncio.gather(  # two connections through one forward
            _done(*ssh, "cat", given=content), _done(*ssh, "sha256sum", given=content)
        )
        assert echoed == content
        assert hashed.split()[0].decode() == hashlib.sha256(content).hexdigest()

        # Its site takes the leave back: what runs ends within a second, and the program says so and ends.
        await here.allow(False)
        async with asyncio.timeout(2):
            status, said = await running.over()
        assert (status, "session is over" in said) == (0, True), said
        closed = await here.audit("remote-session.closed")
        assert re.search(r"forward of ssh; logout after \d+ s; 2 requests", str(closed)), closed
        (session,) = [item async for item in here.admin.items("/remote-sessions", site=here.site)]
        assert (session["service"], session["state"], session["end_reason"]) == ("ssh", "ended", "logout")
        assert session["bytes_to_device"] > 2 * len(content)
        assert session["pages"] == ["ssh"]


async def camera(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """RTSP as far as a client asks what there is (RFC 2326)."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            number = next(line.split(":")[1].strip() for line in head.split("\r\n") if line.startswith("CSeq"))
            body = SDP if head.startswith("DESCRIBE") else ""
            more = (
                f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n" if body else "Public: OPTIONS, DESCRIBE\r\n"
            )
            writer.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n{body}".encode())
    writer.close()


@needs("curl")
async def test_rtsp_through_a_forward_that_is_revoked(tmp_path: Path) -> None:
    server = await asyncio.start_server(camera, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()[:2]
    try:
        async with asyncio.timeout(WITHIN), forwarding(tmp_path, {"rtsp": place}) as here:
            await here.allow(True)
            running = await here.forward("rtsp")
            url = f"rtsp://127.0.0.1:{running.port}/live/ch00_0"
            assert b"Public: OPTIONS, DESCRIBE" in await _done("curl", "-s", "-i", url)
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(b"DESCRIBE /live/ch00_0 RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readexactly(len(SDP))).decode() == SDP
            (session,) = [item async for item in here.admin.items("/remote-sessions", site=here.site)]
            await here.admin.call("DELETE", f"/remote-sessions/{session['id']}")
            async with asyncio.timeout(1):
                assert await reader.read() == b""
            writer.close()
            assert (await running.over())[0] == 0

            # A service the device's end does not list is refused there, whatever the gateway asks for.
            missing = await here.forward("ssh")
            reader, writer = await asyncio.open_connection("127.0.0.1", missing.port)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert missing.process.stderr is not None
            assert b"not-offered" in await missing.process.stderr.readline()
    finally:
        server.close()


async def test_what_the_forwards_port_refuses(tmp_path: Path) -> None:
    async with asyncio.timeout(WITHIN), forwarding(tmp_path, {"ssh": ("127.0.0.1", free_tcp_port())}) as here:
        with pytest.raises(AdminProblem) as refusal:
            await here.admin.call("POST", f"/devices/{DOOR.text}/forwards", {"service": "ssh"})
        assert refusal.value.code == "forward-off"
        with pytest.raises(AdminProblem) as refusal:
            await here.admin.call("POST", f"/devices/{DOOR.text}/forwards", {"service": "web"})
        assert refusal.value.code == "invalid-fields"
        await here.allow(True)
        made = (await here.admin.call("POST", f"/devices/{DOOR.text}/forwards", {"service": "ssh"})).body
        page = (await here.admin.call("POST", f"/devices/{DOOR.text}/remote-sessions")).body
        context = ssl.create_default_context(cafile=here.gateway.ready["ca_file"])
        context.set_alpn_protocols(["portico-forward/1"])

        async def said(line: str) -> str:
            reader, writer = await asyncio.open_connection(made["host"], made["port"], ssl=context)
            writer.write(line.encode())
            answer = await reader.read(200)
            writer.close()
            return answer.decode()

        ticket = made["ticket"]
        for line in (
            "GET / HTTP/1.1\r\n",
            f"open {made['id']} {ticket[:-1]}{'A' if ticket[-1] != 'A' else 'B'}\n",
            f"open {'a' * 32} {ticket}\n",
            f"connect {made['id']} {ticket}\n",
            f"open {page['id']} {page['link'].rpartition('/')[2]}\n",
            f"open {made['id']} {ticket} more\n",
            "x" * 300 + "\n",
        ):
            assert await said(line) == "no no-session\n", line
        assert (await said(f"open {made['id']} {ticket}\n")).startswith("ok ")
        assert await said(f"open {made['id']} {ticket}\n") == "no no-session\n"
        assert json.dumps([item async for item in here.admin.items("/audit")]).count(ticket) == 0
