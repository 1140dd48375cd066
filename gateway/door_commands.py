"""Opening a relay over the device's channel or its site's connector: `admin_api.ports.DoorOpener`."""

from collections.abc import Callable

from admin_api.ports import Commanded
from gateway.directory import MemoryDirectory
from gateway.door_openings import DoorOpenings
from gateway.logbook import Logbook
from gateway.metrics import Metrics
from registry.door_log import Opening
from registry.mac import MacAddress
from registry.records import Device
from sip.call_policy import may_open
from sip.directory import UNKNOWN, AccountFacts, AccountQuestion
from tunnel.errors import LinkDown
from tunnel.messages import Result
from tunnel.net.ports import Reached

CALL = "open-relay"
DEADLINE = 3.0
"""Seconds a device has for its answer. An app shows the outcome within 3.5 s (issue 4); the rest is for the store."""
_LONGEST_WORD = 64
FACTORY_HOLD = 3
_NOT_ASKED = frozenset(("not_listed", "no_address", "wrong_device", "unreachable", "busy"))
"""Words of a connector that did not get as far as the device (docs/tunnel-protocol.md section 11)."""


class DoorCommands:
    """`reach(mac)`: the device, None if it cannot be reached now. `talking` as in the port."""

    def __init__(
        self,
        *,
        reach: Callable[[MacAddress], Reached | None],
        directory: MemoryDirectory,
        talking: Callable[[str, str], str],
        openings: DoorOpenings,
        logbook: Logbook,
        metrics: Metrics,
    ) -> None:
        self._reach = reach
        self._directory = directory
        self._talking = talking
        self._openings = openings
        self._logbook = logbook
        self._metrics = metrics

    async def permits(self, account: str, device: Device) -> bool:
        """See DoorOpener."""
        app, door = await self._account(account), await self._account(device.account)
        return app is not None and door is not None and may_open(app, door)

    async def _account(self, username: str) -> AccountFacts | None:
        found = self._directory.account(username)
        if found is UNKNOWN:
            await self._directory.fetch(AccountQuestion(username))
            found = self._directory.account(username)
        return found if isinstance(found, AccountFacts) else None

    def talking(self, account: str, door: str) -> str:
        """See DoorOpener."""
        return self._talking(account, door)

    async def open(self, device: Device, relay: int, command: bytes, opening: Opening) -> tuple[Commanded, str]:
        """See DoorOpener."""
        reached = self._reach(device.mac)
        if reached is None:
            return Commanded.UNREACHABLE, ""
        self._openings.commanded(device.mac, command.hex(), opening)
        body = {
            "relay": relay,
            "method": str(opening.method),
            "by": opening.by,
            "call_id": opening.call_id,
            "command": command.hex(),
            "hold": device.relays[relay - 1].hold_seconds if 0 < relay <= len(device.relays) else FACTORY_HOLD,
        }
        try:
            outcome, word = _outcome(await reached.call(CALL, body, DEADLINE, command))
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
    said = result.body.get("error", "")
    word = said[:_LONGEST_WORD] if isinstance(said, str) and said.isprintable() else ""
    if word == "no_answer":
        return Commanded.SILENT, ""
    return Commanded.UNREACHABLE if word in _NOT_ASKED else Commanded.REFUSED, word
