"""A simulated indoor monitor and the resident in front of it: it rings, somebody answers, opens the door, hangs up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulators.agent_events import AgentEvent, Answered, DtmfSent, IncomingCall
from simulators.device import Device


@dataclass(frozen=True, slots=True)
class Resident:
    """What the person does, seconds after the thing before: picks up, presses the unlock button, hangs up. None: does not."""

    answers_after: float | None = 1.0
    opens_after: float | None = 1.0
    hangs_up_after: float | None = 1.0


@dataclass(frozen=True, slots=True)
class RelayStateKept:
    """The gateway has acknowledged the state of a relay."""

    relay: int
    on: bool


class IndoorMonitor(Device):
    """One indoor monitor. It sends the unlock code its configuration holds, never one of its own."""

    model = "Portico C313-SIM 113.30.1.1"

    def __init__(self, *args: Any, resident: Resident | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.resident = resident or Resident()
        self._keys_left = 0
        self._relays: dict[int, bool] = {}
        self._reporting: dict[int, bool] = {}
        """Relays whose report is under way, and the state it tells."""

    def switch_relay(self, number: int, on: bool) -> None:
        """Switch a relay of the monitor's own (a lamp, a gate); the gateway is told its newest state."""
        self._relays[number] = on
        if number not in self._reporting:
            self._reporting[number] = on
            self.spawn(self._report_relay(number))

    async def _report_relay(self, number: int) -> None:
        """One report at a time for each relay, so that an older state never comes behind a newer one."""
        while True:
            told = self._reporting[number] = self._relays[number]
            await self.report("relay-state", {"relay": number, "on": told})
            if self._relays[number] == told:
                del self._reporting[number]
                self.happenings.add(RelayStateKept(number, told))
                return

    def on_sip(self, event: AgentEvent) -> None:
        """The resident reacts."""
        if isinstance(event, IncomingCall):
            self._later(self.resident.answers_after, self._answer, event.call)
        elif isinstance(event, Answered):
            self._later(self.resident.opens_after, self._open, event.call)
            if self.resident.opens_after is None:
                self._later(self.resident.hangs_up_after, self._hang_up, event.call)
        elif isinstance(event, DtmfSent):
            self._keys_left -= 1
            if self._keys_left == 0:
                self._later(self.resident.hangs_up_after, self._hang_up, event.call)

    def _later(self, seconds: float | None, action: Callable[[str], None], call: str) -> None:
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, action, call)

    def _answer(self, call: str) -> None:
        if (sip := self.sip) is not None:
            sip.do(lambda now: sip.agent.answer(call, now))

    def _open(self, call: str) -> None:
        codes = self.config.unlock_codes if self.config is not None else ()
        if (sip := self.sip) is None or not codes or not codes[0]:
            self._later(self.resident.hangs_up_after, self._hang_up, call)
            return
        self._keys_left = len(codes[0])
        sip.do(lambda now: sip.agent.press(call, codes[0], now))

    def _hang_up(self, call: str) -> None:
        if (sip := self.sip) is not None:
            sip.do(lambda now: sip.agent.hang_up(call, now))
