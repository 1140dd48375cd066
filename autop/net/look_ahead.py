"""What a device's file needs from the store, asked for at once: who boots waits for the store twice, not eight times."""

from collections.abc import Callable

from registry.configuration import DeviceFetches, OneTimeAutop
from registry.firmware import DeviceUpgrade
from registry.location import AorBindings
from registry.read_model import ReadModel
from registry.records import Account, Device, Site

LookAhead = Callable[[Device], None]


def look_ahead(read_model: ReadModel) -> LookAhead:
    """Begins to load what rendering this device, and noting its fetch, will ask the read model for."""

    def begin(device: Device) -> None:
        mac = device.mac.text
        read_model.fetch_ahead((OneTimeAutop, mac), (DeviceFetches, mac), (Site, device.site))
        if device.account:
            read_model.fetch_ahead((Account, device.account), (AorBindings, device.account))
        read_model.fetch_ahead_unique(DeviceUpgrade, "live", mac)

    return begin
