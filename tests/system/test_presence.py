"""Presence: a cable that is cut is seen within 30 s, by nothing but silence."""

import asyncio
import subprocess
import threading
import time
from pathlib import Path

import pytest

from registry.mac import MacAddress
from simulators.admin_client import AdminClient
from simulators.agent_events import Registered
from simulators.device import ChannelChanged
from simulators.door_phone import DoorPhone
from simulators.ready_file import read_ready
from simulators.seeding import SecretsFile, Seeder
from tests.system.nat import Nat, nats
from tests.system.peers import LOOPBACK, RunningGateway, loopback_config
from tests.system.test_simulated_devices import plug_in

pytestmark = [pytest.mark.system, pytest.mark.slow]

MAC = MacAddress("0C1105000001")
SEEN_WITHIN = 30.0


class Remote:
    """A door phone in a network of its own, on a loop of its own."""

    def __init__(self, nat: Nat, door: DoorPhone) -> None:
        self._nat = nat
        self.door = door
        self.up = threading.Event()
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self.stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._nat.inside():
            asyncio.run(self._live())

    async def _live(self) -> None:
        await self.door.boot()
        await self.door.happenings.next(ChannelChanged, 0, lambda changed: changed.up)
        await self.door.happenings.next(Registered, 0)
        self.up.set()
        await asyncio.to_thread(self.stop.wait)
        await self.door.cut_power()


def test_a_cut_cable_is_seen_within_30_seconds(tmp_path: Path) -> None:
    with nats(1) as (host, (nat,)):
        config = loopback_config().replace(f'address = "{LOOPBACK}"', f'address = "{host}"')
        with RunningGateway(tmp_path, f'{config}\n[public]\nhost = "{host}"\n') as gateway:
            ready = read_ready(tmp_path / "ready.json")
            secrets = SecretsFile(tmp_path / "devices.jsonl")
            seeder = Seeder(AdminClient(*ready.admin, ready.admin_token_file), secrets)
            _seed(seeder)
            remote = Remote(nat, plug_in(DoorPhone, MAC, ready, secrets))
            try:
                assert remote.up.wait(20.0)
                status = gateway.ask("GET", f"/devices/{MAC}/status")
                assert (status["ways"], status["channel"]) == (["channel", "sip"], True)
                since = status["since"]
                # Quiet links stay up: longer than one round of pings and the silence that would be death.
                time.sleep(SEEN_WITHIN + 5.0)
                status = gateway.ask("GET", f"/devices/{MAC}/status")
                assert (status["channel"], status["since"]) == (True, since)

                subprocess.run(["ip", "-n", nat.name, "link", "set", "eth0", "down"], check=True)
                cut = time.monotonic()
                while gateway.ask("GET", f"/devices/{MAC}/status")["online"]:
                    assert time.monotonic() - cut < SEEN_WITHIN
                    time.sleep(0.1)
                print(f"seen after {time.monotonic() - cut:.1f} s")

                subprocess.run(["ip", "-n", nat.name, "link", "set", "eth0", "up"], check=True)
            finally:
                remote.close()


def _seed(seeder: Seeder) -> None:
    async def seed() -> None:
        site = await seeder.site("House")
        await seeder.in_library([MAC.text], site)
        await seeder.device(MAC.text, {"site": site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": "Gate"})

    done = threading.Thread(target=lambda: asyncio.run(seed()))
    done.start()
    done.join()
