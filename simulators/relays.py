"""The relays of a simulated door phone: which keys open which one, for how long. Pure: keys and `now` in, what switched out."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_CODE = 8
"""Keys of the longest code a relay may have (installer's manual: 1 to 8)."""


@dataclass(frozen=True, slots=True)
class DoorRelay:
    """One relay as the applied configuration describes it. An empty code means that no key opens it."""

    name: str
    code: str
    hold_seconds: float


@dataclass(frozen=True, slots=True)
class Switched:
    """A relay really changed its state. `number` counts from 1, as on the device."""

    number: int
    name: str
    opened: bool


class RelayBank:
    """All relays of one device. At most MAX_CODE keys are remembered, and only within one call."""

    def __init__(self, relays: Sequence[DoorRelay] = ()) -> None:
        self._relays = tuple(relays)
        self._open_until: dict[int, float] = {}
        self._keys: dict[str, str] = {}
        self._switched: list[Switched] = []

    def reconfigure(self, relays: Sequence[DoorRelay]) -> None:
        """Take over a newly applied configuration; a relay that is open stays open for its time if it still exists."""
        self._relays = tuple(relays)
        self._open_until = {n: until for n, until in self._open_until.items() if n <= len(self._relays)}

    def key(self, call: str, key: str, now: float) -> int | None:
        """A key pressed by the other side of `call`: the number of the relay it opened, or None.

        A code counts once its last key is there, whatever was pressed before it. The longest matching code wins, so that
        `1` and `21` may both be codes.
        """
        pressed = (self._keys.get(call, "") + key)[-MAX_CODE:]
        self._keys[call] = pressed
        matching = [
            (len(relay.code), n) for n, relay in enumerate(self._relays, 1) if relay.code and pressed.endswith(relay.code)
        ]
        if not matching:
            return None
        number = max(matching, key=lambda found: (found[0], -found[1]))[1]
        self._keys[call] = ""
        self.open(number, now)
        return number

    def call_over(self, call: str) -> None:
        """Forget the keys of a call that ended."""
        self._keys.pop(call, None)

    def open(self, number: int, now: float) -> bool:
        """Switch relay `number` (from 1); False if there is no such relay. An open relay stays open for its time from now."""
        if not 1 <= number <= len(self._relays):
            return False
        relay = self._relays[number - 1]
        self._open_until[number] = now + relay.hold_seconds
        self._switched.append(Switched(number, relay.name, opened=True))
        return True

    def is_open(self, number: int) -> bool:
        """Whether relay `number` holds the door open now (as of the last deadline)."""
        return number in self._open_until

    @property
    def relays(self) -> tuple[DoorRelay, ...]:
        """The relays in order; the first is relay 1."""
        return self._relays

    def next_deadline(self) -> float | None:
        """When the next open relay falls back."""
        return min(self._open_until.values(), default=None)

    def on_deadline(self, now: float) -> None:
        """Close what has been open for its time."""
        for number in sorted(n for n, until in self._open_until.items() if until <= now):
            del self._open_until[number]
            self._switched.append(Switched(number, self._relays[number - 1].name, opened=False))

    def take(self) -> list[Switched]:
        """What switched since the last take, in order."""
        switched, self._switched = self._switched, []
        return switched
