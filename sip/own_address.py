"""What this node is called on the wire: the hosts and ports that mean us, our Via and our Record-Route."""

from collections.abc import Mapping

from sip.errors import MalformedMessage
from sip.flow import Flow
from sip.uri import user_and_host

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
MAX_USER = 128
"""Octets of a user part that can name anything here; a longer one names nothing."""


class OwnAddress:
    """Our domains and, for each transport, the address that peers reach us at."""

    def __init__(self, domains: frozenset[bytes], advertised: Mapping[str, tuple[str, int]]) -> None:
        self._domains = {_bare(one.lower()) for one in domains}
        self._ports: set[int] = set()
        self._via: dict[str, bytes] = {}
        self._sent_by: set[tuple[bytes, int]] = set()
        self._route: dict[str, bytes] = {}
        for transport, (host, port) in advertised.items():
            self.advertise(transport, host, port)

    def advertise(self, transport: str, host: str, port: int, *, ipv6: bool = False) -> None:
        """Peers reach `transport` at this host (name or IP literal) and port. Each family has an address of its own: `ipv6` says
        that a name is IPv6 peers'."""
        bare = _bare(host.lower().encode("ascii"))
        shown = b"[" + bare + b"]" if b":" in bare else bare
        self._domains.add(bare)
        self._ports.add(port)
        self._sent_by.add((shown, port))
        key = transport + "6" if ipv6 or b":" in bare else transport
        self._via[key] = b"SIP/2.0/%b %b:%d;branch=" % (transport.upper().encode(), shown, port)
        # RFC 7118 5.2.4 defines the one parameter "ws" for both.
        parameter = b"" if transport == "udp" else b";transport=" + transport.replace("wss", "ws").encode()
        self._route[key] = b"@%b:%d%b;lr>" % (shown, port, parameter)

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """The Via value of a request that we send over this flow."""
        found = self._via.get(flow.address_key)
        return (self._other(self._via, flow) if found is None else found) + branch

    def record_route(self, flow: Flow, token: bytes) -> bytes:
        """The Record-Route value that brings requests of the dialog back to us with the token."""
        found = self._route.get(flow.address_key)
        return b"<sip:" + token + (self._other(self._route, flow) if found is None else found)

    def _other(self, known: dict[str, bytes], flow: Flow) -> bytes:
        """For a flow of a family or transport that is not advertised: it was before a restart, and such flows are dead."""
        return known.get(flow.transport) or next(iter(known.values()))

    def is_sent_by(self, host: bytes, port: int | None) -> bool:
        """Whether a Via with this sent-by is ours."""
        return (host, port or 5060) in self._sent_by

    def is_domain(self, host: bytes, port: int | None) -> bool:
        """Whether this host and port of a URI mean us. Another port of our host is somebody else (trap 15)."""
        return _bare(host) in self._domains and (port is None or port in self._ports)

    def user_here(self, target: tuple[bytes, bytes, int | None]) -> bytes | None:
        """The user of a Request-URI that means us (`Request.target`; b"": the gateway itself), None for others.

        A tel number has no host and counts as dialled here.
        """
        user, host, port = target
        if host and not self.is_domain(host, port):
            return None
        return user if len(user) <= MAX_USER else None

    def named_user(self, uri: bytes) -> bytes:
        """The user part of a From or To URI, whatever its host: devices behind NAT name the gateway in many ways. b"": none."""
        try:
            return user_and_host(uri)[0]
        except MalformedMessage:
            return b""

    def route_user(self, uri: bytes) -> bytes | None:
        """The user part (our token, or b"") of a Route or Request-URI that is ours; None if it is not ours."""
        try:
            user, host, port = user_and_host(uri)
        except MalformedMessage:
            return None
        return user if host and self.is_domain(host, port) else None


def _bare(host: bytes) -> bytes:
    return host[1:-1] if host[:1] == b"[" else host
