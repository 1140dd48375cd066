"""TFTP with real clients, tftp-hpa and atftp: a server of a few files, and a node."""

import asyncio
import hashlib
import random
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.system.fleet import add_devices, add_site
from tests.system.peers import LOOPBACK, RunningGateway, loopback_config, needs, program, wait_until
from tests.system.tftp_site import BIG, TEXT, serving

pytestmark = pytest.mark.system


async def run(*command: str, cwd: Path, feed: str = "") -> tuple[int, str]:
    """A real client's exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate(feed.encode())
    return process.returncode or 0, said.decode()


# Real clients


@needs("tftp")
@pytest.mark.parametrize("mode", ["octet", "netascii"])
async def test_tftp_hpa(tmp_path: Path, mode: str) -> None:
    async with serving() as served:
        for name, body in (("big", BIG), ("even", b"x" * 1024), ("empty", b"")) if mode == "octet" else (("text", TEXT),):
            code, said = await run(str(program("tftp")), "-m", mode, LOOPBACK, str(served.port), "-c", "get", name, cwd=tmp_path)
            assert code == 0, said
            assert (tmp_path / name).read_bytes() == body
            assert served.complete[-1] == name.encode()


@needs("tftp")
async def test_tftp_hpa_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    async with serving() as served:
        _, said = await run(str(program("tftp")), LOOPBACK, str(served.port), "-c", "get", "../etc/passwd", cwd=tmp_path)
        assert "File not found" in said
        _, said = await run(str(program("tftp")), LOOPBACK, str(served.port), "-c", "put", "/etc/hostname", "x", cwd=tmp_path)
        assert "Access violation" in said
        assert served.counted == ["not-found", "write"]


ATFTP_OPTIONS = [
    [],
    ["blksize 1428"],
    ["blksize 65464"],
    ["tsize"],
    ["timeout 2"],
    ["windowsize 8"],
    ["blksize 1024", "tsize", "timeout 3", "windowsize 4"],
]


@needs("atftp")
@pytest.mark.parametrize("options", ATFTP_OPTIONS, ids=lambda options: "+".join(options) or "none")
async def test_atftp(tmp_path: Path, options: list[str]) -> None:
    async with serving() as served:
        command = [str(program("atftp")), *[part for option in options for part in ("--option", option)]]
        code, said = await run(*command, "--get", "--remote-file", "big", LOOPBACK, str(served.port), cwd=tmp_path)
        assert code == 0, said
        assert (tmp_path / "big").read_bytes() == BIG
        assert served.complete == [b"big"]


@pytest.mark.slow
@needs("tftp", "atftp")
@pytest.mark.parametrize("name", ["tftp", "atftp"])
async def test_the_number_of_a_block_wraps(tmp_path: Path, name: str) -> None:
    """40 MB in blocks of 512: 65,535 is followed by 0."""
    async with serving() as served:
        served.files[b"huge"] = body = random.Random(2).randbytes(40 * 1024 * 1024)
        options = {"tftp": ["-m", "octet", LOOPBACK, str(served.port), "-c", "get", "huge"]}
        options["atftp"] = ["--get", "--remote-file", "huge", LOOPBACK, str(served.port)]
        code, said = await run(str(program(name)), *options[name], cwd=tmp_path)
        assert code == 0, said
        assert (tmp_path / "huge").read_bytes() == body
        assert served.complete == [b"huge"]


# A node


@needs("atftp")
def test_a_device_fetches_from_a_node_and_the_operator_sees_it(tmp_path: Path) -> None:
    config = loopback_config().replace("sip_udp = 0\n", "sip_udp = 0\ntftp = 0\n")
    with RunningGateway(tmp_path, config) as gateway:
        host, port = gateway.address("tftp")
        device = add_devices(gateway, add_site(gateway, "tftp"), 1)[0]
        configuration = f"/devices/{device.mac}/configuration"
        token = device.autop_url.rstrip("/").rpartition("/")[2]
        gateway.ask("POST", f"/autop-commands/device/{device.mac}/one-time", {"lines": ["Config.Settings.LOGLEVEL.Level = 7"]})

        def fetch(name: str) -> str:
            command = [str(program("atftp")), "--option", "blksize 1024", "--get", "--remote-file", name, "--local-file", "got"]
            done = subprocess.run(
                [*command, host, str(port)], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
            )
            return done.stdout + done.stderr

        for name in (f"{'x' * 26}/{device.mac}.cfg", f"{token}/0C1105000000.cfg", "../state/master.key"):
            assert "File not found" in fetch(name)
        assert gateway.ask("GET", configuration)["fetched"] is None

        fetch(f"autop/{token}/{device.mac}.cfg")
        got = (tmp_path / "got").read_bytes()
        assert got.startswith(b"# One-Time Autop ")
        assert b"Config.Settings.LOGLEVEL.Level = 7\n" in got

        def fetched() -> bool:
            return gateway.ask("GET", configuration)["fetched"] is not None

        wait_until("the fetch in the store", fetched, 10)
        known = gateway.ask("GET", configuration)
        assert known["fetched"]["etag"] == hashlib.sha256(got).hexdigest()
        assert (known["fetched"]["address"], known["fetched"]["transport"]) == (LOOPBACK, "tftp")
        assert gateway.admin("GET", f"/devices/{device.mac}/one-time-autop").status == 404
        metrics_host, metrics_port = gateway.address("metrics")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{metrics_host}:{metrics_port}/metrics", timeout=10) as page:
            said = page.read().decode()
        assert 'portico_tftp_total{what="complete"} 1.0' in said
        assert 'portico_tftp_total{what="not-found"} 3.0' in said
        assert 'portico_autop_requests_total{outcome="refused",reason="no_proof"} 2.0' in said
