"""kill -9 of a node at random moments while commands are ordered and obeyed: no acknowledged one is lost, none is done twice.

The node is a process of its own; the devices live in this one and count what they really do, by the commands' ids.
"""

import asyncio
import functools
import random
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

import simulators.device
from registry.mac import MacAddress
from simulators.admin_client import AdminClient, AdminProblem
from simulators.door_phone import DoorPhone
from simulators.maintenance import Ordered
from simulators.ready_file import read_ready
from simulators.seeding import SecretsFile, Seeder
from tests.system.peers import RunningGateway, loopback_config
from tests.system.test_simulated_devices import plug_in
from tunnel.messages import Result
from tunnel.net.agent import Agent

pytestmark = [pytest.mark.system, pytest.mark.slow]

KILLS = 20
DEVICES = 10
RELAYS = [{"name": "Door", "hold_seconds": 1}]
LISTENERS = ("sip_udp", "autop_https", "channel", "admin")
SETTLED = 60.0


class CountingDoor(DoorPhone):
    """Counts openings by the command that caused them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.openings: Counter[str] = Counter()

    async def _commanded(self, body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        self.openings[str(body.get("command"))] += 1
        await asyncio.sleep(random.random() * 0.1)  # so that kills fall between the effect and its answer
        return await super()._commanded(body)

    @property
    def reboots(self) -> int:
        return sum(isinstance(one, Ordered) and one.name == "reboot" for one in self.happenings._kept)


class Battle:
    """Orders, kills, devices."""

    def __init__(self, gateway: RunningGateway, chance: random.Random) -> None:
        self.gateway = gateway
        self.chance = chance
        self.acknowledged: dict[str, str] = {}
        """Command -> its name; of groups, their members."""
        self.groups: list[str] = []
        self.stopping = False
        self.kills = 0

    async def seed(self, folder: Path) -> None:
        ready = read_ready(folder / "ready.json")
        self.admin = AdminClient(*ready.admin, ready.admin_token_file)
        secrets = SecretsFile(folder / "devices.jsonl")
        seeder = Seeder(self.admin, secrets)
        self.site = await seeder.site("House")
        self.macs = [MacAddress(f"0C11050000{number:02X}") for number in range(1, DEVICES + 1)]
        await seeder.in_library([mac.text for mac in self.macs], self.site)
        for mac in self.macs:
            body = {"site": self.site, "kind": 0, "model": "PORTICO-SIM-DOOR", "name": mac.text, "relays": RELAYS}
            await seeder.device(mac.text, body)
        self.doors: dict[str, CountingDoor] = {mac.text: plug_in(CountingDoor, mac, ready, secrets) for mac in self.macs}
        await asyncio.gather(*(door.boot() for door in self.doors.values()))

    async def insist(self, path: str, body: Any, key: str) -> Any:
        """POST until it is acknowledged."""
        while True:
            try:
                return (await self.admin.call("POST", path, body, headers={"Idempotency-Key": key})).body
            except (AdminProblem, OSError) as problem:
                if isinstance(problem, AdminProblem) and problem.code == "too-many-commands":
                    return None
                await asyncio.sleep(0.1)

    async def order(self, who: int) -> None:
        """Orders without end: openings, some reboots, some for all."""
        count = 0
        while not self.stopping:
            count += 1
            key, dice = f"{who}-{count}", self.chance.random()
            if dice < 0.05:
                group = {"site": self.site, "name": "open-relay", "emergency": True, "seconds": 3600}
                self.groups.append((await self.insist("/command-groups", group, key))["id"])
            else:
                mac = self.chance.choice(self.macs)
                body = {"name": "reboot"} if dice < 0.12 else {"name": "open-relay", "seconds": 30}
                made = await self.insist(f"/devices/{mac}/commands", body, key)
                if made is not None:
                    self.acknowledged[made["id"]] = made["name"]
            await asyncio.sleep(self.chance.random())

    async def kill(self, kills: int) -> None:
        for _ in range(kills):
            await asyncio.sleep(self.chance.random() * 1.5)
            self.gateway.kill()
            self.kills += 1
            await asyncio.to_thread(self.gateway.start)

    async def settled(self) -> dict[str, Any]:
        """Every acknowledged command, once all are over."""
        end = asyncio.get_running_loop().time() + SETTLED
        while True:
            found = {}
            async for item in self.admin.items("/commands", site=self.site, limit="500"):
                found[item["id"]] = item
            waiting = [item for item in found.values() if item["state"] in ("pending", "processing")]
            if not waiting:
                return found
            up = {mac: door.agent is not None and door.agent.connected for mac, door in self.doors.items()}
            assert asyncio.get_running_loop().time() < end, f"{len(found)} {len(waiting)} {up} {waiting[:3]}"
            await asyncio.sleep(0.5)

    def judge(self, found: dict[str, Any]) -> Counter[str]:
        done = Counter[str]()
        for door in self.doors.values():
            assert all(times == 1 for times in door.openings.values()), door.openings
            done.update(door.openings)
        assert set(done) <= set(found) | set(self.acknowledged), "done without an order"
        for command in self.acknowledged:
            assert command in found, "an acknowledged command is gone"
        members = [item for item in found.values() if item["group"] is not None]
        assert len(members) == len(self.groups) * DEVICES
        for item in members:
            assert item["state"] == "executed", item
        outcomes = Counter[str]()
        for item in found.values():
            outcomes[f"{item['name']} {item['state']}"] += 1
            if item["name"] != "open-relay":
                continue
            if item["state"] == "executed":
                assert done[item["id"]] == 1, item
            elif item["state"] == "expired":
                assert done[item["id"]] == 0, item
            else:
                assert item["state"] == "failed", item
                assert "may or may not" in item["result"], item
        for mac, door in self.doors.items():
            executed = [one for one in found.values() if one["mac"] == mac and one["name"] == "reboot"]
            assert all(one["state"] == "executed" for one in executed), executed
            assert door.reboots == len(executed)
        return outcomes


async def battle(folder: Path, seed: int) -> None:
    with RunningGateway(folder) as gateway:
        here = Battle(gateway, random.Random(seed))
        await here.seed(folder)
        config = loopback_config()
        for name in LISTENERS:
            config = config.replace(f"{name} = 0", f"{name} = {gateway.address(name)[1]}")
        (folder / "portico.toml").write_text(config)
        try:
            orders = [asyncio.ensure_future(here.order(who)) for who in range(3)]
            await here.kill(KILLS)
            here.stopping = True
            await asyncio.gather(*orders)
            found = await here.settled()
            outcomes = here.judge(found)
            print(f"{here.kills} kills, {len(found)} commands: {dict(outcomes)}")
            assert outcomes["open-relay executed"] > KILLS
        finally:
            await asyncio.gather(*(door.cut_power() for door in here.doors.values()))


@pytest.mark.parametrize("seed", range(5))
def test_no_acknowledged_command_is_lost_and_none_is_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(simulators.device, "Agent", functools.partial(Agent, backoff_first=0.1, backoff_most=0.3))
    _in_a_thread(battle(tmp_path, seed))


def _in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run this on a loop of its own: it takes longer than an async test may."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
