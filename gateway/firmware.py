"""Firmware's part of the composition: its folder, the upgrades, and what is measured of them."""

from pathlib import Path

from autop.net.firmware_files import FirmwareFiles
from autop.net.listener import AutopListener
from autop.net.upgrade_clock import UpgradeClock
from autop.net.upgrades import Upgrades, stored_images
from gateway.errors import StartError
from gateway.followed_store import FollowedStore
from gateway.ground import Ground, Known
from gateway.metrics import Metrics
from registry.firmware import UpgradeState
from registry.store import Store


async def firmware_files(folder: Path, store: Store) -> FirmwareFiles:
    """The folder of firmware images, without what a crash left in it. Raises StartError for one that cannot be used."""
    try:
        images = FirmwareFiles(folder)
        images.sweep(await stored_images(store))
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror or error}") from None
    return images


def start_upgrades(ground: Ground, known: Known, images: FirmwareFiles) -> tuple[Upgrades, UpgradeClock]:
    """What devices are told of firmware, and the clock that moves upgrades on; the stack stops both."""
    store, read_model = FollowedStore(known.store, known.read_model), known.read_model
    upgrades = Upgrades(store, read_model, images, ground.wall, resets=True)
    ground.stack.push_async_callback(upgrades.stop)
    clock = UpgradeClock(store, read_model, ground.wall, resets=True)
    read_model.subscribe(clock.changed)
    clock.start()
    ground.stack.push_async_callback(clock.stop)
    return upgrades, clock


def add_firmware_gauges(metrics: Metrics, clock: UpgradeClock, listener: AutopListener) -> None:
    """What an operator watches while devices are upgraded."""
    metrics.gauge(
        "portico_firmware_upgrades",
        "Firmware upgrades by state.",
        ("state",),
        lambda: [((state.value,), clock.states[state]) for state in UpgradeState],
    )
    metrics.counter("portico_firmware_sent_bytes_total", "Bytes of firmware sent.", (), lambda: [((), listener.firmware_sent)])
