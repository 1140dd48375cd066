"""The copy of a request that is sent on (RFC 3261 16.6): Request-URI, Max-Forwards, Via, Route, Record-Route, Max-Breadth."""

from sip.authentication import Authentication
from sip.flow import Flow
from sip.grammar import decimal
from sip.message import Request
from sip.outbound import DialogTokens
from sip.own_address import OwnAddress
from sip.target_set import Target

DIALOG_MAKERS = frozenset((b"INVITE", b"SUBSCRIBE", b"REFER"))
"""Requests outside a dialog that may create one: they get our Record-Route."""
MAX_FORWARDS = 70
LARGE_ON_UDP = 1300 - 300
"""Octets of a received request that our Via and Record-Route make more than 1300: it wants a stream (RFC 3261 18.1.1)."""


class Outgoing:
    """Makes the copies of one element. It sends nothing and decides nothing."""

    __slots__ = ("_authentication", "_own", "_tokens")

    def __init__(self, own: OwnAddress, tokens: DialogTokens, authentication: Authentication) -> None:
        self._own = own
        self._tokens = tokens
        self._authentication = authentication

    def copy(self, request: Request, uri: bytes, flow: Flow, branch: bytes) -> Request:
        """Request-URI, Max-Forwards, our Via; credentials for our realm stay here (22.3)."""
        out = request.copy()
        out.uri = uri
        hops = request.max_forwards
        out.replace(b"max-forwards", b"%d" % (MAX_FORWARDS if hops is None else hops - 1))
        if out.has(b"proxy-authorization") or out.has(b"authorization"):
            self._authentication.strip(out)
        out.prepend(b"via", self._own.via(flow, branch))
        return out

    def to_target(
        self, request: Request, target: Target, branch: bytes, breadth: int, caller: str, caller_flow: Flow, relayed: bool = False
    ) -> Request:
        """The copy for one branch. `breadth` is its share of Max-Breadth, 0 inside a dialog. `relayed`: its media will be."""
        out = self.copy(request, target.uri, target.flow, branch)
        for hop in reversed(target.path):
            out.prepend(b"route", hop)
        if breadth:
            out.replace(b"max-breadth", b"%d" % breadth)
            if request.method in DIALOG_MAKERS:
                self.record(out, request, target, caller, caller_flow, relayed=relayed)
        return out

    def record(
        self,
        out: Request,
        request: Request,
        target: Target,
        caller: str,
        caller_flow: Flow,
        trunk: str = "",
        offset: int = 0,
        relayed: bool = False,
    ) -> None:
        """Put our Record-Routes with the dialog's token on the copy. `trunk`, `offset`, `relayed`: see `DialogTokens.mint`."""
        flow = target.flow
        token = self._tokens.mint(
            request.call_id, request.from_tag, caller, target.account, caller_flow.name, flow.name, trunk, offset, relayed
        )
        if self.records(caller_flow, flow) == 2:
            # The two sides reach us in different ways: one Record-Route for each (RFC 5658).
            out.prepend(b"record-route", self._own.record_route(caller_flow, token))
        out.prepend(b"record-route", self._own.record_route(flow, token))

    def records(self, caller_flow: Flow, flow: Flow) -> int:
        """How many Record-Routes `record` puts on."""
        return 1 if caller_flow.address_key == flow.address_key else 2

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """Our Via towards a trunk. Over UDP with rport (RFC 3581): a NAT box on the way may give us another port."""
        via = self._own.via(flow, branch)
        return via if flow.reliable else via + b";rport"


def is_large(request: Request) -> bool:
    """Whether the copy may be too much for a datagram."""
    return len(request.body) + sum(map(len, request.lines)) > LARGE_ON_UDP


def max_breadth(request: Request, most: int) -> int:
    """How many branches the request may become (RFC 5393 5.3), `most` where it does not say."""
    value = request.get(b"max-breadth")
    given = -1 if value is None else decimal(value, 2**31 - 1)
    return most if given < 0 else min(given, most)
