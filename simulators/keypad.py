"""DTMF keys of a call as INFO requests, out and in: one at a time, the next once the one before was answered."""

from simulators.call import Call
from simulators.dtmf import CONTENT_TYPE, pressed_key, relay_body
from simulators.line import Exchange, Line
from sip.responses import make_response
from sip.server_transaction import ServerTransaction


def send_key(line: Line, call: Call, now: float) -> None:
    """Send the first key that waits."""
    dialog = call.dialog
    if dialog is not None:
        extra = ((b"content-type", CONTENT_TYPE), (b"user-agent", line.user_agent))
        info = dialog.request(b"INFO", line.via(), dialog.next_cseq(), extra=extra, body=relay_body(call.keys[0]))
        line.send(info, Exchange(b"INFO", call, dialog.next_cseq), now)


def receive_key(line: Line, transaction: ServerTransaction, now: float) -> str | None:
    """Answer an INFO; the key it reports, or None. A body that is no DTMF is refused with 415 (RFC 6086 4.2.2)."""
    request = transaction.request
    key = pressed_key(request.get(b"content-type"), request.body)
    if key is None and request.body:
        line.refuse(transaction, 415, now, (b"accept", CONTENT_TYPE))
    else:
        line.respond(transaction, make_response(request, 200), now)
    return key
