"""One device's registration as a table (RFC 3261 section 10.2).

Theory. A device that was told to register never stops trying; it forgets its registration only when it says so itself.

    IDLE --start--> TRYING --2xx--> REGISTERED --due--> REFRESHING --2xx--> REGISTERED
                      | refused         | stop              | refused
                      v                 v                   v
                   WAITING <---------------------------- WAITING --due--> TRYING
                                     LEAVING --any final--> GONE

A challenge is answered in the state it came in; whether an answer is worth trying again is `authentication.py`'s to say, which
turns a hopeless challenge into REFUSED. REFUSED is also a timeout.
"""

from typing import Final

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
OK: Final = "r 2xx"
CHALLENGED: Final = "r 401"
REFUSED: Final = "refused"

NOTHING: Final = "-"
SEND: Final = "send REGISTER"
SEND_PROOF: Final = "send REGISTER with credentials"
SEND_REMOVAL: Final = "send REGISTER with Expires 0"
SAY_REGISTERED: Final = "say it is registered, set the refresh"
SET_REFRESH: Final = "set the refresh"
BACK_OFF: Final = "say it failed, set the next try"
SAY_GONE: Final = "say it is gone"

TABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (IDLE, START): (TRYING, SEND),
    (TRYING, OK): (REGISTERED, SAY_REGISTERED),
    (TRYING, CHALLENGED): (TRYING, SEND_PROOF),
    (TRYING, REFUSED): (WAITING, BACK_OFF),
    (TRYING, STOP): (LEAVING, SEND_REMOVAL),
    (REGISTERED, DUE): (REFRESHING, SEND),
    (REGISTERED, STOP): (LEAVING, SEND_REMOVAL),
    (REFRESHING, OK): (REGISTERED, SET_REFRESH),
    (REFRESHING, CHALLENGED): (REFRESHING, SEND_PROOF),
    (REFRESHING, REFUSED): (WAITING, BACK_OFF),
    (REFRESHING, STOP): (LEAVING, SEND_REMOVAL),
    (WAITING, DUE): (TRYING, SEND),
    (WAITING, STOP): (GONE, SAY_GONE),
    (LEAVING, OK): (GONE, SAY_GONE),
    (LEAVING, CHALLENGED): (LEAVING, SEND_PROOF),
    (LEAVING, REFUSED): (GONE, SAY_GONE),
    (GONE, START): (TRYING, SEND),
}
"""(state, event) -> (next state, what to do). An event without a row in a state changes nothing."""
