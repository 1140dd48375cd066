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


class IndoorMonitor(Device):
    """One indoor monitor. It sends the unlock code its configuration holds, never one of its own."""

    model = "Portico C313-SIM 113.30.1.1"

    def __init__(self, *args: Any, resident: Resident | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.resident = resident or Resident()
        self._keys_left = 0

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
