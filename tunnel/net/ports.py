"""What the tunnel's shells ask of the node they live in: keys, generations, events kept, and who is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from registry.connector import ConnectorName
from registry.mac import MacAddress
from registry.records import RemoteSession
from tunnel.messages import DeviceEvent, Result
from tunnel.net.pipe import StreamPipe


class Seat(Protocol):
    """The place that a stranger holds at the node's acceptor."""

    @property
    def host(self) -> str:
        """The peer's address."""
        ...

    def release(self) -> None:
        """The peer is known, or gone. Further calls do nothing."""
        ...


class Reached(Protocol):
    """A device that can be reached now: over its own channel, or through a connector at its site."""

    def open(self, service: str) -> StreamPipe:
        """Open a stream to a service of the device; await `opened()` on it. Raises LinkDown if it takes none now."""
        ...

    async def call(self, name: str, body: Mapping[str, Any], deadline: float, call_id: bytes = b"") -> Result:
        """See `AgentLink.call`. Raises LinkDown, TimeoutError."""
        ...


class ChannelKeys(Protocol):
    """Where device keys come from."""

    async def channel_key(self, mac: MacAddress) -> bytes | None:
        """The device's 32-byte channel key, None if there is no such device. Should take the same time for both."""
        ...


class Generations(Protocol):
    """Numbers the links of a device. With several nodes the numbers come from the shared store."""

    async def next_generation(self, mac: MacAddress) -> int:
        """A number above every one given before for this MAC, restarts included; 1 .. 2^63-1."""
        ...


class ConnectorPorts(Protocol):
    """What the links of connectors ask of the node."""

    async def connector_key(self, connector: ConnectorName) -> bytes | None:
        """The 32-byte key of this token, None if there is no such token (any more). Should take the same time for both."""
        ...

    async def next_connector_generation(self, connector: ConnectorName) -> int:
        """As `Generations.next_generation`."""
        ...

    async def on_connector_event(self, connector: ConnectorName, event: DeviceEvent) -> None:
        """Take an event. Returning acknowledges it, raising makes the connector repeat it."""
        ...

    def connector_up(self, connector: ConnectorName, address: str) -> None:
        """Its link is up; `ConnectorLinks.link` has it. Must not raise."""
        ...

    def connector_down(self, connector: ConnectorName, reason: str) -> None:
        """A link of it has ended; `reason` as in `ChannelObserver.link_down`. Must not raise."""
        ...


class EventSink(Protocol):
    """Where device events go."""

    async def on_event(self, mac: MacAddress, event: DeviceEvent) -> None:
        """Keep the event, so that it survives a crash; ids already kept are dropped here. Returning acknowledges it.

        Raising means "not kept": the device will repeat it.
        """
        ...


class ChannelObserver(Protocol):
    """Told what happens on channels; counts and logs. Must not raise."""

    def link_up(self, mac: MacAddress, generation: int) -> None: ...

    def link_down(self, mac: MacAddress, generation: int, reason: str) -> None:
        """`reason` is a word: "replaced" (a newer link is up: the device is not offline), "lost" (without a word), "silence",
        "drained", "peer-error" (the device said why), else the name of the error that we sent: the device's fault, or ours."""
        ...

    def channel_refused(self, reason: str) -> None:
        """A connection that came to nothing after TLS: version, handshake-timeout, not-authorised, protocol, gone, ..."""
        ...

    def clone_suspected(self, mac: MacAddress, addresses: tuple[str, ...]) -> None:
        """Links that proved this MAC evict each other in turn from these addresses; further ones are refused for a while."""
        ...

    def event_failed(self, mac: MacAddress) -> None:
        """An event could not be kept; the device will repeat it."""
        ...


class VisitorObserver(Protocol):
    """Told what visitors do; counts, logs and audits. Must not raise. Session ids are secrets: never log them whole."""

    def session_opened(self, session: RemoteSession, address: str) -> None:
        """A ticket was exchanged for a cookie by the visitor at `address`."""
        ...

    def session_closed(self, session: RemoteSession, usage: "Usage", reason: str) -> None:
        """This node serves the session no longer: "expired", "idle", "ended" (revoked), "logout", "stopping"."""
        ...

    def certificate_pinned(self, session: RemoteSession, spki: str) -> None:
        """The device's HTTPS page was met for the first time; the SHA-256 of its key (hex) is known from now on."""
        ...

    def certificate_changed(self, session: RemoteSession, known: str, shown: str) -> None:
        """The device's HTTPS page has another key than the known one: refused. An alarm."""
        ...

    def visitor_refused(self, reason: str) -> None:
        """A request or connection that was not served: no-session, cross-site, bad-request, head-timeout, offline, ..."""
        ...


@dataclass(slots=True)
class Usage:
    """What a session used on this node so far."""

    requests: int = 0
    bytes_to_device: int = 0
    bytes_to_visitor: int = 0
    addresses: set[str] = field(default_factory=set)
    pages: dict[str, None] = field(default_factory=dict)
    """What `tunnel.session.page_of` calls them, in the order of their first request; bounded."""
    seconds: float = 0.0
    """How long this node served it; known when it is over."""


class CountedGenerations:
    """Generations of one node without a store: counts up from `first`.

    Give `first` from the wall clock in microseconds, so that numbers rise over a restart; 10^6 links a second would be needed to
    catch up with the clock.
    Not in the store, as that would be a write for each link (10,000 at once when a site's power returns) and buy nothing yet: a
    link at one node does not evict one at another before nodes tell each other of links. That needs the store's numbers.
    """

    def __init__(self, first: int) -> None:
        self._last = max(first, 0)

    async def next_generation(self, mac: MacAddress) -> int:
        self._last += 1
        return self._last
