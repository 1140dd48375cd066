"""`Upgrades` and `UpgradeClock` over a store, with a clock set by hand: silence, old versions, restarts, several nodes, loops."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autop.firmware import KEY
from autop.identify import FirmwareFile, MacFile
from autop.net.configurations import Configurations, File, Refused
from autop.net.firmware_files import FirmwareFiles
from autop.net.upgrade_clock import UpgradeClock, in_hours
from autop.net.upgrades import Upgrades, stored_images
from autop.upgrade_states import MAX_ASKS, MAX_DOWNLOADS, SILENCE_SECONDS, Event
from registry.commands import Command, CommandName
from registry.firmware import DeviceUpgrade, FirmwareImage, FirmwareUpgrade, UpgradeState
from registry.location import AorBindings, Binding
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, Device, DeviceKind, Site
from registry.store import Delete, Put
from tests.autop import examples
from tests.autop.examples import MAC, TOKEN

CONTENT = b"firmware" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
IMAGE = SHA256[:24]
OLD, NEW = "29.30.10.100", "29.30.10.465"
URL = f"https://autop.gate.example:8443/autop/{TOKEN}/{MAC}-{IMAGE}.zip"
ASKED = FirmwareFile(TOKEN, MAC, IMAGE, ".zip")


class Node:
    """One gateway's part of it, on a store that may be another's too."""

    def __init__(self, store: MemoryStore, folder: Path, now: list[float]) -> None:
        self.store = store
        self.now = now
        self.files = FirmwareFiles(folder)
        self.model = ReadModel(store)
        self.vault = examples.vault()
        self.upgrades = Upgrades(store, self.model, self.files, lambda: now[0])
        self.clock = UpgradeClock(store, self.model, lambda: now[0])
        self.configurations = Configurations(
            read_model=self.model, vault=self.vault, settings=examples.SETTINGS, firmware=self.upgrades
        )

    async def at(self, now: float) -> str:
        """Move the clock, look, follow the feed; returns the device's state."""
        self.now[0] = now
        await self.follow()
        await self.clock.look()
        return (await self.device()).state

    async def follow(self) -> None:
        for change in await self.store.changes(self.model.applied):
            self.model.apply(change)

    async def device(self) -> DeviceUpgrade:
        await self.follow()
        found = await self.store.get(DeviceUpgrade, f"u/{MAC}")
        assert found is not None
        return found.record

    async def poll(self, user_agent: str = "Akuvox") -> str:
        """Fetch the configuration as the device; returns the image's URL in it."""
        await self.follow()
        file = await self.configurations.find(MacFile(TOKEN, MAC))
        assert isinstance(file, File)
        if file.live is not None:
            self.upgrades.configuration_fetched(MAC, file.live, user_agent)
            await self.upgrades.stop()
        await self.follow()
        lines = dict(line.split(" = ", 1) for line in file.body.decode().splitlines() if " = " in line)
        return lines.get(KEY, "")

    async def download(self, *, whole: bool = True) -> bytes | None:
        """Fetch the image as the device; None where there is none for it."""
        await self.follow()
        image = await self.configurations.find(ASKED)
        if isinstance(image, Refused | File):
            return None
        try:
            if not await image.begin():
                return None
            if whole:
                await image.complete()
            return await image.read(0, image.size)
        finally:
            image.close()
            await self.follow()

    async def registers(self, version: str) -> None:
        binding = Binding("<sip:x>", "udp:1", "c", 1, self.now[0] + 300, user_agent=f"Akuvox R29 {version}")
        await self.store.batch([Put(AorBindings("400000001", "n", (binding,)))])


async def a_node(folder: Path, **changes: Any) -> Node:
    node = Node(MemoryStore(), folder, [0.0])
    draft = node.files.begin(len(CONTENT))
    await draft.write(CONTENT)
    await draft.keep(IMAGE)
    sealed = node.vault.seal_text("k3Jq9sXw7TzPb2VnM5cRdLhA", "account:400000001")
    kind = DeviceKind.MULTI_TENANT_DOOR_PHONE
    await node.store.batch(
        [
            Put(Site("s-1", "House", "Europe/Moscow")),
            Put(examples.sealed_device(node.vault, kind=kind, model="R29")),
            Put(examples.account(sealed_password=sealed)),
            Put(FirmwareImage(IMAGE, SHA256, len(CONTENT), "R29", NEW, stored=1.0)),
            Put(replace(FirmwareUpgrade("u", "s-1", IMAGE, "R29", NEW, 1000.0, 90_000.0, 1, 0.0, 0.0), **changes)),
            Put(DeviceUpgrade("u", MAC, "s-1", IMAGE, NEW, 0, 0.0)),
        ]
    )
    return node


