"""A device's registration: keeps one binding alive (RFC 3261 10.2). The table is in `registration_states.py`."""

from collections.abc import Callable

from simulators import registration_states as states
from simulators.agent_events import AgentEvent, NotRegistered, Refreshed, Registered, Unregistered
from simulators.dialog import Composed, compose
from simulators.line import ALLOW, Exchange, Line
from sip.grammar import decimal
from sip.header_values import parse_name_addr
from sip.message import Response
from sip.timers import NEVER

RETRY_FIRST = 1.0
RETRY_MOST = 60.0
"""Seconds: tries after a failure are RETRY_FIRST * 2^n apart at most, as on the channel (docs/tunnel-protocol.md section 7)."""
MAX_EXPIRES = 2**31 - 1


class Registration:
    """Registers, refreshes at 80 to 90 % of the granted time, tries again after failures, unregisters."""

    def __init__(self, line: Line, emit: Callable[[AgentEvent], None]) -> None:
        self._line = line
        self._emit = emit
        self._state = states.IDLE
        self._due = NEVER
        self._call_id = line.tag() + b"@" + line.host
        self._tag = line.tag()
        self._cseq = 0
        self._failures = 0
        self._exchange: Exchange | None = None
        self._expires = 0
        self._status = 0
        self._reason = ""
        self._retry_after = 0

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our binding, as far as we know."""
        return self._state in (states.REGISTERED, states.REFRESHING)

    @property
    def call_id(self) -> bytes:
        """The Call-ID of all our REGISTERs (10.2: SHOULD be the same)."""
        return self._call_id

    def start(self, now: float) -> None:
        """Register, and stay registered."""
        self._step(states.START, now)

    def again(self, now: float) -> None:
        """Refresh, or try again, now: the way to the registrar is a new one."""
        self._step(states.DUE, now)

    def stop(self, now: float) -> None:
        """Take the binding back."""
        self._step(states.STOP, now)

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        """A final response came to a REGISTER (challenges that can be met never arrive here)."""
        if exchange is not self._exchange or response.status < 200:
            return
        self._status, self._reason = response.status, response.reason.decode("ascii", "replace")
        if response.status >= 300:
            self._retry_after = max(
                0, decimal((response.get(b"retry-after") or b"").split(b";")[0].split(b"(")[0].strip(b" "), 3600)
            )
            self._step(states.REFUSED, now)
            return
        self._expires = self._granted(response)
        self._step(states.OK, now)

    def failed(self, exchange: Exchange, now: float) -> None:
        """No answer came to a REGISTER."""
        if exchange is self._exchange:
            self._status, self._reason, self._retry_after = 408, "no answer", 0
            self._step(states.REFUSED, now)

    def next_deadline(self) -> float:
        """When the next REGISTER is due, NEVER if none is."""
        return self._due

    def on_deadline(self, now: float) -> None:
        """Refresh, or try again."""
        if self._due <= now:
            self._due = NEVER
            self._step(states.DUE, now)

    def _step(self, event: str, now: float) -> None:
        row = states.TABLE.get((self._state, event))
        if row is None:
            return
        self._state, what = row
        _EFFECTS[what](self, now)

    def _send(self, now: float, expires: int) -> None:
        line = self._line
        self._exchange = exchange = Exchange(b"REGISTER", self, self._next_cseq)
        extra = (
            (b"contact", line.binding),
            (b"expires", b"%d" % expires),
            (b"supported", b"path, outbound"),
            (b"allow", ALLOW),
            (b"user-agent", line.user_agent),
        )
        request = compose(
            Composed(
                b"REGISTER",
                b"sip:" + line.domain,
                line.via(),
                line.from_value + b";tag=" + self._tag,
                line.address,
                self._call_id,
                self._next_cseq(),
                extra=extra,
            )
        )
        line.send(request, exchange, now)

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _granted(self, response: Response) -> int:
        """The expiry of our own contact (10.2.4), which may differ from what was asked; without one, of the Expires header."""
        ours = parse_name_addr(self._line.contact).uri
        for value in response.all(b"contact"):
            contact = parse_name_addr(value)
            if contact.uri == ours:
                granted = decimal(contact.params.get(b"expires", b""), MAX_EXPIRES)
                if granted >= 0:
                    return granted
        return max(0, decimal(response.get(b"expires") or b"", MAX_EXPIRES))

    def _register(self, now: float) -> None:
        self._send(now, self._line.account.expires)

    def _remove(self, now: float) -> None:
        self._due = NEVER
        self._send(now, 0)

    def _say_registered(self, now: float) -> None:
        exchange = self._exchange
        self._emit(Registered(self._expires, exchange.proofs if exchange else 0))
        self._set_refresh(now)

    def _say_refreshed(self, now: float) -> None:
        self._emit(Refreshed(self._expires))
        self._set_refresh(now)

    def _set_refresh(self, now: float) -> None:
        # Devices that booted together after a power cut must not refresh together for ever, hence the spread.
        self._failures = 0
        self._due = now + max(1.0, self._expires * (0.8 + 0.1 * self._line.fraction()))

    def _back_off(self, now: float) -> None:
        longest = min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        wait = self._retry_after + longest * (0.5 + 0.5 * self._line.fraction())
        self._due = now + wait
        self._emit(NotRegistered(self._status, self._reason, wait))

    def _say_gone(self, now: float) -> None:
        self._due = NEVER
        self._emit(Unregistered())


_EFFECTS: dict[str, Callable[[Registration, float], None]] = {
    states.SEND: Registration._register,
    states.SEND_REMOVAL: Registration._remove,
    states.SAY_REGISTERED: Registration._say_registered,
    states.SAY_REFRESHED: Registration._say_refreshed,
    states.BACK_OFF: Registration._back_off,
    states.SAY_GONE: Registration._say_gone,
}
