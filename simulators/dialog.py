"""A dialog at one end (RFC 3261 section 12): its identity, route set, remote target and sequence numbers."""

from dataclasses import dataclass

from sip.errors import MalformedMessage
from sip.header_values import parse_name_addr
from sip.message import Message, Request, Response, addresses


@dataclass(frozen=True, slots=True)
class Composed:
    """The parts of a request that its sender decides; `compose` puts them in the order in which devices write them."""

    method: bytes
    uri: bytes
    via: bytes
    from_value: bytes
    to_value: bytes
    call_id: bytes
    cseq: int
    routes: tuple[bytes, ...] = ()
    extra: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


def compose(parts: Composed) -> Request:
    """A request with the headers RFC 3261 8.1.1 makes mandatory, then `extra`."""
    request = Request(parts.method, parts.uri, [], [], parts.body)
    request.append(b"via", parts.via)
    request.append(b"max-forwards", b"70")
    for route in parts.routes:
        request.append(b"route", route)
    request.append(b"from", parts.from_value)
    request.append(b"to", parts.to_value)
    request.append(b"call-id", parts.call_id)
    request.append(b"cseq", b"%d %s" % (parts.cseq, parts.method))
    for name, value in parts.extra:
        request.append(name, value)
    return request


@dataclass(slots=True)
class Dialog:
    """One dialog. `local` and `remote` are From and To values with their tags, as this end writes them."""

    call_id: bytes
    local: bytes
    remote: bytes
    local_tag: bytes
    remote_tag: bytes
    target: bytes
    routes: tuple[bytes, ...]
    local_cseq: int
    remote_cseq: int = 0

    @classmethod
    def as_caller(cls, invite: Request, response: Response) -> "Dialog":
        """12.1.2: from our INVITE and a response with a tag. Raises MalformedMessage if a 2xx names no Contact."""
        return cls(
            call_id=invite.call_id,
            local=invite.get(b"from") or b"",
            remote=response.get(b"to") or b"",
            local_tag=invite.from_tag,
            remote_tag=response.to_tag,
            target=contact_of(response),
            routes=tuple(reversed(response.all(b"record-route"))),
            local_cseq=invite.cseq[0],
        )

    @classmethod
    def as_called(cls, invite: Request, local_tag: bytes) -> "Dialog":
        """12.1.1: from the INVITE we answer. Raises MalformedMessage if it names no Contact."""
        return cls(
            call_id=invite.call_id,
            local=(invite.get(b"to") or b"") + b";tag=" + local_tag,
            remote=invite.get(b"from") or b"",
            local_tag=local_tag,
            remote_tag=invite.from_tag,
            target=contact_of(invite),
            routes=tuple(invite.all(b"record-route")),
            local_cseq=0,
            remote_cseq=invite.cseq[0],
        )

    def next_cseq(self) -> int:
        """The sequence number of this end's next request (12.2.1.1)."""
        self.local_cseq += 1
        return self.local_cseq

    def in_order(self, request: Request) -> bool:
        """Whether the other end's request is newer than its last (12.2.2); notes its number if so."""
        if request.cseq[0] <= self.remote_cseq:
            return False
        self.remote_cseq = request.cseq[0]
        return True

    def refresh_target(self, message: Message) -> None:
        """A re-INVITE or its 2xx moves the remote target (12.2.1.2, 12.2.2)."""
        if message.count(b"contact"):
            self.target = contact_of(message)

    def request(
        self,
        method: bytes,
        via: bytes,
        cseq: int,
        *,
        extra: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes = b"",
    ) -> Request:
        """A request inside this dialog (12.2.1.1), also towards a strict router as first hop."""
        uri, routes = self.target, self.routes
        if routes and not is_loose(routes[0]):
            uri, routes = parse_name_addr(routes[0]).uri, (*routes[1:], b"<" + self.target + b">")
        return compose(Composed(method, uri, via, self.local, self.remote, self.call_id, cseq, routes, extra, body))


def is_loose(route: bytes) -> bool:
    """Whether a Route value names a loose router: its URI has the `lr` parameter (RFC 3261 19.1.1)."""
    parameters = parse_name_addr(route).uri.partition(b"?")[0].split(b";")[1:]
    return any(parameter.partition(b"=")[0].lower() == b"lr" for parameter in parameters)


def contact_of(message: Message) -> bytes:
    """The URI of the one Contact that establishes a dialog. Raises MalformedMessage if there is none (8.1.1.8)."""
    contacts = addresses(message, b"contact")
    if not contacts:
        raise MalformedMessage(400, b"Missing Contact")
    return contacts[0].uri
