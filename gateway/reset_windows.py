"""The way back of a device that is reset: a window in which it, and no other, may enrol (docs/autop.md, Trust)."""

from collections.abc import Callable

from autop.enrolment import ONE_TIME_SECONDS, is_open
from autop.net.enrolment import Enrolments
from registry.commands import Command
from registry.enrolment import Enrolment, EnrolmentWindow, device_window
from registry.records import Device
from registry.store import Store

WINDOW_SECONDS = 6 * 3600.0
"""How long a device has for its way back; its network's PnP, TFTP or DHCP, or an installer, tells it the URL."""


class ResetWindows:
    """Implements `EnrolmentWindows`. `enrolments()`: they are made after the queue of commands."""

    def __init__(self, store: Store, enrolments: Callable[[], Enrolments], wall: Callable[[], float]) -> None:
        self._store = store
        self._enrolments = enrolments
        self._wall = wall

    async def open(self, command: Command, device: Device) -> None:
        """Open a window for the device, unless one is open that will do (whose URL somebody may have told it already), or it
        has come back since this command was sent first."""
        now = self._wall()
        window = await self._store.get(EnrolmentWindow, device_window(device.mac))
        known = await self._store.get(Enrolment, device.mac.text)
        back = known.record.confirmed if known is not None else None
        if command.attempts and back is not None and back >= command.since:
            return
        if window is not None and is_open(window.record, now) and window.record.ends - now >= ONE_TIME_SECONDS:
            used = known is not None and known.record.window == window.record.id and back is not None
            if not used:
                return
        await self._enrolments().open_for_device(
            device.mac, id=command.id[-16:], opened_by=f"command/{command.id}", seconds=WINDOW_SECONDS
        )
