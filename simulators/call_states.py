r"""One call at one device, from either side, as a table (RFC 3261 sections 9, 13 and 15).

Theory. The caller's side:

    CALLING --1xx--> RINGING --2xx--> UP --hang up--> ENDING --BYE answered--> ENDED
       |                |              \--BYE received--------------------------^
       | hang up        | hang up
       v                v
    WITHDRAWN --1xx--> CANCELLING --failure--> ENDED         (a 2xx that crossed the CANCEL is acknowledged and ended)

A CANCEL may be sent only once a provisional came (9.1), so giving up before that is a state of its own. The called side:

    OFFERED --answer--> ANSWERED --ACK--> UP --...                      (UP, ENDING, ENDED are the caller's)
       | reject, CANCEL       | hang up
       v                      v
     ENDED                 LEAVING --ACK, or none in 64*T1--> ENDING

The called side may not send BYE before its 200 is acknowledged or was given up (15), hence LEAVING.
Everything that changes a call's state is a row of TABLE; `calls.py` only does what a row names.
"""

from typing import Final

CALLING: Final = "calling"
RINGING: Final = "ringing"
WITHDRAWN: Final = "withdrawn"
CANCELLING: Final = "cancelling"
OFFERED: Final = "offered"
ANSWERED: Final = "answered"
LEAVING: Final = "leaving"
UP: Final = "up"
ENDING: Final = "ending"
ENDED: Final = "ended"

PROVISIONAL: Final = "r 1xx"
SUCCESS: Final = "r 2xx"
FAILURE: Final = "r 3xx-6xx"
"""A final refusal, a timeout of the INVITE transaction, or 64*T1 after a CANCEL (9.1)."""
BYE: Final = "r BYE"
CANCEL: Final = "r CANCEL"
ACK: Final = "r ACK"
NO_ACK: Final = "no ACK in 64*T1"
BYE_DONE: Final = "BYE answered"
"""Any final response to our BYE, or its timeout: the dialog is over either way (15.1.1)."""
HANG_UP: Final = "hang up"
ANSWER: Final = "answer"
REJECT: Final = "reject"

NOTHING: Final = "-"
SAY_RINGING: Final = "say it rings"
CONFIRM: Final = "send ACK, say it is answered"
CONFIRM_AND_END: Final = "send ACK, send BYE"
REPEAT_ACK: Final = "send ACK"
SEND_CANCEL: Final = "send CANCEL"
SEND_BYE: Final = "send BYE"
ACCEPT: Final = "send 200"
REFUSE: Final = "send the refusal, say it is over"
SAY_UP: Final = "say it is answered"
END: Final = "say it is over"

TABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (CALLING, PROVISIONAL): (RINGING, SAY_RINGING),
    (CALLING, SUCCESS): (UP, CONFIRM),
    (CALLING, FAILURE): (ENDED, END),
    (CALLING, HANG_UP): (WITHDRAWN, NOTHING),
    (RINGING, PROVISIONAL): (RINGING, SAY_RINGING),
    (RINGING, SUCCESS): (UP, CONFIRM),
    (RINGING, FAILURE): (ENDED, END),
    (RINGING, HANG_UP): (CANCELLING, SEND_CANCEL),
    (WITHDRAWN, PROVISIONAL): (CANCELLING, SEND_CANCEL),
    (WITHDRAWN, SUCCESS): (ENDING, CONFIRM_AND_END),
    (WITHDRAWN, FAILURE): (ENDED, END),
    (CANCELLING, SUCCESS): (ENDING, CONFIRM_AND_END),
    (CANCELLING, FAILURE): (ENDED, END),
    (OFFERED, ANSWER): (ANSWERED, ACCEPT),
    (OFFERED, REJECT): (ENDED, REFUSE),
    (OFFERED, HANG_UP): (ENDED, REFUSE),
    (OFFERED, CANCEL): (ENDED, REFUSE),
    (OFFERED, BYE): (ENDED, REFUSE),
    (ANSWERED, ACK): (UP, SAY_UP),
    (ANSWERED, NO_ACK): (ENDING, SEND_BYE),
    (ANSWERED, HANG_UP): (LEAVING, NOTHING),
    (ANSWERED, BYE): (ENDED, END),
    (LEAVING, ACK): (ENDING, SEND_BYE),
    (LEAVING, NO_ACK): (ENDING, SEND_BYE),
    (LEAVING, BYE): (ENDED, END),
    (UP, SUCCESS): (UP, REPEAT_ACK),
    (UP, NO_ACK): (ENDING, SEND_BYE),
    (UP, HANG_UP): (ENDING, SEND_BYE),
    (UP, BYE): (ENDED, END),
    (ENDING, SUCCESS): (ENDING, REPEAT_ACK),
    (ENDING, BYE): (ENDED, END),
    (ENDING, BYE_DONE): (ENDED, END),
    (ENDED, SUCCESS): (ENDED, REPEAT_ACK),
}
"""(state, event) -> (next state, what to do). An event without a row in a state changes nothing (a late or repeated message)."""
