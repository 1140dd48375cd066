"""Flows (RFC 5626): the way to a peer that its requests came over and that ours go back over."""

from ipaddress import IPv6Address
from typing import Final

UDP: Final = "udp"


class Flow:
    """One way to a peer (RFC 5626): for UDP our socket and its address and port, for a stream one connection.

    `local` names our socket or connection among the shell's (no colon in it); `host` is an IP literal without brackets;
    `source` is whom its requests count under: an IPv4 address or an IPv6 /64 (whoever has one address of a /64 has all).
    `address_key` tells which of our advertised addresses the peer can reach ("udp", "udp6", ...). Two flows are equal if
    their names are. A UDP shell keeps the objects, so that a datagram makes none.
    """

    __slots__ = ("address_key", "host", "host_bytes", "local", "name", "port", "reliable", "source", "transport")

    def __init__(self, transport: str, local: str, host: str, port: int) -> None:
        self.transport = transport
        self.local = local
        self.host = host
        self.port = port
        self.reliable = transport != UDP
        self.name = f"{transport}:{local}:{host}:{port}"
        self.host_bytes = host.encode("ascii", "replace")
        self.source = _prefix(host) if ":" in host else self.host_bytes
        self.address_key = transport + "6" if ":" in host else transport

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<Flow {self.name}>"


def _prefix(host: str) -> bytes:
    """The first 64 bits of an IPv6 address; the text itself where it is none."""
    try:
        return IPv6Address(host).packed[:8]
    except ValueError:
        return host.encode("ascii", "replace")


def parse_flow(name: str) -> Flow | None:
    """The flow that `Flow.name` names, or None for a text that is no such name. Stored bindings hold these names."""
    head = name.split(":", 2)
    if len(head) != 3:
        return None
    host, colon, port = head[2].rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        return None
    return Flow(head[0], head[1], host, int(port))
