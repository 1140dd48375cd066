"""PnP and TFTP of the connector without sockets: URLs asked of the gateway, files kept until a device has them."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, cast

import pytest

from gateway.connector import on_lan
from gateway.connector.autop_files import AutopFiles
from gateway.connector.on_lan import MAX_ASKED, EnrolmentUrls, LanFiles
from registry.mac import MacAddress
from tunnel.errors import LinkDown

MAC = MacAddress("0C1105AABB01")
URL = "https://gate.example:8443/autop/enrol-0123456789abcdef0123456789abcdef/"
NAME = b"autop/mfrggzdfmztwq2lknnwg23tpoa/0C1105AABB01.cfg"


class Gateway:
    """Hears events; may be away."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Mapping[str, Any]]] = []
        self.away = False

    async def report(self, name: str, body: Mapping[str, Any]) -> None:
        if self.away:
            raise LinkDown("away")
        self.heard.append((name, body))


async def test_a_url_is_asked_for_once_and_told_to_everybody_who_waits() -> None:
    gateway = Gateway()
    urls = EnrolmentUrls(gateway.report)
    asking = [asyncio.create_task(urls.url_for(MAC)) for _ in range(3)]
    await asyncio.sleep(0)
    assert gateway.heard == [("pnp-asked", {"mac": MAC.text})]
    assert await urls.told({"mac": MAC.text, "url": URL}) == {}
    assert await asyncio.gather(*asking) == [URL] * 3
    assert await urls.told({"mac": MAC.text, "url": URL}) == {}  # nobody waits any more


async def test_no_url_no_answer() -> None:
    gateway = Gateway()
    urls = EnrolmentUrls(gateway.report)
    asking = asyncio.create_task(urls.url_for(MAC))
    await asyncio.sleep(0)
    await urls.told({"mac": MAC.text, "url": ""})
    assert await asking is None
    gateway.away = True
    assert await urls.url_for(MAC) is None


async def test_a_silent_gateway_costs_a_device_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_lan, "URL_SECONDS", 0.01)
    urls = EnrolmentUrls(Gateway().report)
    assert await urls.url_for(MAC) is None
    assert await asyncio.gather(*(urls.url_for(MacAddress(f"0C1105{n:06X}")) for n in range(MAX_ASKED + 5))) == [None] * (
        MAX_ASKED + 5
    )


@pytest.mark.parametrize(
    "body", [{}, {"mac": "x", "url": ""}, {"mac": MAC.text}, {"mac": MAC.text, "url": "x" * 128}, {"mac": MAC.text, "url": "a b"}]
)
async def test_what_the_gateway_must_not_say(body: dict[str, Any]) -> None:
    answer = cast(Any, await EnrolmentUrls(Gateway().report).told(body))
    assert (answer.ok, answer.body) == (False, {"error": "malformed"})


class Files:
    """The gateway's autop: numbers its answers, as One-Time lines make each fetch another file."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def fetch(self, name: bytes) -> bytes | None:
        self.asked.append(name)
        return b"file %d" % len(self.asked)


async def test_a_file_is_fetched_anew_only_once_a_device_has_the_last_one() -> None:
    files = Files()
    lan = LanFiles(cast(AutopFiles, files))
    first = await lan.find(NAME, "192.168.1.20")
    again = await lan.find(NAME, "192.168.1.20")
    assert first is not None
    assert again is not None
    assert first.body == again.body == b"file 1"  # the transfer broke off: the same bytes
    first.complete()
    again.complete()
    third = await lan.find(NAME, "192.168.1.20")
    assert third is not None
    assert third.body == b"file 2"


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"0C1105AABB01.cfg",
        b"autop/mfrggzdfmztwq2lknnwg23tpoa/../../etc/passwd",
        b"autop/mfrggzdfmztwq2lknnwg23tpoa/0C1105AABB01-0123456789abcdef01234567.rom",
        NAME + b"\n",
        b"https://evil.example" + NAME,
    ],
)
async def test_the_gateway_is_not_bothered_with_names_of_no_file(name: bytes) -> None:
    files = Files()
    with contextlib.suppress(UnicodeError):
        assert await LanFiles(cast(AutopFiles, files)).find(name, "192.168.1.20") is None
    assert files.asked == []
