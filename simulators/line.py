"""One SIP account at one device: its addresses, its proofs, and the requests it sends through the transaction layer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from simulators.authentication import Authentication
from simulators.dialog import Composed, Dialog, compose
from sip.client_transaction import ClientTransaction
from sip.errors import MalformedMessage
from sip.flow import Flow
from sip.header_values import parse_name_addr
from sip.message import Request, Response
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.transaction_layer import TransactionLayer
from sip.uri import user_and_host

DEFAULT_PORT = 5060
_CREDENTIALS = (b"authorization", b"proxy-authorization")
SDP = (b"content-type", b"application/sdp")
ALLOW = b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"


@dataclass(frozen=True, slots=True)
class SipAccount:
    """What a device's configuration says of its account. `server` is an address or a name; `expires` is in seconds,
    `transport` "udp", "tcp" or "tls"."""

    username: str
    password: str = field(repr=False)
    server: str
    port: int = DEFAULT_PORT
    display_name: str = ""
    expires: int = 1800
    transport: str = "udp"


class Exchange:
    """One request of ours until its final response, over as many transactions as its challenges take (RFC 3261 22.2).

    `about` is what the request belongs to; `next_cseq` gives each new try its number.
    """

    __slots__ = ("about", "method", "next_cseq", "proofs", "transaction")

    def __init__(self, method: bytes, about: object, next_cseq: Callable[[], int]) -> None:
        self.method = method
        self.about = about
        self.next_cseq = next_cseq
        self.proofs = 0
        self.transaction: ClientTransaction | None = None


class Line:
    """Sends requests for one account. `local` is the address peers reach this device at."""

    def __init__(
        self,
        account: SipAccount,
        *,
        local: tuple[str, int],
        server: Flow,
        layer: TransactionLayer,
        entropy: Callable[[int], bytes],
        user_agent: str,
        instance_id: str,
    ) -> None:
        self.account = account
        self.local = local
        self.server = server
        self.layer = layer
        self.user_agent = user_agent.encode("ascii")
        self._entropy = entropy
        self._authentication = Authentication(account.username, account.password, entropy)
        self.host = bracketed(local[0])
        user = account.username.encode("ascii")
        at_server = bracketed(account.server)
        self.domain = at_server if account.port == DEFAULT_PORT else b"%s:%d" % (at_server, account.port)
        self.address = b"<sip:%s@%s>" % (user, at_server)
        transport = account.transport.encode("ascii")
        parameter = b"" if transport == b"udp" else b";transport=" + transport
        self.contact = b"<sip:%s@%s:%d%s>" % (user, self.host, local[1], parameter)
        self._sent_by = b"SIP/2.0/%s %s:%d" % (transport.upper(), self.host, local[1])
        self.binding = self.contact + (b';+sip.instance="<%s>";reg-id=1' % instance_id.encode("ascii") if instance_id else b"")

    @property
    def from_value(self) -> bytes:
        """The From value without a tag; a display name that would need escapes is left out."""
        name = self.account.display_name
        if name and name.isascii() and not set(name) & set('"\\\r\n\0'):
            return b'"%s" %s' % (name.encode("ascii"), self.address)
        return self.address

    def via(self) -> bytes:
        """A new top Via value; it asks for rport, so that answers come back through a NAT (RFC 3581)."""
        return b"%s;rport;branch=%s" % (self._sent_by, self.layer.new_branch())

    def tag(self) -> bytes:
        """A new tag or identifier (64 random bits)."""
        return self.layer.token(8)

    def fraction(self) -> float:
        """A random number of [0, 1) for spreading timers."""
        return int.from_bytes(self._entropy(4), "big") / 2**32

    def invite(self, uri: bytes, tag: bytes, call_id: bytes, body: bytes) -> Request:
        """The INVITE that begins a call, with our offer."""
        extra = ((b"contact", self.contact), (b"allow", ALLOW), (b"user-agent", self.user_agent), SDP)
        to_value = b"<%s>" % uri
        from_value = self.from_value + b";tag=" + tag
        return compose(Composed(b"INVITE", uri, self.via(), from_value, to_value, call_id, 1, extra=extra, body=body))

    def send(self, request: Request, exchange: Exchange, now: float) -> None:
        """Send a request, with the proof that the last challenge of its kind asked for."""
        self._authentication.prove(request)
        exchange.transaction = self.layer.send(request, self.next_hop(request), exchange, now)

    def proven_again(self, exchange: Exchange, response: Response, now: float) -> bool:
        """A 401 or 407 came: send the request again with its proof. False if that has no prospect."""
        transaction = exchange.transaction
        if transaction is None or not self._authentication.learn(response, exchange.proofs):
            return False
        again = transaction.request.copy()
        for name in _CREDENTIALS:
            again.remove(name)
        again.replace(b"via", self.via())
        again.replace(b"cseq", b"%d %s" % (exchange.next_cseq(), again.method))
        exchange.proofs += 1
        self.send(again, exchange, now)
        return True

    def acknowledge(self, dialog: Dialog, invite: Request) -> None:
        """Send the ACK of a 2xx (13.2.2.4): its own branch, the INVITE's number and credentials, no transaction."""
        proofs = tuple((name, value) for name in _CREDENTIALS for value in invite.all(name))
        ack = dialog.request(b"ACK", self.via(), invite.cseq[0], extra=proofs)
        self.layer.transmit(self.next_hop(ack), ack.to_bytes())

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Answer a request."""
        self.layer.respond(transaction, response, now)

    def refuse(self, transaction: ServerTransaction, status: int, now: float, *extra: tuple[bytes, bytes]) -> None:
        """Answer a request with an error."""
        self.respond(transaction, make_response(transaction.request, status, to_tag=self.tag(), extra=extra), now)

    def dialog_answer(self, request: Request, status: int, tag: bytes) -> Response:
        """A response that makes or keeps a dialog: it carries the Record-Route of the request and our Contact (12.1.1)."""
        routes = [(b"record-route", value) for value in request.all(b"record-route")]
        return make_response(request, status, to_tag=tag, extra=[*routes, (b"contact", self.contact), (b"allow", ALLOW)])

    def next_hop(self, request: Request) -> Flow:
        """Where a request goes (8.1.2): to its first Route, or its Request-URI, if that is an IP address; else, and always over a
        stream, to the server."""
        if self.server.reliable:
            return self.server
        routes = request.all(b"route")
        try:
            _, host, port = user_and_host(parse_name_addr(routes[0]).uri if routes else request.uri)
        except MalformedMessage:
            return self.server
        name = host.decode("ascii", "replace").strip("[]")
        port = port or DEFAULT_PORT
        if not is_ip_literal(name) or (name, port) == (self.server.host, self.server.port):
            return self.server
        return Flow(self.server.transport, self.server.local, name, port)


def bracketed(host: str) -> bytes:
    """A host as it stands in a URI or Via: IPv6 in brackets."""
    return (f"[{host}]" if ":" in host else host).encode("ascii")


def is_ip_literal(host: str) -> bool:
    """Whether a host is an address and not a name (names are the shell's to resolve)."""
    return ":" in host or (host.count(".") == 3 and all(part.isascii() and part.isdigit() for part in host.split(".")))