async def test_from_offer_to_proof_by_the_registration(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    await node.registers(OLD)
    assert await node.at(999.0) == "pending"
    assert await node.poll() == ""
    assert await node.download() is None
    assert await node.at(1000.0) == "offered"
    assert await node.poll() == URL
    assert (await node.device()).state == "told"
    assert await node.download() == CONTENT
    assert await node.at(1100.0) == "fetched"
    assert await node.poll() == ""  # never the same image in a loop
    await node.registers(NEW)
    assert await node.at(1200.0) == "executed"
    assert (await node.device()).seen == NEW
    assert await node.download() is None
    await node.clock.look()
    assert node.clock.states[UpgradeState.PROCESSING] == 0


async def test_proof_by_the_user_agent_of_the_next_fetch_of_the_configuration(tmp_path: Path) -> None:
    node = await a_node(tmp_path, reset_after=True)
    await node.at(1000.0)
    await node.poll()
    await node.download()
    await node.poll(f"Akuvox R29 {OLD}")
    assert (await node.device()).state == "fetched"
    await node.poll(f"Akuvox R29 {NEW}")
    assert ((await node.device()).state, (await node.device()).reset) == ("executed", "waiting")


@pytest.mark.parametrize(
    ("last", "result"), [("", Event.SILENT), (OLD, Event.OLD_AGAIN)], ids=["silent", "starts the old version again"]
)
async def test_thirty_minutes_without_the_version_is_a_failure(tmp_path: Path, last: str, result: Event) -> None:
    node = await a_node(tmp_path)
    await node.registers(OLD)  # its binding runs out while it is gone
    await node.at(1000.0)
    await node.poll()
    await node.download()
    node.now[0] = 1000.0 + SILENCE_SECONDS - 1
    if last:
        await node.registers(last)
    assert await node.at(node.now[0]) == "fetched"
    assert await node.at(1000.0 + SILENCE_SECONDS) == "failed"
    assert (await node.device()).result == result.value
    assert await node.poll() == ""
    assert await node.download() is None


async def test_a_device_that_was_off_gets_it_when_it_is_back_unless_the_end_has_come(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    await node.at(1000.0)
    assert await node.at(80_000.0) == "offered"
    assert await node.poll() == URL
    node = await a_node(tmp_path / "2")
    await node.at(1000.0)
    assert await node.at(90_000.0) == "failed"
    assert await node.poll() == ""


async def test_a_restart_at_any_moment_and_another_node_go_on_from_the_store(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    steps: list[tuple[str, Callable[[Node], Awaitable[object]]]] = [
        ("offered", lambda one: one.at(1000.0)),
        ("told", lambda one: one.poll()),
        ("told", lambda one: one.download(whole=False)),
        ("fetched", lambda one: one.download()),
    ]
    for state, act in steps:
        node = Node(node.store, tmp_path, node.now)  # killed and started anew
        node.files.sweep(await stored_images(node.store))
        await act(node)
        assert (await Node(node.store, tmp_path, node.now).device()).state == state
    first, second = Node(node.store, tmp_path, node.now), Node(node.store, tmp_path, node.now)
    await first.registers(NEW)
    await first.follow()
    await second.follow()
    await asyncio.gather(first.clock.look(), second.clock.look())
    assert (await first.device()).state == "executed"


async def test_a_device_is_not_served_without_end(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    await node.at(1000.0)
    for _ in range(MAX_DOWNLOADS):
        assert await node.download() == CONTENT
    assert await node.download() is None
    node = await a_node(tmp_path / "2")
    await node.at(1000.0)
    for _ in range(MAX_ASKS):
        assert await node.download(whole=False) == CONTENT
    assert await node.download() is None


async def test_another_model_token_image_or_extension_gets_nothing(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    await node.at(1000.0)
    for wrong in (
        replace(ASKED, token="a" * 26),
        replace(ASKED, image="0" * 24),
        replace(ASKED, extension=".rom"),
    ):
        assert isinstance(await node.configurations.find(wrong), Refused)
    await node.store.batch([Put(examples.sealed_device(node.vault, kind=DeviceKind.MULTI_TENANT_DOOR_PHONE, model="X916"))])
    assert await node.poll() == ""
    assert await node.download() is None
    assert await node.at(1001.0) == "failed"
    assert (await node.device()).result == Event.GONE.value


async def test_a_deleted_upgrade_and_a_missing_or_cut_file_are_refusals(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    await node.at(1000.0)
    (tmp_path / f"{IMAGE}.image").write_bytes(CONTENT[:100])
    assert await node.download() is None
    node.files.remove(IMAGE)
    assert await node.download() is None
    await node.store.batch([Delete(DeviceUpgrade, f"u/{MAC}"), Delete(FirmwareUpgrade, "u")])
    assert await node.poll() == ""
    await node.clock.look()


async def test_an_accountless_device_and_its_site_gone(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    await node.store.batch([Put(examples.sealed_device(node.vault, model="R29", account="")), Delete(Account, "400000001")])
    assert await node.at(1000.0) == "offered"
    await node.store.batch([Delete(Device, MAC.text)])
    assert await node.at(1001.0) == "failed"


def test_hours_are_the_sites_own_and_may_pass_midnight() -> None:
    midnight = 1_790_035_200.0 - 1_790_035_200.0 % 86_400  # UTC
    assert in_hours("UTC", midnight + 3600, 1, 4)
    assert not in_hours("UTC", midnight + 5 * 3600, 1, 4)
    assert in_hours("UTC", midnight + 3600, 22, 4)
    assert not in_hours("UTC", midnight + 3 * 3600, 22, 4)
    assert in_hours("Europe/Moscow", midnight, 3, 1)
    assert in_hours("Nowhere/At_All", midnight, 0, 1)


async def orders(node: Node) -> list[Command]:
    return [one.record for one in (await node.store.list(Command, "all", "")).items]


async def test_devices_that_can_be_woken_are_told_to_fetch_when_the_image_is_offered(tmp_path: Path) -> None:
    node = await a_node(tmp_path, model="C313")
    device = await node.store.get(Device, str(MAC))
    image = await node.store.get(FirmwareImage, IMAGE)
    assert device is not None
    assert image is not None
    await node.store.batch([Put(replace(device.record, model="C313")), Put(replace(image.record, model="C313"))])
    await node.at(999.0)
    assert await orders(node) == []
    assert await node.at(1000.0) == "offered"
    (order,) = await orders(node)
    assert (order.name, order.upgrade, order.state, order.not_before) == (CommandName.UPGRADE, f"u/{MAC}", "pending", 1000.0)
    await node.at(1005.0)
    assert len(await orders(node)) == 1


async def test_devices_that_nobody_can_wake_get_no_order(tmp_path: Path) -> None:
    node = await a_node(tmp_path)
    assert await node.at(1000.0) == "offered"
    assert await orders(node) == []


@pytest.mark.parametrize("how", ["registration", "fetch"])
async def test_the_reset_is_ordered_once_and_with_the_proof(tmp_path: Path, how: str) -> None:
    node = await a_node(tmp_path, reset_after=True)
    node.upgrades = Upgrades(node.store, node.model, node.files, lambda: node.now[0], resets=True)
    node.clock = UpgradeClock(node.store, node.model, lambda: node.now[0], resets=True)
    node.configurations = Configurations(
        read_model=node.model, vault=node.vault, settings=examples.SETTINGS, firmware=node.upgrades
    )
    await node.at(1000.0)
    await node.poll()
    await node.download()
    assert await orders(node) == []
    if how == "registration":
        await node.registers(NEW)
        await node.at(1200.0)
    else:
        await node.poll(f"Akuvox R29 {NEW}")
    device = await node.device()
    (order,) = await orders(node)
    assert (device.state, device.reset, device.reset_command) == ("executed", "ordered", order.id)
    assert (order.name, order.mac, order.state) == (CommandName.RESET, MAC, "pending")
    await node.registers(NEW)
    await node.at(1300.0)
    await node.poll(f"Akuvox R29 {NEW}")
    assert len(await orders(node)) == 1
