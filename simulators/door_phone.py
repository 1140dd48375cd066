"""A simulated door phone: a button that calls, relays that DTMF codes open, a web page of its own behind the channel."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from simulators.agent_events import AgentEvent, Answered, DtmfReceived, Ended, IncomingCall
from simulators.device import Device
from simulators.device_config import DeviceConfig
from simulators.relays import RelayBank, Switched
from simulators.web_page import WebPage
from tunnel.messages import Result
from tunnel.net.agent import CallTarget
from tunnel.net.local_service import LocalService

CALLS_SHOWN = 10
"""Calls the web page shows."""


@dataclass(frozen=True, slots=True)
class RelayOpened:
    """A relay switched and the door is open. `by` is who caused it: the user name at the other end of `call`, or the web page."""

    relay: int
    name: str
    method: str
    by: str
    call: str


@dataclass(frozen=True, slots=True)
class RelayClosed:
    """A relay fell back after its hold time."""

    relay: int
    name: str


@dataclass(frozen=True, slots=True)
class WrongCode:
    """A key came that completed no code; nothing opened. Devices say nothing about it."""

    call: str


@dataclass(frozen=True, slots=True)
class OpeningKept:
    """The gateway has acknowledged the report of an opening: it is in the door log."""

    relay: int
    event_id: str


class DoorPhone(Device):
    """One door phone. `press_button` is the visitor."""

    model = "Portico R29-SIM 29.30.1.1"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._relays = RelayBank()
        self._relay_timer: asyncio.TimerHandle | None = None
        self._page: WebPage | None = None
        self._recent: deque[str] = deque(maxlen=CALLS_SHOWN)
        self.fault = ""
        """The word with which commands to open are refused: a relay that does not switch. Empty: it does."""
        self.locked = False
        """A lockdown: nothing switches a relay."""
        self._calls: dict[str, str] = {}
        """What the web page will say of the calls under way."""

    def press_button(self) -> str:
        """Dial the first number of the call button; returns the call's name. Raises RuntimeError if the phone cannot call now."""
        if self.config is None or self.sip is None:
            raise RuntimeError("the door phone has no account yet")
        if not self.config.button_numbers:
            raise RuntimeError("the call button has no number")
        if self.sip.busy:
            raise RuntimeError("the door phone is in a call")
        number = self.config.button_numbers[0]
        call = self.sip.dial(number)
        self._calls[call] = f"to {number}"
        return call

    @property
    def recent_calls(self) -> tuple[str, ...]:
        """The last calls for the web page, newest first."""
        return tuple(reversed(self._recent))

    async def apply(self, before: DeviceConfig | None, now: DeviceConfig) -> None:
        """Relays and web page first: the channel offers the page as soon as it is up."""
        self._relays.reconfigure(now.relays)
        if self._page is None:
            self._page = WebPage(self)
            await self._page.start("127.0.0.1", 0)
        await super().apply(before, now)

    def services(self) -> Mapping[str, LocalService]:
        """The web page."""
        return {} if self._page is None else self._page.services()

    def calls(self) -> Mapping[str, CallTarget]:
        """Commands of the gateway."""
        return {**super().calls(), "open-relay": self._commanded, "lockdown": self._locked}

    def on_sip(self, event: AgentEvent) -> None:
        """Keys open relays; the web page shows the last calls."""
        if isinstance(event, DtmfReceived):
            self._key(event)
        elif isinstance(event, Answered):
            self._calls[event.call] = self._calls.get(event.call, "") + ", answered"
        elif isinstance(event, Ended):
            self._relays.call_over(event.call)
            outcome = "" if event.status == 200 else f", {event.status} {event.reason}"
            at = datetime.fromtimestamp(self._wall(), UTC).strftime("%H:%M:%S")
            self._recent.append(f"{at} {self._calls.pop(event.call, '')}{outcome}")
        elif isinstance(event, IncomingCall) and self.sip is not None:
            self._calls[event.call] = f"from {event.display_name or event.caller}"
            # A door phone talks at once (AUTO_ANSWER): a resident calls it to look and listen.
            sip = self.sip
            asyncio.get_running_loop().call_soon(lambda: sip.do(lambda now: sip.agent.answer(event.call, now)))

    async def _go_off(self, grace: float) -> None:
        if self._relay_timer is not None:
            self._relay_timer.cancel()
        await super()._go_off(grace)
        if self._page is not None:
            await self._page.stop()
            self._page = None

    def is_open(self, relay: int) -> bool:
        """Whether this relay (from 1) holds the door open now."""
        return self._relays.is_open(relay)

    def open_relay(self, number: int, *, method: str, by: str, call: str = "", command: str = "") -> bool:
        """Switch a relay for its hold time and report it; False if there is no such relay, or all are locked."""
        if self.locked or not self._relays.open(number, asyncio.get_running_loop().time()):
            return False
        self._switched(method, by, call, command)
        return True

    async def _commanded(self, body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        """The gateway's `open-relay`. The agent sees to it that a repeated command comes here once."""
        relay, words = body.get("relay"), [body.get(name) for name in ("method", "by", "call_id", "command")]
        if type(relay) is not int or not all(isinstance(word, str) for word in words):
            return refusal("malformed")
        if self.fault or self.locked:
            return refusal(self.fault or "lockdown")
        method, by, call, command = map(str, words)
        if not self.open_relay(relay, method=method, by=by, call=call, command=command):
            return refusal("no_such_relay")
        return {"opened": True}

    async def _locked(self, body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        """The gateway's `lockdown`. It holds over a reboot."""
        on = body.get("on")
        if type(on) is not bool:
            return refusal("malformed")
        self.locked = on
        return {}

    def _key(self, event: DtmfReceived) -> None:
        if self.locked:
            return
        number = self._relays.key(event.call, event.key, asyncio.get_running_loop().time())
        if number is None:
            self.happenings.add(WrongCode(event.call))
        else:
            self._switched("dtmf", event.peer, event.call)

    def _switched(self, method: str, by: str, call: str, command: str = "") -> None:
        """Say what really switched; only that is reported."""
        for switched in self._relays.take():
            if switched.opened:
                self.happenings.add(RelayOpened(switched.number, switched.name, method, by, call))
                self.spawn(self._report_opening(switched, method, by, call, command, self._wall()))
            else:
                self.happenings.add(RelayClosed(switched.number, switched.name))
        self._arm_relays()

    def _arm_relays(self) -> None:
        if self._relay_timer is not None:
            self._relay_timer.cancel()
            self._relay_timer = None
        due = self._relays.next_deadline()
        if due is not None:
            self._relay_timer = asyncio.get_running_loop().call_at(due, self._hold_time_over)

    def _hold_time_over(self) -> None:
        self._relays.on_deadline(asyncio.get_running_loop().time())
        self._switched("", "", "")

    async def _report_opening(self, switched: Switched, method: str, by: str, call: str, command: str, at: float) -> None:
        event_id = self._entropy(16).hex()
        body = {"event_id": event_id, "relay": switched.number, "method": method, "by": by, "call_id": call, "at": at}
        if command:
            body["command"] = command
        await self.report("relay-opened", body)
        self.happenings.add(OpeningKept(switched.number, event_id))


def refusal(word: str) -> Result:
    """The RESULT of a call that was not done. The agent puts the call's id in."""
    return Result(bytes(16), False, {"error": word})
