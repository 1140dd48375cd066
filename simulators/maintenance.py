"""What the gateway may order of any simulated device: reboot, reset, fetch the configuration, hand over its log.

A device answers first and goes down then, so that the answer is on its way before the channel ends. Its memory of answered CALLs
survives that, a reset too (docs/tunnel-protocol.md section 8): a repetition of the order finds the answer and not the button.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simulators.happenings import Happenings
from tunnel.messages import Result
from tunnel.net.agent import CallTarget

DOWN_AFTER = 0.2
"""Seconds from the answer until the device goes down."""
LOG_LINES = 500
PIECE = 4_096
"""Bytes of log in one RESULT, the most that a control payload's value holds."""


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The device went down on the gateway's order, and is about to boot. `reset`: without its configuration."""

    reset: bool


@dataclass(frozen=True, slots=True)
class Ordered:
    """The gateway's order was obeyed. Said once for each order, however often it came."""

    name: str


class Restarting(Protocol):
    """The device, as far as this needs it."""

    happenings: Happenings

    def going_down(self) -> None:
        """Begin nothing new."""
        ...

    async def poll(self) -> bool: ...

    async def restart(self, *, reset: bool) -> None:
        """Go down, which is told with `Rebooted`, and boot again."""
        ...


class Maintenance:
    """The orders of one device. `stop` with the device."""

    def __init__(self, device: Restarting) -> None:
        self._device = device
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._collected = b""
        self._going: asyncio.Task[None] | None = None

    def calls(self) -> Mapping[str, CallTarget]:
        """By the names of docs/tunnel-protocol.md section 8."""
        return {
            "reboot": lambda _body: self._go(reset=False),
            "reset": lambda _body: self._go(reset=True),
            "provision": self._provision,
            "collect-log": self._collect,
        }

    def note(self, line: str) -> None:
        """Write a line into the device's log."""
        self._log.append(line)

    async def stop(self) -> None:
        """The device goes off: it restarts no more."""
        going, self._going = self._going, None
        if going is not None and going is not asyncio.current_task():
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    async def _go(self, *, reset: bool) -> Mapping[str, Any]:
        if self._going is None or self._going.done():
            self._device.going_down()
            self._going = asyncio.get_running_loop().create_task(self._restart(reset))
        self._device.happenings.add(Ordered("reset" if reset else "reboot"))
        return {}

    async def _restart(self, reset: bool) -> None:
        await asyncio.sleep(DOWN_AFTER)
        await self._device.restart(reset=reset)

    async def _provision(self, _body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        try:
            applied = await self._device.poll()
        except (OSError, ValueError):
            return Result(bytes(16), False, {"error": "no_configuration"})
        self._device.happenings.add(Ordered("provision"))
        return {"applied": applied}

    async def _collect(self, body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        """A piece of the log as it was when its first piece was asked for."""
        offset = body.get("offset", 0)
        if type(offset) is not int or not 0 <= offset <= 1 << 20:
            return Result(bytes(16), False, {"error": "malformed"})
        if offset == 0:
            self._device.happenings.add(Ordered("collect-log"))
            self._collected = "".join(f"{line}\n" for line in self._log).encode()
        piece = self._collected[offset : offset + PIECE]
        return {"text": piece, "more": offset + len(piece) < len(self._collected)}
