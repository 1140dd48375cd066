"""Our registration at a trunk (RFC 3261 10.2): the user agent client's side, as a table.

Theory. A trunk that is configured to be registered at is registered at for ever; only its removal ends that. Credentials are
sent when they are asked for, a refresh comes before the binding ends, failures are tried again with growing pauses, and when
the way to the trunk has become another one (failover, a new connection) the binding is moved there at once.

    IDLE --start--> TRYING --2xx--> REGISTERED --due--> REFRESHING --2xx--> REGISTERED
                      | refused        |  moved: REFRESHING   | refused
                      v                | stop                 v
                   WAITING             v                   WAITING --due, moved--> TRYING
                                    LEAVING --any final--> GONE

In TRYING, REFRESHING and LEAVING a challenge is answered and the state stays; so it does when 423 names a longer time.
"""

from collections.abc import Callable
from typing import Final, Protocol

from sip.deadlines import Timed
from sip.errors import MalformedMessage
from sip.grammar import decimal
from sip.header_values import parse_name_addr
from sip.message import Request, Response
from sip.timers import NEVER
from sip.trunk_credentials import TrunkCredentials
from sip.uri import equivalent

IDLE: Final = "idle"
TRYING: Final = "trying"
REGISTERED: Final = "registered"
REFRESHING: Final = "refreshing"
WAITING: Final = "waiting"
LEAVING: Final = "leaving"
GONE: Final = "gone"

START: Final = "start"
STOP: Final = "stop"
DUE: Final = "due"
MOVED: Final = "moved"
OK: Final = "2xx"
CHALLENGED: Final = "challenged"
TOO_BRIEF: Final = "423"
REFUSED: Final = "refused"

SEND: Final = "send REGISTER"
SEND_AGAIN: Final = "send REGISTER with what was learnt"
SEND_REMOVAL: Final = "send REGISTER with Expires 0"
HOLD: Final = "note the expiry, set the refresh"
BACK_OFF: Final = "set the next try"
END: Final = "wait for nothing"

TABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (IDLE, START): (TRYING, SEND),
    (TRYING, OK): (REGISTERED, HOLD),
    (TRYING, CHALLENGED): (TRYING, SEND_AGAIN),
    (TRYING, TOO_BRIEF): (TRYING, SEND_AGAIN),
    (TRYING, REFUSED): (WAITING, BACK_OFF),
    (TRYING, MOVED): (TRYING, SEND),
    (TRYING, STOP): (LEAVING, SEND_REMOVAL),
    (REGISTERED, DUE): (REFRESHING, SEND),
    (REGISTERED, MOVED): (REFRESHING, SEND),
    (REGISTERED, STOP): (LEAVING, SEND_REMOVAL),
    (REFRESHING, OK): (REGISTERED, HOLD),
    (REFRESHING, CHALLENGED): (REFRESHING, SEND_AGAIN),
    (REFRESHING, TOO_BRIEF): (REFRESHING, SEND_AGAIN),
    (REFRESHING, REFUSED): (WAITING, BACK_OFF),
    (REFRESHING, MOVED): (REFRESHING, SEND),
    (REFRESHING, STOP): (LEAVING, SEND_REMOVAL),
    (WAITING, DUE): (TRYING, SEND),
    (WAITING, MOVED): (TRYING, SEND),
    (WAITING, STOP): (LEAVING, SEND_REMOVAL),
    (LEAVING, CHALLENGED): (LEAVING, SEND_AGAIN),
    (LEAVING, OK): (GONE, END),
    (LEAVING, REFUSED): (GONE, END),
}
"""(state, event) -> (next state, what to do). An event without a row in a state changes nothing."""

RETRY_FIRST: Final = 2.0
RETRY_MOST: Final = 300.0
"""Seconds: pauses after failures double from the first to the most, half of each by chance."""
RETRY_REFUSED: Final = 60.0
"""Shortest pause after a refusal that only people can cure (password, account): carriers lock accounts that are hammered."""
LONGEST_EXPIRES: Final = 86_400
_FOR_PEOPLE: Final = frozenset((401, 403, 404, 407))


class RegistrationSink(Protocol):
    """What a registration needs of the core around it."""

    def register(self, registration: "TrunkRegistration", now: float) -> None:
        """Send `registration.request(...)` to the best gateway, or call its `failed` if there is none."""
        ...

    def registration_armed(self, registration: "TrunkRegistration", at: float) -> None:
        """Call `fire` then (NEVER: not any more)."""
        ...

    def registration_changed(self, registration: "TrunkRegistration", why: str, now: float) -> None:
        """It is registered (perhaps again), or is not, or still is not."""
        ...


