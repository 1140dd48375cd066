"""Why the connector does not do what it was asked: one word for RESULT, one code for a stream (docs/tunnel-protocol.md, 11)."""

from enum import Enum

from tunnel.errors import Code


class Why(Enum):
    """The word, and the code of RST where a stream was asked for."""

    NOT_LISTED = ("not_listed", Code.SERVICE_REFUSED)
    NO_ADDRESS = ("no_address", Code.TARGET_UNREACHABLE)
    WRONG_DEVICE = ("wrong_device", Code.WRONG_DEVICE)
    UNREACHABLE = ("unreachable", Code.TARGET_UNREACHABLE)
    NO_ANSWER = ("no_answer", Code.TARGET_UNREACHABLE)
    API_FORBIDDEN = ("api_forbidden", Code.TARGET_UNREACHABLE)
    API_LOGIN = ("api_login", Code.TARGET_UNREACHABLE)
    API_MISSING = ("api_missing", Code.TARGET_UNREACHABLE)
    REFUSED = ("refused", Code.TARGET_UNREACHABLE)
    BAD_ANSWER = ("bad_answer", Code.TARGET_UNREACHABLE)
    BUSY = ("busy", Code.TARGET_UNREACHABLE)
    NOT_KEPT = ("not_kept", Code.TARGET_UNREACHABLE)
    MALFORMED = ("malformed", Code.SERVICE_REFUSED)

    def __init__(self, word: str, code: Code) -> None:
        self.word = word
        self.code = code


class Refusal(Exception):
    """See the module. `said`: the device's own word, printable and short."""

    def __init__(self, why: Why, said: str = "") -> None:
        super().__init__(f"{why.word}: {said}" if said else why.word)
        self.why = why
        self.said = said
