"""Firmware's part of the composition: its folder, and what is measured of it."""

from pathlib import Path

from autop.net.firmware_files import FirmwareFiles
from autop.net.listener import AutopListener
from autop.net.upgrade_clock import UpgradeClock
from autop.net.upgrades import stored_images
from gateway.errors import StartError
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


def add_firmware_gauges(metrics: Metrics, clock: UpgradeClock, listener: AutopListener) -> None:
    """What an operator watches while devices are upgraded."""
    metrics.gauge(
        "portico_firmware_upgrades",
        "Firmware upgrades by state.",
        ("state",),
        lambda: [((state.value,), clock.states[state]) for state in UpgradeState],
    )
    metrics.counter("portico_firmware_sent_bytes_total", "Bytes of firmware sent.", (), lambda: [((), listener.firmware_sent)])
