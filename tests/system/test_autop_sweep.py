"""A sweep over MACs from the very address that honest devices work from: it finds nothing, and they do not feel it."""

import asyncio
import random
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autop.net.limits import ListenerLimits
from autop.sweep import MISSES, Sweep
from registry.mac import MacAddress
from simulators.autop_client import trust
from tests.autop import examples
from tests.system.autop_site import running
from tests.system.fleet import add_devices, add_site
from tests.system.mac_sweep import Devices, Swept, sweep
from tests.system.peers import RunningGateway, loopback_config

pytestmark = pytest.mark.system


async def test_a_sweep_is_slowed_down_and_the_devices_beside_it_are_not() -> None:
    """3,000 guesses, 150 of them at devices that exist, beside 20 devices of the same address."""
    told: list[Sweep] = []
    async with running(None, ListenerLimits(refusal_seconds=0.02, late_seconds=0.1), sweeps=told) as site:
        vault, macs = examples.vault(), [MacAddress(f"0C1105{number:06X}") for number in range(0, 3000, 20)]
        for mac in macs:
            site.records.put(examples.sealed_device(vault, mac, account=""))
        paths = [f"/autop/{examples.TOKEN}/{mac}.cfg" for mac in macs[:20]]
        devices = Devices(site.host, site.port, None, paths, every=0.5)
        working = asyncio.ensure_future(devices.work())
        names, known = [f"0C1105{number:06X}" for number in range(3000)], {mac.text for mac in macs}
        random.Random(5).shuffle(names)
        swept = await sweep([(site.host, site.port, None)], names, known, connections=100)
        devices.stop()
        await working
    assert swept.found == 0
    assert len(swept.answers) == 1
    assert [(one.source, one.misses) for one in told] == [("127.0.0.1", MISSES + 1 + told[0].devices // 10)]
    assert devices.failed == []
    assert len(devices.times) > 40
    assert statistics.median(devices.times) < 0.09 < 0.099 <= statistics.median(swept.unknown)
    assert swept.difference() < 0.05 * statistics.median(swept.unknown)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "token"), [(100_000, "a" * 32), (20_000, "")], ids=["wrong-token", "no-token"])
def test_a_hundred_thousand_macs(tmp_path: Path, count: int, token: str) -> None:
    """On a node of its own: 500 devices exist, 200 of them fetch over TLS every five seconds from the scanner's address.

    The scanner has 300 connections to each of the two listeners; more than 625 are not let in with the descriptors of a test."""
    config = loopback_config().replace("[listen]\n", "[listen]\nautop_http = 0\n")
    with RunningGateway(tmp_path, config) as gateway:
        added = add_devices(gateway, add_site(gateway, "sweep"), 500, first=count // 2)
        paths = [re.sub(r"^https://[^/]*", "", device.autop_url) + f"{device.mac}.cfg" for device in added[:200]]
        names, known = [f"0C1105{number:06X}" for number in range(count)], {device.mac for device in added}
        random.Random(5).shuffle(names)

        tls = trust(gateway.ready["ca_file"])

        async def both() -> tuple[Swept, Devices, float]:
            clock = asyncio.get_running_loop().time
            devices = Devices(*gateway.address("autop_https"), tls, paths, every=5.0)
            working, began = asyncio.ensure_future(devices.work()), clock()
            places = [(*gateway.address("autop_http"), None), (*gateway.address("autop_https"), tls)]
            swept = await sweep(places, names, known, connections=300, token=token)
            devices.stop()
            await working
            return swept, devices, clock() - began

        with ThreadPoolExecutor(1) as pool:
            swept, devices, seconds = pool.submit(asyncio.run, both()).result(600)
        audit = gateway.ask("GET", "/audit?limit=500")["items"]
        sweeps = [(one["object"], one["note"]) for one in audit if one["action"] == "autop.sweep"]
        print(
            f"\n{sum(swept.answers.values())} guesses in {seconds:.0f} s; {swept.found} configurations found; medians "
            f"{statistics.median(swept.unknown) * 1000:.2f} ms unknown, {statistics.median(swept.known) * 1000:.2f} ms known, "
            f"difference {swept.difference() * 1000:.2f} ms, noise {swept.noise() * 1000:.2f} ms; {len(devices.times)} fetches "
            f"of devices, {len(devices.failed)} failed, {devices.retried} dialled again, median "
            f"{statistics.median(devices.times) * 1000:.1f} ms, slowest {max(devices.times) * 1000:.0f} ms; {sweeps}; "
            f"{swept.cut_off} connections cut off, refused: {gateway.metric('portico_connections_refused_total')}; "
            f"{sum(one['action'].startswith('autop.') for one in audit)} audit entries"
        )
        assert swept.found == 0
        assert len(swept.answers) == (1 if token else 2)  # Basic is offered over TLS only
        assert devices.failed == []
        assert swept.difference() < 0.05 * statistics.median(swept.unknown)
        assert [source for source, _ in sweeps] == ["source 127.0.0.1"]
        assert gateway.metric("portico_autop_sweeps_total") == 1
        assert gateway.metric("portico_autop_throttled_sources") == 1
