"""One device's registration as a table (RFC 3261 section 10.2).

Theory. A device that was told to register never stops trying; it gives its registration up only when it is told to.

    IDLE --start--> TRYING --2xx--> REGISTERED --due--> REFRESHING --2xx--> REGISTERED
                      | refused         | stop              | refused
                      v                 v                   v
                   WAITING           LEAVING             WAITING --due--> TRYING
                                        | any final
                                        v
                                      GONE

Challenges are answered below this table (`line.py`): a 401 that another proof may cure never gets here, one that it cannot
cure is REFUSED, and so is a REGISTER that nobody answered.
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
REFUSED: Final = "refused"

SEND: Final = "send REGISTER"
SEND_REMOVAL: Final = "send REGISTER with Expires 0"
SAY_REGISTERED: Final = "say it is registered, set the refresh"
SAY_REFRESHED: Final = "say it is refreshed, set the refresh"
BACK_OFF: Final = "say it failed, set the next try"
SAY_GONE: Final = "say it is gone"

TABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (IDLE, START): (TRYING, SEND),
    (TRYING, OK): (REGISTERED, SAY_REGISTERED),
    (TRYING, REFUSED): (WAITING, BACK_OFF),
    (TRYING, STOP): (LEAVING, SEND_REMOVAL),
    (REGISTERED, DUE): (REFRESHING, SEND),
    (REGISTERED, STOP): (LEAVING, SEND_REMOVAL),
    (REFRESHING, OK): (REGISTERED, SAY_REFRESHED),
    (REFRESHING, REFUSED): (WAITING, BACK_OFF),
    (REFRESHING, STOP): (LEAVING, SEND_REMOVAL),
    (WAITING, DUE): (TRYING, SEND),
    (WAITING, STOP): (GONE, SAY_GONE),
    (LEAVING, OK): (GONE, SAY_GONE),
    (LEAVING, REFUSED): (GONE, SAY_GONE),
    (GONE, START): (TRYING, SEND),
}
"""(state, event) -> (next state, what to do). An event without a row in a state changes nothing."""
