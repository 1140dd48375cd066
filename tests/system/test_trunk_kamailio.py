"""Kamailio as the carrier: digest registration (MD5 and SHA-256), probes, failover, over UDP and TCP, in a whole node too."""

from pathlib import Path
from typing import Any

import pytest

from registry.trunk import SiteLandlines, TrunkGateway, TrunkTransport
from tests.system.kamailio import PASSWORD, RunningKamailio
from tests.system.peers import ROOT, RunningGateway, free_tcp_port, needs, wait_until
from tests.system.trunk_site import TrunkSite, facts, trunk_site

pytestmark = [pytest.mark.system, needs("kamailio")]
CARRIER = ROOT / "tests" / "system" / "kamailio_carrier" / "kamailio.cfg"
SECRET = PASSWORD.encode()
USER: dict[str, Any] = {"registrar": "carrier.test", "username": "4930123"}


def ways(site: TrunkSite) -> list[tuple[str, int]]:
    """Where a landline would be called, in this order."""
    legs = site.core.legs("x", "+49301234567", SiteLandlines("x"))
    return [(leg.flow.host, leg.flow.port) for leg in legs] if isinstance(legs, tuple) else []


async def test_it_registers_with_sha_256_and_probes(tmp_path: Path) -> None:
    with RunningKamailio(tmp_path, config=CARRIER) as carrier:
        async with trunk_site() as site:
            site.trunks.configure([facts(TrunkGateway(*carrier.address), password=SECRET, **USER)])
            await site.until(lambda: site.state().registered is True)
            assert site.ups() == ["up"]
            assert [(one.what, one.why) for one in site.changes] == [("up", "200"), ("registered", "")]


async def test_it_registers_with_md5(tmp_path: Path) -> None:
    with RunningKamailio(tmp_path) as carrier:
        async with trunk_site() as site:
            site.trunks.configure([facts(TrunkGateway(*carrier.address), password=SECRET, **USER)])
            await site.until(lambda: site.state().registered is True)
            assert site.changes[0].why == "405", "what it thinks of OPTIONS proves that it lives"


async def test_a_wrong_password_and_a_foreign_realm_do_not_register(tmp_path: Path) -> None:
    with RunningKamailio(tmp_path, config=CARRIER) as carrier:
        async with trunk_site() as site:
            site.trunks.configure([facts(TrunkGateway(*carrier.address), password=b"wrong", **USER)])
            await site.until(lambda: site.state().failure == "401")
            site.trunks.configure([facts(TrunkGateway(*carrier.address), password=SECRET, realm="another", **USER)])
            await site.until(lambda: len([one for one in site.changes if one.what == "not registered"]) == 2)
            assert site.state().registered is False


async def test_when_the_first_gateway_dies_the_registration_moves_to_the_second_and_back(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with RunningKamailio(tmp_path / "two", config=CARRIER) as second:
        first = RunningKamailio(tmp_path / "one", config=CARRIER)
        async with trunk_site() as site:
            with first:
                gateways = (TrunkGateway(*first.address), TrunkGateway(*second.address))
                site.trunks.configure([facts(*gateways, password=SECRET, **USER)])
                await site.until(lambda: site.ups() == ["up", "up"] and site.state().registered is True)
                assert ways(site) == [first.address, second.address]
            await site.until(lambda: site.ups() == ["down", "up"])
            await site.until(lambda: site.core.registered_over("t") == second.address)
            assert ways(site) == [second.address]
            with first:
                await site.until(lambda: site.ups() == ["up", "up"])
                await site.until(lambda: site.core.registered_over("t") == first.address)


async def test_over_tcp_a_dead_connection_is_dialled_again(tmp_path: Path) -> None:
    port = free_tcp_port()
    carrier = RunningKamailio(tmp_path, options=("-l", f"tcp:127.0.0.1:{port}"), config=CARRIER)
    async with trunk_site() as site:
        gateway = TrunkGateway("127.0.0.1", port, TrunkTransport.TCP)
        with carrier:
            site.trunks.configure([facts(gateway, password=SECRET, **USER)])
            await site.until(lambda: site.state().registered is True)
            assert site.sip.service.streams == 1
        await site.until(lambda: site.ups() == ["down"])
        assert site.sip.service.streams == 0
        with carrier:
            await site.until(lambda: site.ups() == ["up"])
            assert site.sip.service.streams == 1
            site.trunks.configure([])
            await site.until(lambda: site.changes[-1].what == "not registered")


def test_a_node_registers_what_the_admin_api_adds_and_shows_its_state(tmp_path: Path) -> None:
    (tmp_path / "carrier").mkdir()
    (tmp_path / "node").mkdir()
    with RunningKamailio(tmp_path / "carrier", config=CARRIER) as carrier, RunningGateway(tmp_path / "node") as node:
        host, port = carrier.address
        body = {
            "name": "Carrier",
            "gateways": [{"host": host, "port": port}],
            "registrar": "carrier.test",
            "username": "4930123",
            "password": PASSWORD,
            "allowed_prefixes": ["+49"],
        }
        key = node.ask("POST", "/trunks", body)["id"]
        wait_until("registration", lambda: node.ask("GET", f"/trunks/{key}/status")["registered"] is True, 10.0)
        status = node.ask("GET", f"/trunks/{key}/status")
        assert [(one["address"], one["state"]) for one in status["gateways"]] == [(f"{host}:{port}", "up")]
        assert PASSWORD not in node.log_file.read_text()
