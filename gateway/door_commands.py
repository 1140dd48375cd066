"""Opening a relay over the device's channel: `admin_api.ports.DoorOpener`."""

from collections.abc import Callable

from admin_api.ports import Commanded
from gateway.door_openings import DoorOpenings
from gateway.logbook import Logbook
from gateway.metrics import Metrics
from registry.door_log import Opening
from registry.mac import MacAddress
from registry.records import Device
from tunnel.errors import LinkDown
from tunnel.messages import Result
from tunnel.net.device_link import DeviceLink

CALL = "open-relay"
DEADLINE = 3.0
"""Seconds a device has for its answer. An app shows the outcome within 3.5 s (issue 4); the rest is for the store."""
_LONGEST_WORD = 64


class DoorCommands:
    """`link(mac)`: the device's channel, None if it has none now. `talking` as in the port."""

    def __init__(
        self,
        *,
        link: Callable[[MacAddress], DeviceLink | None],
        talking: Callable[[str, str], str],
        openings: DoorOpenings,
        logbook: Logbook,
        metrics: Metrics,
    ) -> None:
        self._link = link
        self._talking = talking
        self._openings = openings
        self._logbook = logbook
        self._metrics = metrics

    def talking(self, account: str, door: str) -> str:
        """See DoorOpener."""
        return self._talking(account, door)

    async def open(self, device: Device, relay: int, command: bytes, opening: Opening) -> tuple[Commanded, str]:
        """See DoorOpener."""
        link = self._link(device.mac)
        if link is None:
            return Commanded.UNREACHABLE, ""
        self._openings.commanded(device.mac, command.hex(), opening)
        body = {
            "relay": relay,
            "method": opening.method.value,
            "by": opening.by,
            "call_id": opening.call_id,
            "command": command.hex(),
        }
        try:
            outcome, word = _outcome(await link.call(CALL, body, DEADLINE, command))
        except (LinkDown, TimeoutError):
            return Commanded.SILENT, ""
        if outcome is Commanded.OPENED:
            self._metrics.openings.labels(outcome.value).inc()
        return outcome, word

    def refused(self, device: Device, relay: int, actor: str, account: str, reason: str) -> None:
        """See DoorOpener."""
        self._metrics.openings.labels(reason).inc()
        self._logbook.audit(
            actor=actor,
            action="relay.refused",
            object=f"device/{device.mac}",
            site=device.site,
            detail=f"relay {relay} for {account}: {reason}",
        )


def _outcome(result: Result) -> tuple[Commanded, str]:
    """What the device said. `ok` alone is no opening: it must say `opened`."""
    if result.ok and result.body.get("opened") is True:
        return Commanded.OPENED, ""
    word = result.body.get("error", "")
    return Commanded.REFUSED, word[:_LONGEST_WORD] if isinstance(word, str) and word.isprintable() else ""