class TrunkRegistration(Timed):
    """One trunk's registration. `fraction()` draws from [0, 1)."""

    __slots__ = (
        "_call_id",
        "_contact",
        "_credentials",
        "_cseq",
        "_expires",
        "_fraction",
        "_held_until",
        "_proof",
        "_proofs",
        "_registrar",
        "_said",
        "_sink",
        "_tag",
        "_uri",
        "_wait",
        "_wanted",
        "_wanted_now",
        "failures",
        "state",
        "trunk",
        "username",
    )

    def __init__(
        self,
        trunk: str,
        registrar: bytes,
        username: bytes,
        expires: int,
        credentials: TrunkCredentials,
        sink: RegistrationSink,
        *,
        call_id: bytes,
        tag: bytes,
        fraction: Callable[[], float],
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.username = username
        self.state: str = IDLE
        self.failures = 0
        self._registrar = b"sip:" + registrar
        self._uri = b"sip:" + username + b"@" + registrar
        self._credentials = credentials
        self._sink = sink
        self._call_id = call_id
        self._tag = tag
        self._fraction = fraction
        self._cseq = 0
        self._wanted = expires
        self._wanted_now = expires
        self._contact = b""
        self._proof: tuple[bytes, bytes] | None = None
        self._proofs = 0
        self._expires = 0
        self._wait = 0.0
        self._held_until = -NEVER
        self._said = False

    def start(self, now: float) -> None:
        """Register, and stay registered."""
        self._step(START, "", now)

    def moved(self, now: float) -> None:
        """The way to the trunk is another one."""
        self._step(MOVED, "", now)

    def stop(self, now: float) -> None:
        """Take the binding back."""
        self._step(STOP, "removed", now)

    def is_registered(self, now: float) -> bool:
        """Whether the registrar holds our binding, as far as we know: also while a refresh is tried again."""
        return now < self._held_until and self.state not in (LEAVING, GONE)

    def request(self, via: bytes, contact: bytes) -> Request:
        """The REGISTER to send now, with the next CSeq (10.2: the same Call-ID for all). `contact` is ours, in brackets."""
        self._cseq += 1
        self._contact = contact
        fields = [
            (b"via", b"Via: " + via),
            (b"max-forwards", b"Max-Forwards: 70"),
            (b"from", b"From: <" + self._uri + b">;tag=" + self._tag),
            (b"to", b"To: <" + self._uri + b">"),
            (b"call-id", b"Call-ID: " + self._call_id),
            (b"cseq", b"CSeq: %d REGISTER" % self._cseq),
            (b"contact", b"Contact: " + contact),
            (b"expires", b"Expires: %d" % self._wanted_now),
        ]
        request = Request(b"REGISTER", self._registrar, [name for name, _ in fields], [line for _, line in fields])
        if self._proof is not None:
            request.append(self._proof[0], self._proof[1])
        return request

    def answered(self, response: Response, now: float) -> None:
        """A response to a REGISTER of ours; one to an earlier one than the last is of no interest."""
        if response.status < 200 or response.cseq[0] != self._cseq:
            return
        status = response.status
        if status < 300:
            self._expires = self._granted(response)
            if self._expires or self.state == LEAVING:
                self._step(OK, "", now)
            else:
                self._step(REFUSED, "no binding", now)
            return
        proof = self._credentials.answer(response, b"REGISTER", self._registrar, self._proofs)
        if proof is not None:
            self._proof = proof
            self._proofs += 1
            self._step(CHALLENGED, "", now)
            return
        longer = decimal(response.get(b"min-expires") or b"", LONGEST_EXPIRES) if status == 423 else 0
        if longer > self._wanted_now and self.state != LEAVING:
            self._wanted = self._wanted_now = longer
            self._step(TOO_BRIEF, "", now)
            return
        self._wait = float(max(0, decimal(_number(response.get(b"retry-after")), 3600)))
        if status in _FOR_PEOPLE:
            self._wait = max(self._wait, RETRY_REFUSED)
        self._step(REFUSED, str(status), now)

    def failed(self, why: str, cseq: int, now: float) -> None:
        """A REGISTER with this CSeq (0: whichever) got no answer, or could not be sent."""
        if cseq in (0, self._cseq):
            self._wait = 0.0
            self._step(REFUSED, why, now)

    def fire(self, now: float) -> None:
        """Refresh, or try again; and say so where the binding has run out meanwhile."""
        if self._said and not self.is_registered(now):
            self._say("expired", now)
        self._step(DUE, "", now)

    def _step(self, event: str, why: str, now: float) -> None:
        row = TABLE.get((self.state, event))
        if row is None:
            return
        self.state, effect = row
        if effect == SEND:
            self._proof, self._proofs, self._wanted_now = None, 0, self._wanted
            self._send(now)
        elif effect == SEND_AGAIN:
            self._send(now)
        elif effect == SEND_REMOVAL:
            self._proof, self._proofs, self._wanted_now = None, 0, 0
            self._send(now)
        elif effect == HOLD:
            self.failures = 0
            self._held_until = now + self._expires
            # Nodes that were started together must not refresh together for ever, hence the spread.
            self._sink.registration_armed(self, now + max(1.0, self._expires * (0.8 + 0.1 * self._fraction())))
        elif effect == BACK_OFF:
            longest = min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(self.failures, 16))
            self.failures += 1
            self._sink.registration_armed(self, now + self._wait + longest * (0.5 + 0.5 * self._fraction()))
        else:
            self._sink.registration_armed(self, NEVER)
        self._say(why, now)

    def _send(self, now: float) -> None:
        self._sink.registration_armed(self, NEVER)
        self._sink.register(self, now)

    def _say(self, why: str, now: float) -> None:
        registered = self.is_registered(now)
        held = self.state == REGISTERED
        failed = self.state == WAITING and not registered and why != ""
        if registered is not self._said or held or failed:
            self._said = registered
            self._sink.registration_changed(self, why, now)

    def _granted(self, response: Response) -> int:
        """Seconds granted to our own contact (10.2.4), else by the Expires header, else as asked."""
        ours = parse_name_addr(self._contact).uri
        for value in response.all(b"contact"):
            try:
                contact = parse_name_addr(value)
                same = equivalent(contact.uri, ours)
            except MalformedMessage:
                continue
            granted = decimal(contact.params.get(b"expires", b""), LONGEST_EXPIRES)
            if same and granted >= 0:
                return granted
        stated = decimal(response.get(b"expires") or b"", LONGEST_EXPIRES)
        return stated if stated >= 0 else self._wanted_now


def _number(value: bytes | None) -> bytes:
    """The delta-seconds of a Retry-After, without its comment and parameters."""
    return (value or b"").partition(b";")[0].partition(b"(")[0].strip(b" \t")
