"""The calls of one user agent, as caller and as called side (RFC 3261 9, 12 to 15). The table is in `call_states.py`."""

from collections.abc import Callable

from simulators import call_states as states
from simulators import sdp
from simulators.agent_events import (
    FAILED,
    LOCAL,
    REMOTE,
    AgentEvent,
    Answered,
    DtmfReceived,
    DtmfSent,
    Ended,
    IncomingCall,
    Ringing,
)
from simulators.call import Call, Unacknowledged
from simulators.dialog import Dialog
from simulators.dtmf import relay_body
from simulators.keypad import receive_key, send_key
from simulators.line import SDP, Exchange, Line
from sip.errors import MalformedMessage
from sip.message import Request, Response
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.timers import NEVER, Timers
from sip.uri import user_and_host

CALL_TIMEOUT = 60.0
"""Seconds a device dials or rings before it gives up (CALLTIMEOUT.DialIn/DialOut, akuvox-devices.md section 4)."""


class Calls:
    """All calls of one line. A device has one call at a time: while it has one, further callers hear 486 (Busy Here)."""

    def __init__(self, line: Line, timers: Timers, emit: Callable[[AgentEvent], None]) -> None:
        self._line = line
        self._timers = timers
        self._emit = emit
        self._calls: dict[bytes, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def busy(self) -> bool:
        """Whether the device has a call that is not already being ended."""
        return any(call.state != states.ENDING for call in self._calls.values())

    # What the device does

    def dial(self, number: str, now: float) -> str:
        """Call `number` at the server; returns the call's name. Raises ValueError if the number cannot stand in a URI."""
        line = self._line
        user = number.encode("ascii")
        uri = b"sip:%s@%s" % (user, line.domain)
        user_and_host(uri, b"the number cannot be dialled")
        call_id = line.tag() + b"@" + line.host
        call = Call(call_id.decode("latin-1"), states.CALLING, number, int.from_bytes(line.tag()[:4], "big"))
        call.tag, call.until, call.invite_cseq = line.tag(), now + CALL_TIMEOUT, 1
        exchange = call.exchange = Exchange(b"INVITE", call, lambda: self._next_invite_cseq(call))
        request = line.invite(uri, call.tag, call_id, sdp.describe(line.local[0], call.session))
        self._calls[call_id] = call
        line.send(request, exchange, now)
        return call.id

    def answer(self, call_id: str, now: float) -> None:
        """Pick up."""
        self._at(call_id, states.ANSWER, now)

    def reject(self, call_id: str, status: int, now: float) -> None:
        """Refuse a call that rings here: 486 (busy) or 603 (declined)."""
        call = self._calls.get(call_id.encode("latin-1"))
        if call is not None and call.state == states.OFFERED:
            call.by, call.status, call.reason = LOCAL, status, "rejected here"
            self._step(call, states.REJECT, now)

    def hang_up(self, call_id: str, now: float) -> None:
        """End a call in whatever state it is."""
        call = self._calls.get(call_id.encode("latin-1"))
        if call is not None:
            call.by = call.by or LOCAL
            if call.state == states.OFFERED:
                call.status, call.reason = 603, "rejected here"
            self._step(call, states.HANG_UP, now)

    def press(self, call_id: str, keys: str, now: float) -> None:
        """Send DTMF keys, one INFO after the other, if the call is up. Raises ValueError for what is no key."""
        for key in keys:
            relay_body(key)
        call = self._calls.get(call_id.encode("latin-1"))
        if call is None or call.state != states.UP:
            return
        idle = not call.keys
        call.keys.extend(keys)
        if idle:
            send_key(self._line, call, now)

    # What comes from the other side

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        """A response to our INVITE, BYE or INFO that is no challenge we can meet."""
        call = exchange.about
        assert isinstance(call, Call)
        if exchange.method == b"INVITE":
            self._invite_answered(call, response, now)
        elif response.status >= 200:
            self._finished(call, exchange.method, response.status, now)

    def failed(self, exchange: Exchange, now: float) -> None:
        """No answer to our INVITE, BYE or INFO."""
        call = exchange.about
        assert isinstance(call, Call)
        if exchange.method == b"INVITE":
            self._fail(call, 408, "no answer", now)
        else:
            self._finished(call, exchange.method, 408, now)

    def may_try_again(self, call: Call) -> bool:
        """Whether a challenged INVITE is still wanted."""
        return call.state in (states.CALLING, states.RINGING)

    def invited(self, transaction: ServerTransaction, now: float) -> None:
        """An INVITE came, for a new call or inside one."""
        invite = transaction.request
        if invite.to_tag:
            self._invited_again(transaction, now)
        elif invite.call_id in self._calls:
            # Our own call came back to us (8.2.2.2): answering it would make a device ring itself.
            self._line.refuse(transaction, 482, now)
        elif self.busy:
            self._line.refuse(transaction, 486, now)
        elif invite.body and not sdp.accepts(invite.body):
            self._line.refuse(transaction, 488, now)
        else:
            self._ring(transaction, now)

    def cancelled(self, invite: ServerTransaction, now: float) -> None:
        """The caller of an INVITE gave up (the CANCEL itself is answered by the user agent)."""
        for call in list(self._calls.values()):
            if call.offered is invite:
                call.by, call.status, call.reason = REMOTE, 487, "the caller gave up"
                self._step(call, states.CANCEL, now)

    def acknowledged(self, ack: Request, now: float) -> None:
        """An ACK of one of our 2xx came."""
        call = self._dialog_of(ack)
        if call is not None and call.unacknowledged is not None and call.unacknowledged.cseq == ack.cseq[0]:
            call.unacknowledged = None
            self._step(call, states.ACK, now)

    def requested(self, transaction: ServerTransaction, now: float) -> None:
        """A BYE or INFO came."""
        request = transaction.request
        call = self._dialog_of(request)
        if call is None or call.dialog is None:
            self._line.refuse(transaction, 481, now)
        elif not call.dialog.in_order(request):
            self._line.refuse(transaction, 500, now)
        elif request.method == b"BYE":
            self._line.respond(transaction, make_response(request, 200), now)
            call.by, call.status, call.reason = call.by or REMOTE, 487 if call.state == states.OFFERED else 200, "BYE"
            self._step(call, states.BYE, now)
        else:
            key = receive_key(self._line, transaction, now)
            # A key during ringing is not yet the talking page: only an answered call opens doors.
            if key is not None and call.state in (states.UP, states.ANSWERED):
                self._emit(DtmfReceived(call.id, call.peer, key))

    # Time

    def next_deadline(self) -> float:
        """When the next call wants attention, NEVER if none does."""
        return min((call.deadline() for call in self._calls.values()), default=NEVER)

    def on_deadline(self, now: float) -> None:
        """Repeat what is unacknowledged, give up what takes too long."""
        for call in list(self._calls.values()):
            waiting = call.unacknowledged
            if waiting is not None and waiting.give_up_at <= now:
                call.unacknowledged = None
                call.by, call.status, call.reason = FAILED, 408, "no ACK"
                self._step(call, states.NO_ACK, now)
            elif waiting is not None and waiting.repeat_at <= now:
                waiting.interval = min(2 * waiting.interval, self._timers.t2)
                waiting.repeat_at = now + waiting.interval
                self._line.respond(waiting.transaction, waiting.response, now)
            if call.until <= now:
                self._took_too_long(call, now)

    # Inside

    def _at(self, call_id: str, event: str, now: float) -> None:
        call = self._calls.get(call_id.encode("latin-1"))
        if call is not None:
            self._step(call, event, now)

    def _step(self, call: Call, event: str, now: float) -> None:
        row = states.TABLE.get((call.state, event))
        if row is None:
            return
        call.state, what = row
        effect = _EFFECTS.get(what)
        if effect is not None:
            effect(self, call, now)

    def _next_invite_cseq(self, call: Call) -> int:
        call.invite_cseq += 1
        return call.invite_cseq

    def _invite_answered(self, call: Call, response: Response, now: float) -> None:
        if response.status < 200:
            call.provisional = response.status
            self._step(call, states.PROVISIONAL, now)
        elif response.status >= 300:
            self._fail(call, response.status, response.reason.decode("ascii", "replace"), now)
        elif call.dialog is not None and call.dialog.remote_tag != response.to_tag:
            self._end_other_fork(call, response, now)
        else:
            self._accepted(call, response, now)

    def _accepted(self, call: Call, response: Response, now: float) -> None:
        exchange = call.exchange
        if call.dialog is None and exchange is not None and exchange.transaction is not None:
            try:
                call.dialog = Dialog.as_caller(exchange.transaction.request, response)
                # What was dialled may be a number that rings many; the Contact says whose device has the call.
                call.peer = user_and_host(call.dialog.target)[0].decode("utf-8", "replace") or call.peer
            except MalformedMessage:
                self._fail(call, 400, "the 2xx names no usable Contact", now)
                return
        self._step(call, states.SUCCESS, now)
        if call.state == states.UP and not sdp.accepts(response.body):
            call.by, call.status, call.reason = FAILED, 488, "the answer holds no audio this device can play"
            self._step(call, states.HANG_UP, now)

    def _end_other_fork(self, call: Call, response: Response, now: float) -> None:
        """A second device answered too (13.2.2.4): acknowledge it and end it; the first one has the call."""
        exchange = call.exchange
        if exchange is None or exchange.transaction is None:
            return
        try:
            dialog = Dialog.as_caller(exchange.transaction.request, response)
        except MalformedMessage:
            return
        self._line.acknowledge(dialog, exchange.transaction.request)
        bye = dialog.request(b"BYE", self._line.via(), dialog.next_cseq())
        self._line.send(bye, Exchange(b"BYE of a fork", call, dialog.next_cseq), now)

    def _finished(self, call: Call, method: bytes, status: int, now: float) -> None:
        """A BYE or INFO of ours has its final response."""
        if method == b"BYE":
            self._step(call, states.BYE_DONE, now)
        elif method == b"INFO" and call.keys:
            self._emit(DtmfSent(call.id, call.keys.popleft(), status))
            if status in (408, 481):
                # The other side is gone or knows no such dialog (12.2.1.2): the call is over.
                call.by, call.status, call.reason = FAILED, status, "the other side lost the call"
                self._step(call, states.HANG_UP, now)
            elif call.keys and call.state == states.UP:
                send_key(self._line, call, now)

    def _fail(self, call: Call, status: int, reason: str, now: float) -> None:
        # Giving up is our doing even though the other side says 487 to it.
        call.by = call.by or FAILED
        call.status, call.reason = status, reason
        self._step(call, states.FAILURE, now)

    def _took_too_long(self, call: Call, now: float) -> None:
        call.until = NEVER
        if call.state in (states.CANCELLING, states.WITHDRAWN):
            if call.exchange is not None and call.exchange.transaction is not None:
                call.exchange.transaction.abandon()
            self._fail(call, 408, "no answer to CANCEL", now)
        elif call.state == states.OFFERED:
            call.by, call.status, call.reason = FAILED, 480, "nobody answered"
            self._step(call, states.REJECT, now)
        elif call.state in (states.CALLING, states.RINGING):
            call.by = FAILED
            self._step(call, states.HANG_UP, now)

    def _ring(self, transaction: ServerTransaction, now: float) -> None:
        line, invite = self._line, transaction.request
        tag = line.tag()
        try:
            dialog = Dialog.as_called(invite, tag)
            caller, _, _ = user_and_host(invite.from_addr.uri)
        except MalformedMessage as broken:
            self._line.refuse(transaction, broken.status or 400, now)
            return
        peer = caller.decode("utf-8", "replace")
        call = Call(invite.call_id.decode("latin-1"), states.OFFERED, peer, int.from_bytes(line.tag()[:4], "big"))
        call.tag, call.dialog, call.offered, call.until = tag, dialog, transaction, now + CALL_TIMEOUT
        self._calls[invite.call_id] = call
        self._line.respond(transaction, self._line.dialog_answer(transaction.request, 180, call.tag), now)
        self._emit(IncomingCall(call.id, peer, invite.from_addr.display.decode("utf-8", "replace")))

    def _invited_again(self, transaction: ServerTransaction, now: float) -> None:
        """A re-INVITE (14.2): the session stays what it is, the remote target may move."""
        request = transaction.request
        call = self._dialog_of(request)
        if call is None or call.dialog is None:
            self._line.refuse(transaction, 481, now)
        elif not call.dialog.in_order(request):
            self._line.refuse(transaction, 500, now)
        elif call.state != states.UP or call.unacknowledged is not None:
            self._line.refuse(transaction, 491, now)
        elif request.body and not sdp.accepts(request.body):
            self._line.refuse(transaction, 488, now)
        else:
            call.dialog.refresh_target(request)
            self._send_2xx(call, transaction, now)

    def _dialog_of(self, request: Request) -> Call | None:
        call = self._calls.get(request.call_id)
        if call is None or call.dialog is None:
            return None
        dialog = call.dialog
        return call if (dialog.local_tag, dialog.remote_tag) == (request.to_tag, request.from_tag) else None

    def _send_2xx(self, call: Call, transaction: ServerTransaction, now: float) -> None:
        response = self._line.dialog_answer(transaction.request, 200, call.tag)
        response.append(*SDP)
        response.body = sdp.describe(self._line.local[0], call.session)
        call.unacknowledged = Unacknowledged(transaction, response, self._timers.t1, self._timers.lifetime, now)
        self._line.respond(transaction, response, now)

    # Effects of the table's rows

    def _say_ringing(self, call: Call, now: float) -> None:
        if call.provisional == 180 and not call.rung:
            call.rung = True
            self._emit(Ringing(call.id))

    def _confirm(self, call: Call, now: float) -> None:
        call.until = NEVER
        self._repeat_ack(call, now)
        self._emit(Answered(call.id))

    def _confirm_and_end(self, call: Call, now: float) -> None:
        self._repeat_ack(call, now)
        self._send_bye(call, now)

    def _repeat_ack(self, call: Call, now: float) -> None:
        if call.dialog is not None and call.exchange is not None and call.exchange.transaction is not None:
            self._line.acknowledge(call.dialog, call.exchange.transaction.request)

    def _send_cancel(self, call: Call, now: float) -> None:
        call.until = now + self._timers.lifetime
        if call.exchange is not None and call.exchange.transaction is not None:
            self._line.layer.cancel(call.exchange.transaction, now)

    def _send_bye(self, call: Call, now: float) -> None:
        call.until = NEVER
        dialog = call.dialog
        if dialog is not None:
            bye = dialog.request(b"BYE", self._line.via(), dialog.next_cseq())
            self._line.send(bye, Exchange(b"BYE", call, dialog.next_cseq), now)

    def _accept(self, call: Call, now: float) -> None:
        call.until = NEVER
        if call.offered is not None:
            self._send_2xx(call, call.offered, now)

    def _refuse_call(self, call: Call, now: float) -> None:
        if call.offered is not None:
            self._line.respond(call.offered, make_response(call.offered.request, call.status, to_tag=call.tag), now)
        self._end(call, now)

    def _say_up(self, call: Call, now: float) -> None:
        self._emit(Answered(call.id))

    def _end(self, call: Call, now: float) -> None:
        self._calls.pop(call.id.encode("latin-1"), None)
        self._emit(Ended(call.id, call.by or LOCAL, call.status or 200, call.reason))


_EFFECTS: dict[str, Callable[[Calls, Call, float], None]] = {
    states.SAY_RINGING: Calls._say_ringing,
    states.CONFIRM: Calls._confirm,
    states.CONFIRM_AND_END: Calls._confirm_and_end,
    states.REPEAT_ACK: Calls._repeat_ack,
    states.SEND_CANCEL: Calls._send_cancel,
    states.SEND_BYE: Calls._send_bye,
    states.ACCEPT: Calls._accept,
    states.REFUSE: Calls._refuse_call,
    states.SAY_UP: Calls._say_up,
    states.END: Calls._end,
}
