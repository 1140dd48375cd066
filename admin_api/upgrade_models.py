"""Bodies and views of firmware upgrades."""

from typing import Annotated

from pydantic import BaseModel, Field

from admin_api.models import Body, Flag, Instant, MacText, Reference, Timestamp, Whole, timestamp, wall_clock
from registry.firmware import MAX_UPGRADE_DEVICES, DeviceUpgrade, FirmwareUpgrade, ResetStep

DEFAULT_SECONDS = 7 * 86_400.0
"""How long devices are waited for where the body does not say."""
MAX_SECONDS = 90 * 86_400.0
Percent = Annotated[Whole, Field(ge=0, le=100)]
RESET_NOTE = "The new version is proven. The device is to be reset by hand: here nothing would bring it back by itself."


class UpgradeSettings(Body):
    """What can be changed of an upgrade while it is pending."""

    devices: Annotated[
        list[MacText] | None,
        Field(max_length=MAX_UPGRADE_DEVICES, description="null: every device of the site that the image is for."),
    ] = None
    starts: Annotated[Instant | None, Field(description="null, or a time that is past: now.")] = None
    ends: Annotated[Instant | None, Field(description="Devices that did not come by then have failed. null: in 7 days.")] = None
    first_hour: Annotated[Whole, Field(ge=0, le=23, description="Offered daily from this hour of the site's time,")] = 0
    hours: Annotated[Whole, Field(ge=0, le=24, description="for so many hours. 0: all day.")] = 0
    first_percent: Annotated[Whole, Field(ge=1, le=100, description="So many devices go first; half must prove it.")] = 100
    max_failed_percent: Annotated[Percent, Field(description="If more than this fail, the upgrade stops.")] = 20
    reset_after_upgrade: Flag = False
    allow_older: Annotated[Flag, Field(description="Devices with a newer version get this one too.")] = False


class UpgradeBody(UpgradeSettings):
    """A new upgrade."""

    site: Reference
    image: Reference


class UpgradeView(BaseModel):
    """An upgrade of devices of a site."""

    id: str
    site: str
    image: str
    model: str
    version: str
    devices: int
    starts: Timestamp
    ends: Timestamp
    first_hour: int
    hours: int
    first_percent: int
    max_failed_percent: int
    reset_after_upgrade: bool
    allow_older: bool
    state: str = Field(description="pending, processing, executed, or failed: over, but not every device has the version.")
    cancelled: bool = Field(description="Deleted while devices already had the image; it is followed to its end.")
    created: Timestamp
    updated: Timestamp


class DeviceUpgradeView(BaseModel):
    """One device of an upgrade."""

    mac: str
    state: str = Field(description="pending, offered, told, fetched, executed, failed or cancelled.")
    result: str = Field(description="Why it is over; empty until then.")
    since: Timestamp
    seen_version: str = Field(description="What the device last told; empty for nothing yet.")
    downloads: int
    reset: str = Field(description="none, waiting (for somebody to do it), or ordered: see the command.")
    reset_command: str | None
    reset_note: str


def view_of(upgrade: FirmwareUpgrade) -> UpgradeView:
    """An upgrade as the API shows it."""
    return UpgradeView(
        id=upgrade.id,
        site=upgrade.site,
        image=upgrade.image,
        model=upgrade.model,
        version=upgrade.version,
        devices=upgrade.devices,
        starts=timestamp(upgrade.starts),
        ends=timestamp(upgrade.ends),
        first_hour=upgrade.first_hour,
        hours=upgrade.hours,
        first_percent=upgrade.first_percent,
        max_failed_percent=upgrade.max_failed_percent,
        reset_after_upgrade=upgrade.reset_after,
        allow_older=upgrade.allow_older,
        state=upgrade.state,
        cancelled=upgrade.cancelled,
        created=timestamp(upgrade.created),
        updated=timestamp(upgrade.updated),
    )


def device_view_of(device: DeviceUpgrade) -> DeviceUpgradeView:
    """A device of an upgrade as the API shows it."""
    return DeviceUpgradeView(
        mac=device.mac.text,
        state=device.state,
        result=device.result,
        since=timestamp(device.since),
        seen_version=device.seen,
        downloads=device.downloads,
        reset=device.reset,
        reset_command=device.reset_command or None,
        reset_note=RESET_NOTE if device.reset is ResetStep.WAITING else "",
    )


def settings_of(upgrade: FirmwareUpgrade, devices: list[str]) -> UpgradeSettings:
    """The settings that an upgrade was made with."""
    return UpgradeSettings(
        devices=devices,
        starts=timestamp(upgrade.starts),
        ends=timestamp(upgrade.ends),
        first_hour=upgrade.first_hour,
        hours=upgrade.hours,
        first_percent=upgrade.first_percent,
        max_failed_percent=upgrade.max_failed_percent,
        reset_after_upgrade=upgrade.reset_after,
        allow_older=upgrade.allow_older,
    )


def window(settings: UpgradeSettings, wall: float) -> tuple[float, float, list[tuple[str, str]]]:
    """Begin and end in wall-clock seconds, and what is wrong with them."""
    starts = max(wall, wall_clock(settings.starts)) if settings.starts else wall
    ends = wall_clock(settings.ends) if settings.ends else starts + DEFAULT_SECONDS
    faults = []
    if starts > wall + MAX_SECONDS:
        faults.append(("/starts", "at most 90 days from now"))
    if not starts < ends <= starts + MAX_SECONDS:
        faults.append(("/ends", "after the start, and at most 90 days behind it"))
    return starts, ends, faults
