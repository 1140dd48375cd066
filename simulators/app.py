"""A simulated app on a resident's phone: it registers, answers, opens doors from its home page and its talking page.

The wish to open goes to the admin API, through the backend that manages the apps' users (here: whoever holds the token).
"""

import secrets
from collections.abc import Callable

from registry.mac import MacAddress
from simulators.admin_client import AdminClient, Answer
from simulators.agent_events import AgentEvent
from simulators.happenings import Happenings
from simulators.line import SipAccount
from simulators.sip_endpoint import SipEndpoint


class App:
    """One app. What happens on its SIP side is in `happenings`."""

    def __init__(self, account: SipAccount, backend: AdminClient, *, entropy: Callable[[int], bytes]) -> None:
        self.happenings = Happenings(None)
        self.account = account
        self._backend = backend
        self.sip = SipEndpoint(account, entropy=entropy, on_event=self._on_event, user_agent="Portico App-SIM 1")

    async def start(self) -> None:
        """Begin to register."""
        await self.sip.start()

    async def stop(self) -> None:
        """Take the binding back."""
        await self.sip.stop()

    async def open(self, door: MacAddress, relay: int, page: str, *, key: str = "") -> Answer:
        """Tap on a door, on `page` "home" or "talking"; `key` is that of an earlier tap whose outcome is not known.

        Raises AdminProblem where it does not open.
        """
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        body = {"account": self.account.username, "page": page}
        return await self._backend.call("POST", f"/devices/{door}/relays/{relay}/open", body, headers=headers)

    def answer(self, call: str) -> None:
        """Pick up."""
        self.sip.do(lambda now: self.sip.agent.answer(call, now))

    def hang_up(self, call: str) -> None:
        """End a call."""
        self.sip.do(lambda now: self.sip.agent.hang_up(call, now))

    def press(self, call: str, keys: str) -> None:
        """Send DTMF keys by INFO."""
        self.sip.do(lambda now: self.sip.agent.press(call, keys, now))

    def _on_event(self, event: AgentEvent) -> None:
        self.happenings.add(event)
