"""The location service in memory (RFC 3261 10): the bindings of every AOR, with monotonic expiry.

An AOR's key is its user name, which is unique on the whole gateway. What a restart must not lose leaves as `BindingsChanged`
and comes back through `load`.
"""

from collections.abc import Callable, Iterable

from registry.location import Binding
from sip.deadlines import DeadlineHeap, Timed
from sip.events import Flow, parse_flow


class LiveBinding:
    """One contact of an AOR and the flow it registered over. Not to be changed once it is in the location service.

    `contact` is the URI (the Request-URI of what is sent to it), `params` the rest of the Contact value without q and expires,
    `expires_at` monotonic seconds, `q` thousandths, `updated` when it was last refreshed.
    """

    __slots__ = (
        "call_id",
        "contact",
        "cseq",
        "expires_at",
        "flow",
        "instance_id",
        "params",
        "path",
        "q",
        "reg_id",
        "updated",
        "user_agent",
    )

    def __init__(
        self,
        contact: bytes,
        params: bytes,
        flow: Flow,
        call_id: bytes,
        cseq: int,
        expires_at: float,
        updated: float,
        q: int = 1000,
        instance_id: bytes = b"",
        reg_id: int = 0,
        path: tuple[bytes, ...] = (),
        user_agent: bytes = b"",
    ) -> None:
        self.contact = contact
        self.params = params
        self.flow = flow
        self.call_id = call_id
        self.cseq = cseq
        self.expires_at = expires_at
        self.updated = updated
        self.q = q
        self.instance_id = instance_id
        self.reg_id = reg_id
        self.path = path
        self.user_agent = user_agent

    def stored(self, now: float) -> Binding:
        """The form the registry keeps; `expires` is seconds to live."""
        return Binding(
            contact=_text(self.contact),
            flow=self.flow.name,
            call_id=_text(self.call_id),
            cseq=self.cseq,
            expires=max(0.0, self.expires_at - now),
            q=self.q,
            instance_id=_text(self.instance_id),
            reg_id=self.reg_id,
            path=tuple(_text(hop) for hop in self.path),
            user_agent=_text(self.user_agent),
        )


def live_binding(stored: Binding, now: float) -> LiveBinding | None:
    """A stored binding (`expires` in seconds to live) brought back, or None if it has expired or its flow cannot come back:
    a stream connection does not survive a restart, a UDP address does."""
    flow = parse_flow(stored.flow)
    if flow is None or flow.reliable or stored.expires <= 0:
        return None
    params = b""
    if stored.instance_id:
        params += b';+sip.instance="' + _bytes(stored.instance_id) + b'"'
    if stored.reg_id:
        params += b";reg-id=%d" % stored.reg_id
    return LiveBinding(
        contact=_bytes(stored.contact),
        params=params,
        flow=flow,
        call_id=_bytes(stored.call_id),
        cseq=stored.cseq,
        expires_at=now + stored.expires,
        updated=now,
        q=stored.q,
        instance_id=_bytes(stored.instance_id),
        reg_id=stored.reg_id,
        path=tuple(_bytes(hop) for hop in stored.path),
        user_agent=_bytes(stored.user_agent),
    )


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


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
