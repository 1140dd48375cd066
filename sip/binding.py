"""One binding while it lives (RFC 3261 10, RFC 5626), and the form in which the registry keeps it."""

from registry.location import Binding
from sip.flow import Flow, parse_flow
from sip.push import without_push


class LiveBinding:
    """One contact of an AOR and the flow it registered over. Not to be changed once it is in the location service.

    `contact` is the URI (the Request-URI of what is sent to it), `params` the rest of the Contact value without q and expires,
    `expires_at` monotonic seconds, `q` thousandths, `updated` when it was last refreshed. `gruu_since` is the CSeq from which on
    its Call-ID has given valid temporary GRUUs, -1 where it has given none (`gruu.py`).
    """

    __slots__ = (
        "call_id",
        "contact",
        "cseq",
        "expires_at",
        "flow",
        "gruu_since",
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
        gruu_since: int = -1,
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
        self.gruu_since = gruu_since

    def stored(self, offset: float) -> Binding:
        """The form the registry keeps; its `expires` is our monotonic time plus `offset`: minus now gives seconds to live, wall
        minus now the wall clock. Push parameters are kept apart, and sealed (`AorPush`)."""
        return Binding(
            contact=_text(without_push(self.contact)),
            flow=self.flow.name,
            call_id=_text(self.call_id),
            cseq=self.cseq,
            expires=self.expires_at + offset,
            q=self.q,
            instance_id=_text(self.instance_id),
            reg_id=self.reg_id,
            path=tuple(_text(hop) for hop in self.path),
            user_agent=_text(self.user_agent),
            gruu_since=self.gruu_since,
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
        gruu_since=stored.gruu_since,
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
