"""The location service in memory (RFC 3261 10): the bindings of every AOR, with monotonic expiry.

An AOR's key is its user name, which is unique on the whole gateway. What a restart must not lose leaves as `BindingsChanged`
and comes back through `load`.
"""

from collections.abc import Callable, Iterable

from registry.location import Binding
from sip.binding import LiveBinding, live_binding
from sip.deadlines import DeadlineHeap, Timed
from sip.flow import Flow


class _Aor(Timed):
    """The bindings of one AOR; its deadline is the first expiry among them."""

    __slots__ = ("bindings", "location", "name")

    def __init__(self, name: str, location: "Location") -> None:
        super().__init__()
        self.name = name
        self.location = location
        self.bindings: tuple[LiveBinding, ...] = ()

    def fire(self, now: float) -> None:
        self.location.expire(self.name, now)


class Location:
    """All AORs. `changed(aor, bindings, now)` is called for every change, expiry included, but not for what `load` brings."""

    def __init__(self, deadlines: DeadlineHeap, changed: Callable[[str, tuple[LiveBinding, ...], float], None]) -> None:
        self._deadlines = deadlines
        self._changed = changed
        self._aors: dict[str, _Aor] = {}
        self._streams: dict[str, set[str]] = {}
        self.binding_count = 0

    def __len__(self) -> int:
        return len(self._aors)

    def bindings(self, aor: str, now: float) -> tuple[LiveBinding, ...]:
        """The live bindings of an AOR."""
        held = self._aors.get(aor)
        if held is None:
            return ()
        if held.due > now:
            return held.bindings
        return tuple(one for one in held.bindings if one.expires_at > now)

    def replace(self, aor: str, bindings: tuple[LiveBinding, ...], now: float) -> None:
        """Make these the bindings of the AOR, all at once (10.3 step 7)."""
        self._put(aor, bindings)
        self._changed(aor, bindings, now)

    def load(self, aor: str, stored: Iterable[Binding], now: float) -> None:
        """Bring back what was stored, where nothing newer is known."""
        if aor in self._aors:
            return
        found = [live_binding(one, now) for one in stored]
        bindings = tuple(one for one in found if one is not None)
        if bindings:
            self._put(aor, bindings)

    def expire(self, aor: str, now: float) -> None:
        """Drop the expired bindings of the AOR."""
        held = self._aors.get(aor)
        if held is not None:
            self.replace(aor, tuple(one for one in held.bindings if one.expires_at > now), now)

    def flow_closed(self, flow: Flow, now: float) -> None:
        """A stream is gone, and so are its bindings (RFC 5626 5.3)."""
        for aor in self._streams.pop(flow.name, set()):
            held = self._aors.get(aor)
            if held is not None:
                self.replace(aor, tuple(one for one in held.bindings if one.flow != flow), now)

    def _put(self, aor: str, bindings: tuple[LiveBinding, ...]) -> None:
        held = self._aors.get(aor)
        if held is None:
            if not bindings:
                return
            held = self._aors[aor] = _Aor(aor, self)
        self.binding_count += len(bindings) - len(held.bindings)
        for gone in held.bindings:
            if gone.flow.reliable and gone not in bindings:
                self._streams.get(gone.flow.name, set()).discard(aor)
        held.bindings = bindings
        for one in bindings:
            if one.flow.reliable:
                self._streams.setdefault(one.flow.name, set()).add(aor)
        if bindings:
            first = bindings[0].expires_at if len(bindings) == 1 else min(one.expires_at for one in bindings)
            self._deadlines.arm(held, first)
        else:
            held.due = float("inf")
            del self._aors[aor]
