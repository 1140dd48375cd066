"""A simulated device's autop against the real listener: what it takes, what it skips, what it survives."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from autop.observer import Outcome, Reason
from registry.mac import MacAddress
from simulators.autop_client import AutopClient, AutopFailed, NoConfiguration, trust
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN
from tests.system.autop_site import RunningSite, make_certificate, running

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def stay_here(site: RunningSite, scheme: str = "http") -> str:
    """Make the site's configuration name the listener itself as the next autop URL; returns the device's first one."""
    site.configurations.use_settings(replace(examples.SETTINGS, autop_url=f"{scheme}://{site.host}:{site.port}/autop"))
    return f"{scheme}://{site.host}:{site.port}/autop/{TOKEN}"


async def test_fetch_apply_skip_and_apply_again(certificate: tuple[Path, Path]) -> None:
    async with running(certificate) as site:
        device = AutopClient(url=stay_here(site, "https"), mac=MAC, tls=trust(str(certificate[0])))
        first = await device.fetch()
        assert first.config is not None
        assert first.config.account is not None
        assert first.config.account.username == "400000001"
        assert device.skipped_lines == 0
        assert device.url == f"https://{site.host}:{site.port}/autop/{TOKEN}/"
        second = await device.fetch()
        assert (second.size, second.config, second.etag) == (0, None, first.etag)
        site.records.put(examples.account(display_name="Renamed", sealed_password=site.account_seal))
        third = await device.fetch()
        assert third.config is not None
        assert third.config.account is not None
        assert third.config.account.display_name == "Renamed"
        outcomes = [outcome for outcome, _ in site.observed.answers]
        assert outcomes == [Outcome.SERVED, Outcome.NOT_MODIFIED, Outcome.SERVED]


async def test_a_device_that_asks_for_its_models_common_file_first_gets_its_own_all_the_same() -> None:
    async with running() as site:
        device = AutopClient(url=stay_here(site), mac=MAC, tls=None, common="r000000000029.cfg")
        for is_new in (True, False):
            fetched = await device.fetch()
            assert (fetched.config is not None) is is_new
        assert [outcome for outcome, _ in site.observed.answers] == [
            Outcome.REFUSED,
            Outcome.SERVED,
            Outcome.REFUSED,
            Outcome.NOT_MODIFIED,
        ]


async def test_a_common_file_is_applied_before_the_own_one_and_when_it_changes() -> None:
    own, common = b"Config.A.B.C = own\n", [b"Config.A.B.C = all\nConfig.A.B.D = all\n"]

    def answer(path: bytes) -> bytes:
        body = own if MAC.text.encode() in path else common[0]
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await reader.readline()))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        device = AutopClient(url=url, mac=MAC, tls=None, common="r000000000029.cfg")
        assert (await device.fetch()).config is not None
        assert (device.setting("A.B.C"), device.setting("A.B.D")) == ("own", "all")
        assert (await device.fetch()).config is None
        common[0] = b"Config.A.B.D = changed\n"
        assert (await device.fetch()).config is not None
        assert (device.setting("A.B.C"), device.setting("A.B.D")) == ("own", "changed")


async def test_equal_bytes_are_not_applied_again_without_an_etag_either() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\nConfig.A.B.C = 1\n") as url:
        device = AutopClient(url=url, mac=MAC, tls=None)
        assert (await device.fetch()).config is not None
        again = await device.fetch()
        assert (again.size, again.config) == (17, None)
        device.factory_reset()
        assert (await device.fetch()).config is not None


async def test_lines_a_device_cannot_read_are_skipped() -> None:
    body = b"#!version:1.0.0.1\nConfig.A.B.C = 1\nthis line is wrapped text\n\xff\xfe\nConfig.A.B.D = 2"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    async with answering(head + body) as url:
        device = AutopClient(url=url, mac=MAC, tls=None)
        assert (await device.fetch()).config is not None
        assert device.skipped_lines == 2
        assert device.setting("A.B.D") == "2"


async def test_a_refusal_changes_nothing() -> None:
    async with running() as site:
        stranger = AutopClient(url=stay_here(site), mac=MacAddress("0C1105000000"), tls=None)
        with pytest.raises(NoConfiguration, match="404"):
            await stranger.fetch()
        assert site.observed.answers == [(Outcome.REFUSED, Reason.NO_PROOF)]


async def test_trust_and_its_absence(certificate: tuple[Path, Path]) -> None:
    async with running(certificate) as site:
        url = stay_here(site, "https")
        assert (await AutopClient(url=url, mac=MAC, tls=trust(None)).fetch()).config is not None
        with pytest.raises(AutopFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await AutopClient(url=url, mac=MAC, tls=ssl.create_default_context()).fetch()


@contextlib.asynccontextmanager
async def answering(raw: bytes, *, close: bool = True) -> AsyncIterator[str]:
    """A server that says the same to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
            if not close:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/autop"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nothing", "not http", "cut short", "too large", "bad chunk"],
)
async def test_answers_that_are_none(raw: bytes) -> None:
    async with answering(raw) as url:
        with pytest.raises(AutopFailed):
            await AutopClient(url=url, mac=MAC, tls=None, seconds=5).fetch()


async def test_a_server_that_never_answers() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n", close=False) as url:
        with pytest.raises(AutopFailed, match="TimeoutError"):
            await AutopClient(url=url, mac=MAC, tls=None, seconds=0.2).fetch()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "https://127.0.0.1:1/x", "nonsense", "http:///x"])
async def test_urls_a_device_cannot_use(url: str) -> None:
    with pytest.raises(AutopFailed):
        await AutopClient(url=url, mac=MAC, tls=None).fetch()


async def test_nobody_listens() -> None:
    async with answering(b"") as url:
        pass
    with pytest.raises(AutopFailed):
        await AutopClient(url=url, mac=MAC, tls=None).fetch()
