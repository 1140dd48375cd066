"""`ConnectorLinks`: the connectors that are connected: one link each (docs/tunnel-protocol.md section 11)."""

import asyncio
from collections.abc import Callable

from registry.connector import ConnectorName
from tunnel.errors import Code, PeerError
from tunnel.frames import Limits, Side
from tunnel.handshake import GatewayHandshake
from tunnel.mux import Mux
from tunnel.net.device_link import ConnectorLink
from tunnel.net.link import Link
from tunnel.net.ports import ConnectorPorts, Seat


class ConnectorLinks:
    """The table of connectors' links. Without `ports` every connector is refused, as an unknown one is."""

    def __init__(self, ports: ConnectorPorts | None, entropy: Callable[[int], bytes], limits: Limits) -> None:
        self._ports = ports
        self._entropy = entropy
        self._limits = limits
        self._links: dict[str, ConnectorLink] = {}
        self.all: set[ConnectorLink] = set()
        """Those that are draining included."""

    def link(self, connector: str) -> ConnectorLink | None:
        """The link of the connector with this id, None while it has none that takes new work."""
        found = self._links.get(connector)
        return None if found is None or found.leaving else found

    def end(self, connector: str, text: str) -> None:
        """Close every link of a connector whose token is not valid any more."""
        for link in [link for link in self.all if link.peer.id == connector]:
            link.close(Code.NOT_AUTHORISED, text)

    async def admit(self, link: Link, handshake: GatewayHandshake, connector: ConnectorName, seat: Seat) -> None:
        """A connector said HELLO. Raises PeerError unless it is one, ConnectionError if it is gone already."""
        ports = self._ports
        try:
            key = None if ports is None else await ports.connector_key(connector)
        except Exception:  # a store that is down is no verdict on the connector
            raise PeerError(Code.INTERNAL, "try again later") from None
        handshake.key_found(key)
        assert ports is not None
        generation = await ports.next_connector_generation(connector)
        older = self._links.get(connector.id)
        if older is not None and older.generation > generation:
            raise PeerError(Code.REPLACED, "a newer link is up")
        made = ConnectorLink(
            link=link,
            peer=connector,
            generation=generation,
            address=seat.host,
            capabilities=handshake.capabilities,
            keep=ports.on_connector_event,
            entropy=self._entropy,
            ended=self._ended,
            event_failed=_forgotten,
        )
        mux = Mux(side=Side.GATEWAY, limits=self._limits, entropy=self._entropy, now=asyncio.get_running_loop().time())
        link.send(handshake.welcome(generation))
        if not link.start(mux, made):
            raise ConnectionResetError("gone during the handshake")
        seat.release()
        self._links[connector.id] = made
        self.all.add(made)
        if older is not None:
            older.replaced = True
            if not older.leaving:
                older.close(Code.REPLACED, "a newer link of this connector is up")
        ports.connector_up(connector, seat.host)

    def _ended(self, link: ConnectorLink, reason: str) -> None:
        self.all.discard(link)
        if self._links.get(link.peer.id) is link:
            del self._links[link.peer.id]
        assert self._ports is not None
        self._ports.connector_down(link.peer, reason)


def _forgotten(_connector: ConnectorName) -> None:
    """What a connector tells is not kept: it will tell it again."""
