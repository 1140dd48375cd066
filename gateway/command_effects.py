"""What belongs to a command beside its own record: the door log's entry, the collected log, the way back after a reset,
counters."""

from collections.abc import Callable
from typing import Protocol

from gateway.command_ways import Said
from gateway.door_openings import DoorOpenings
from gateway.metrics import Metrics
from registry.command_states import Event
from registry.commands import CollectedLog, Command, CommandName, log_context
from registry.door_log import COMMAND, Opening, commanded_entry
from registry.records import Device
from registry.store import Put, Write
from registry.vault import Vault


class EnrolmentWindows(Protocol):
    """How a device that has lost its configuration gets one again."""

    async def open(self, command: Command, device: Device) -> None:
        """Let this device, and no other, enrol for a while from now. Raises RegistryError. Again is no error."""
        ...


class CommandEffects:
    """`windows` None: a device that was reset must be given its URL by hand."""

    def __init__(
        self,
        *,
        openings: DoorOpenings,
        vault: Vault,
        metrics: Metrics,
        wall: Callable[[], float],
        serial: Callable[[], int],
        windows: EnrolmentWindows | None,
    ) -> None:
        self._openings = openings
        self._vault = vault
        self._metrics = metrics
        self._wall = wall
        self._serial = serial
        self._windows = windows

    async def prepare(self, command: Command, device: Device) -> None:
        """Before it is sent: know whose opening it will be; open the window through which a reset device comes back."""
        if command.name is CommandName.OPEN_RELAY:
            self._openings.commanded(device.mac, command.id, self._opening(command))
        elif command.name is CommandName.RESET and self._windows is not None:
            await self._windows.open(command, device)

    def writes(self, command: Command, device: Device, said: Said) -> list[Write]:
        """The door log's entry of an opening (unless the device's own report is there already), or the log that was collected."""
        if said.event is not Event.DONE:
            return []
        if command.name is CommandName.OPEN_RELAY:
            opening, now = self._opening(command), self._wall()
            return [Put(commanded_entry(device, command.relay, command.id, opening, wall=now, serial=self._serial()), expect=0)]
        if command.name is CommandName.COLLECT_LOG:
            return [Put(CollectedLog(command.id, self._vault.seal(said.log, log_context(command.id))))]
        return []

    def over(self, command: Command) -> None:
        """Count it."""
        self._metrics.commands.labels(command.name.value, command.way.value or "none", command.state.value).inc()

    def _opening(self, command: Command) -> Opening:
        return Opening(COMMAND, command.created_by, "")
