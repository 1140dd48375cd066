"""The client of one or more rtpengines, without its sockets: which instance has which call, repeats, deadlines, who is alive.

A call stays with its instance. A new call takes the first living instance in an order that its Call-ID alone decides, so that a
restarted node finds the calls it made; if that one does not answer, the next. One command of a call is under way at a time:
rtpengine serves datagrams in several threads, and the answer of a 200 must not be overtaken by that of the 183 before it.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from heapq import heappop, heappush
from typing import NamedTuple

from sip.media.bencode import Value, encode
from sip.media.ng_commands import NO_PORTS, PING, UNKNOWN_CALL, command, result
from sip.media_engine import (
    MediaAnswer,
    MediaDelete,
    MediaFailed,
    MediaKey,
    MediaOffer,
    MediaOutcome,
    MediaReady,
    MediaRequest,
)
from sip.timers import NEVER


@dataclass(frozen=True, slots=True)
class NgLimits:
    """Counts are objects, times are seconds."""

    repeats: tuple[float, ...] = (0.15, 0.45, 1.0)
    """After how long without an answer a command is sent again; after the last, it has failed."""
    ping: float = 5.0
    """Between two pings of an instance that lives."""
    ping_down: float = 1.0
    """The same of one that does not."""
    calls: int = 20_000
    queued: int = 128
    """Commands of one call that wait for their turn."""
    call_seconds: float = 4 * 3600.0
    """A call that nobody ended is forgotten after this."""


class Transmit(NamedTuple):
    """Send this datagram to the instance of this index."""

    instance: int
    data: bytes


class InstanceTurned(NamedTuple):
    """An instance is alive again, or does not answer."""

    instance: int
    alive: bool


NgOutput = Transmit | InstanceTurned | MediaOutcome


class _Query:
    """One command under way. `request` and `call` are None for a ping."""

    __slots__ = ("call", "cookie", "data", "instance", "request", "sent", "tried")

    def __init__(self, cookie: bytes, instance: int, request: MediaRequest | None, call: "_Call | None") -> None:
        self.cookie = cookie
        self.instance = instance
        self.request = request
        self.call = call
        self.data = b""
        self.sent = 0
        self.tried = [instance]


class _Instance:
    """One rtpengine. `ping_at` is when it is asked next whether it lives."""

    __slots__ = ("alive", "index", "name", "ping_at")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name.encode()
        self.alive = True
        self.ping_at = NEVER


class _Call:
    """One call: where it is, what waits, and its forks by branch (or to-tag) with the key to delete each by."""

    __slots__ = ("flying", "forks", "instance", "key", "waiting")

    def __init__(self, key: bytes, instance: int) -> None:
        self.key = key
        self.instance = instance
        self.waiting: deque[MediaRequest] = deque()
        self.flying: _Query | None = None
        self.forks: dict[bytes, MediaKey] = {}


class NgClient:
    """`instances` are names that are the same on every start ("192.0.2.1:2223"); `cookie` is drawn afresh at each."""

    def __init__(self, instances: Sequence[str], cookie: bytes, now: float, limits: NgLimits | None = None) -> None:
        self._limits = limits or NgLimits()
        self._instances = [_Instance(index, name) for index, name in enumerate(instances)]
        self._cookie = cookie.hex().encode()
        self._serial = 0
        self._queries: dict[bytes, _Query] = {}
        self._calls: dict[bytes, _Call] = {}
        self._deadlines: list[tuple[float, int, Callable[[float], None]]] = []
        """A heap of what is due when. Nothing is taken out of it: what has become pointless finds that out itself."""
        self._outputs: list[NgOutput] = []
        self.refused: Counter[str] = Counter()
        """Requests that failed and datagrams not understood, by reason."""
        for one in self._instances:
            self._ping_at(one, now)

    def __len__(self) -> int:
        """Calls that are with an instance."""
        return len(self._calls)

    @property
    def alive(self) -> tuple[bool, ...]:
        """Which instances answer."""
        return tuple(one.alive for one in self._instances)

    def take(self) -> list[NgOutput]:
        """Outputs since the last time."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`."""
        return self._deadlines[0][0] if self._deadlines else None

    def on_deadline(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            heappop(self._deadlines)[2](now)

    def request(self, request: MediaRequest, now: float) -> None:
        """A request of the proxy. For an offer or answer exactly one outcome with its number comes, in `NgLimits.repeats` seconds
        for each instance that is tried."""
        key = request.key
        call = self._calls.get(key.call_id)
        if call is None:
            instance = self._choose(key.call_id, ())
            if instance is None or len(self._calls) >= self._limits.calls:
                self._fail(request, "engine down" if instance is None else "sessions used up")
                return
            call = self._calls[key.call_id] = _Call(key.call_id, instance)
            self._at(now + self._limits.call_seconds, partial(self._forget, call))
        if len(call.waiting) >= self._limits.queued and not isinstance(request, MediaDelete):
            self._fail(request, "engine busy")
            return
        call.waiting.append(request)
        self._go_on(call, now)

    def received(self, instance: int, data: bytes, now: float) -> None:
        """A datagram came from an instance."""
        cookie, _, body = data.partition(b" ")
        query = self._queries.get(cookie)
        answer = result(body)
        if query is None or query.instance != instance or answer is None:
            self.refused["stray datagram"] += 1
            return
        del self._queries[cookie]
        self._turn(instance, True, now)
        if query.call is None or query.request is None:
            self._ping_at(self._instances[instance], now + self._limits.ping)
            return
        word, detail = answer
        request, call = query.request, query.call
        call.flying = None
        if word == b"ok":
            self._done(call, request, detail, now)
        elif word == b"load limit" or detail == NO_PORTS:
            if self._elsewhere(query, now):
                return
            self._fail(request, "engine busy" if word == b"load limit" else "ports used up")
        else:
            self._fail(request, "unknown call" if detail == UNKNOWN_CALL else "engine refused")
        self._go_on(call, now)

    # What deadlines tell

    def _ping(self, instance: _Instance, at: float, now: float) -> None:
        """It is time to ask an instance whether it lives."""
        if instance.ping_at == at:
            self._send(_Query(self._next_cookie(), instance.index, None, None), PING, now)

    def _unanswered(self, query: _Query, sent: int, now: float) -> None:
        """No answer so far: say it again, or give up."""
        if query.cookie not in self._queries or query.sent != sent:
            return
        if query.sent < len(self._limits.repeats):
            self._transmit(query, now)
            return
        del self._queries[query.cookie]
        self._turn(query.instance, False, now)
        if query.call is None or query.request is None:
            self._ping_at(self._instances[query.instance], now + self._limits.ping_down)
            return
        query.call.flying = None
        if self._elsewhere(query, now):
            return
        self._fail(query.request, "engine down")
        if isinstance(query.request, MediaDelete):
            self._done(query.call, query.request, b"", now)  # an instance that is gone has no calls
        self._go_on(query.call, now)

    def _forget(self, call: _Call, _now: float) -> None:
        """Nobody ended this call."""
        if self._calls.get(call.key) is call:
            del self._calls[call.key]
            for request in call.waiting:
                self._fail(request, "engine down")
            call.waiting.clear()

    # One call

    def _go_on(self, call: _Call, now: float) -> None:
        """Send the next command of a call; forget a call that has no fork left."""
        if call.flying is not None:
            return
        while call.waiting and _is_done(call, call.waiting[0]):
            call.waiting.popleft()
        if call.waiting:
            request = call.waiting.popleft()
            query = call.flying = _Query(self._next_cookie(), call.instance, request, call)
            self._send(query, command(request), now)
        elif not call.forks and self._calls.get(call.key) is call:
            del self._calls[call.key]

    def _done(self, call: _Call, request: MediaRequest, sdp: bytes, now: float) -> None:
        key = request.key
        name = key.branch or key.to_tag
        if isinstance(request, MediaDelete):
            call.forks = {one: known for one, known in call.forks.items() if name and not _is_of(known, one, key)}
            return
        if not sdp:
            self._fail(request, "engine refused")
            return
        name = next((one for one, known in call.forks.items() if _is_of(known, one, key)), name)
        if isinstance(request, MediaAnswer) and request.final:
            call.waiting.extendleft(MediaDelete(known) for one, known in call.forks.items() if one != name)
        if isinstance(request, MediaAnswer) or name not in call.forks:
            call.forks[name] = key
        self._outputs.append(MediaReady(request.number, key, sdp))

    def _elsewhere(self, query: _Query, now: float) -> bool:
        """Take a call's first offer to another instance. False: it is not a first offer, or none is left."""
        call, request = query.call, query.request
        if call is None or call.forks or not isinstance(request, MediaOffer) or request.key.to_tag:
            return False
        instance = self._choose(call.key, query.tried)
        if instance is None:
            return False
        call.instance = instance
        again = call.flying = _Query(self._next_cookie(), instance, request, call)
        again.tried = [*query.tried, instance]
        self._send(again, command(request), now)
        return True

    def _choose(self, call_id: bytes, tried: Sequence[int]) -> int | None:
        """The living instance that comes first for this Call-ID (rendezvous hashing), of those not tried."""
        living = [one for one in self._instances if one.alive and one.index not in tried]
        return max(living, key=lambda one: blake2b(call_id + b" " + one.name, digest_size=8).digest()).index if living else None

    def _fail(self, request: MediaRequest, reason: str) -> None:
        self.refused[reason] += 1
        if not isinstance(request, MediaDelete):
            status = 488 if reason in ("engine refused", "unknown call") else 503
            self._outputs.append(MediaFailed(request.number, request.key, reason, status))

    # Datagrams

    def _next_cookie(self) -> bytes:
        self._serial += 1
        return b"%b_%d" % (self._cookie, self._serial)

    def _send(self, query: _Query, said: Mapping[bytes, Value], now: float) -> None:
        query.data = query.cookie + b" " + encode(said)
        self._queries[query.cookie] = query
        self._transmit(query, now)

    def _transmit(self, query: _Query, now: float) -> None:
        self._outputs.append(Transmit(query.instance, query.data))
        repeats = self._limits.repeats
        wait = repeats[query.sent] - (repeats[query.sent - 1] if query.sent else 0.0)
        query.sent += 1
        self._at(now + wait, partial(self._unanswered, query, query.sent))

    def _turn(self, instance: int, alive: bool, now: float) -> None:
        if self._instances[instance].alive is not alive:
            self._instances[instance].alive = alive
            self._outputs.append(InstanceTurned(instance, alive))
            if not alive:
                self._ping_at(self._instances[instance], now + self._limits.ping_down)

    def _ping_at(self, instance: _Instance, at: float) -> None:
        instance.ping_at = at
        self._at(at, partial(self._ping, instance, at))

    def _at(self, at: float, act: Callable[[float], None]) -> None:
        self._serial += 1
        heappush(self._deadlines, (at, self._serial, act))


def _is_done(call: _Call, request: MediaRequest) -> bool:
    """Whether this deletes a fork that has been deleted: rtpengine ends the whole call when it is told that twice."""
    key = request.key
    if not isinstance(request, MediaDelete) or not call.forks or not (key.branch or key.to_tag):
        return False
    return not any(_is_of(known, name, key) for name, known in call.forks.items())


def _is_of(known: MediaKey, name: bytes, key: MediaKey) -> bool:
    """Whether a key means this fork: by branch, or by the dialog's tags from either side."""
    if key.branch and name == key.branch:
        return True
    return bool(key.to_tag) and {known.from_tag, known.to_tag} == {key.from_tag, key.to_tag}
