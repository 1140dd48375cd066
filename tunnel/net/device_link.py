"""`AgentLink`: the gateway's end of one authenticated link, a device's or a connector's: streams, events, calls."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from registry.connector import ConnectorName
from registry.mac import MacAddress
from tunnel.errors import Code, LinkDown, LocalError, PeerError
from tunnel.frames import EVENT_ID_SIZE
from tunnel.messages import Call, DeviceEvent, Result
from tunnel.net.link import Link
from tunnel.net.pipe import StreamPipe
from tunnel.outputs import LinkFailed, PeerLeaving

MAX_OPEN_CALLS = 16
WORDS = ("silence", "drained")
"""Ends that say more than their code's name."""
LEAST_SILENCE = 1.0
"""Seconds: a call that is to be answered sooner says nothing about its link."""


class _Waiting:
    """A call that is not answered yet, and how many wait for it."""

    __slots__ = ("answer", "askers")

    def __init__(self, answer: asyncio.Future[Result]) -> None:
        self.answer = answer
        self.askers = 0


P = TypeVar("P", MacAddress, ConnectorName)


class AgentLink(Generic[P]):
    """One generation of the link of `peer`. `keep(peer, event)` keeps an event or raises; `ended(link, reason)`: it is over."""

    __slots__ = (
        "_calls",
        "_ended",
        "_entropy",
        "_event_failed",
        "_events",
        "_keep_event",
        "_keeping",
        "_link",
        "address",
        "capabilities",
        "generation",
        "peer",
        "replaced",
    )

    def __init__(
        self,
        *,
        link: Link,
        peer: P,
        generation: int,
        address: str,
        capabilities: tuple[str, ...],
        keep: Callable[[P, DeviceEvent], Awaitable[None]],
        entropy: Callable[[int], bytes],
        ended: Callable[["AgentLink[P]", str], None],
        event_failed: Callable[[P], None],
    ) -> None:
        self._link = link
        self.peer: P = peer
        self.generation = generation
        self.address = address
        self.capabilities = capabilities
        self.replaced = False
        self._keep_event: Callable[[P, DeviceEvent], Awaitable[None]] = keep
        self._entropy = entropy
        self._ended: Callable[[AgentLink[P], str], None] = ended
        self._event_failed: Callable[[P], None] = event_failed
        self._events: deque[DeviceEvent] = deque()
        self._keeping: asyncio.Task[None] | None = None
        self._calls: dict[bytes, _Waiting] = {}

    @property
    def leaving(self) -> bool:
        """Whether it takes no new streams any more."""
        return self._link.leaving

    @property
    def open_streams(self) -> int:
        return self._link.open_streams

    @property
    def round_trip(self) -> float | None:
        """The last ping time in seconds, None before the first."""
        return self._link.round_trip

    @property
    def silence(self) -> float:
        """Seconds since anything came from the device."""
        heard = self._link.heard_at
        return 0.0 if heard is None else max(0.0, asyncio.get_running_loop().time() - heard)

    def open(self, service: str, device: str = "") -> StreamPipe:
        """Open a stream to a service of the device, or of `device` behind a connector; await `opened()` on it.

        Raises LinkDown if the link takes none now.
        """
        try:
            return self._link.open(service, device)
        except LocalError:
            raise LinkDown("the link takes no new streams") from None

    async def call(self, name: str, body: Mapping[str, Any], deadline: float, call_id: bytes = b"") -> Result:
        """Ask the device to do something and wait at most `deadline` seconds for what it answers.

        `call_id` (16 bytes) is given by a caller who may have asked before: the device does it once and answers alike.
        Raises LinkDown (ended, or too many calls open), TimeoutError; then the device may or may not have done it. A PING goes
        with it, and a link that was silent all that time is closed: what lies unread on its way must not be done much later.
        """
        call = Call(call_id or self._entropy(EVENT_ID_SIZE), name, body, max(1, int(deadline * 1000)))
        waiting = self._calls.get(call.id)
        if waiting is None:
            if self._link.leaving or len(self._calls) >= MAX_OPEN_CALLS:
                raise LinkDown("the link takes no calls now")
            waiting = self._calls[call.id] = _Waiting(asyncio.get_running_loop().create_future())
            self._link.send_call(call)
            self._link.probe()
        waiting.askers += 1
        heard = self._link.bytes_in
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(waiting.answer)
        except TimeoutError:
            if deadline >= LEAST_SILENCE and self._link.bytes_in == heard:
                self._link.fail(PeerError(Code.TIMEOUT, "no answer to a call, nor anything else"))
            raise
        finally:
            waiting.askers -= 1
            if not waiting.askers:
                self._calls.pop(call.id, None)
                waiting.answer.cancel()

    def drain(self, retry_after: float, jitter: float) -> None:
        """GOAWAY: the device shall come back with a new link after retry_after + random(0, jitter) seconds."""
        if not self._link.leaving:
            self._link.go_away(Code.SHUTDOWN, retry_after, jitter)

    def close(self, code: Code, text: str) -> None:
        """End the link with an ERROR frame; all its streams end."""
        self._link.fail(PeerError(code, text))

    # ---- LinkOwner ------------------------------------------------------------------------------------------

    def stream_offered(self, _link: Link, pipe: StreamPipe, _service: str) -> None:
        """A device may open nothing at the gateway in version 1: the gateway's own list of services is empty."""
        pipe.reset(Code.SERVICE_REFUSED)

    def event_arrived(self, _link: Link, event: DeviceEvent) -> None:
        self._events.append(event)
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def event_acknowledged(self, _link: Link, _event_id: bytes) -> None:
        raise AssertionError("the mux lets no EVENT+ACK through at the gateway")

    def call_arrived(self, _link: Link, _call: Call) -> None:
        raise AssertionError("the mux lets no CALL through at the gateway")

    def result_arrived(self, _link: Link, result: Result) -> None:
        waiting = self._calls.get(result.id)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(result)

    def peer_leaving(self, _link: Link, _leaving: PeerLeaving) -> None:
        """The device will hang up; what is open runs on."""

    def link_ended(self, _link: Link, failure: LinkFailed) -> None:
        for waiting in self._calls.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(LinkDown("the link ended before the device answered"))
        if self.replaced:
            reason = "replaced"
        elif failure.by_peer:
            reason = "lost" if failure.code == Code.NO_ERROR else "peer-error"
        elif failure.code in set(Code):
            reason = failure.text if failure.text in WORDS else Code(failure.code).name.lower().replace("_", "-")
        else:
            reason = "internal"
        self._ended(self, reason)

    async def _keep(self) -> None:
        """Hand events on in order, one at a time; the mux bounds how many wait."""
        try:
            while self._events:
                event = self._events.popleft()
                try:
                    await self._keep_event(self.peer, event)
                except Exception:  # any failure of the sink means "not kept", and the device repeats
                    self._link.forget_event(event.id)
                    self._event_failed(self.peer)
                else:
                    self._link.acknowledge(event.id)
        finally:
            self._keeping = None


DeviceLink = AgentLink[MacAddress]
ConnectorLink = AgentLink[ConnectorName]
