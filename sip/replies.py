"""What the gateway answers on its own account: refusals, with a transaction or without state, each told as an output.

Answers without state over UDP are held to what was asked (`sip.amplification`)."""

from hashlib import blake2b

from sip.amplification import DEAR, allowed, fitted
from sip.errors import MalformedMessage
from sip.events import Malformed, Output, Refused, Send
from sip.flow import Flow
from sip.message import Request, Response
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.source_limits import SourceLimits
from sip.transaction_layer import TransactionLayer
from sip.via_fixup import reply_flow, stamp_received

Headers = tuple[tuple[bytes, bytes], ...]


class Replies:
    """Answers over one transaction layer. `secret` keys the To tags, `retry_after` is the least of the seconds a 503 asks for.

    What is answered is the message that `asked` was told of last.
    """

    __slots__ = ("_layer", "_now", "_outputs", "_seconds", "_sources", "_tag_begun", "octets")

    def __init__(
        self, layer: TransactionLayer, outputs: list[Output], sources: SourceLimits, *, secret: bytes, retry_after: int
    ) -> None:
        self._layer = layer
        self._outputs = outputs
        self._sources = sources
        self._now = 0.0
        self.octets = 0
        """Of the message being answered, as it arrived."""
        self._seconds = retry_after
        # Keyed once: to begin from a copy costs half.
        self._tag_begun = blake2b(key=blake2b(b"portico to tag", key=secret[:64], digest_size=32).digest(), digest_size=8)

    def asked(self, octets: int, now: float) -> None:
        """A message of so many octets is to be answered."""
        self.octets = octets
        self._now = now

    def answer(self, transaction: ServerTransaction, status: int, why: str, now: float, extra: Headers = ()) -> None:
        """Refuse a request that has a transaction."""
        self._outputs.append(Refused(why, status, transaction.flow))
        tag = self.to_tag(transaction.key)
        self._layer.respond(transaction, make_response(transaction.request, status, to_tag=tag, extra=extra), now)

    def unavailable(self, transaction: ServerTransaction, now: float) -> None:
        self.answer(transaction, 503, "facts unavailable", now, self.retry_after())

    def refuse(self, key: bytes, request: Request, flow: Flow, status: int, why: str, extra: Headers = ()) -> None:
        """Refuse a request without state."""
        self._outputs.append(Refused(why, status, flow))
        self.reply(request, flow, make_response(request, status, to_tag=self.to_tag(key), extra=extra))

    def reply(self, request: Request, flow: Flow, response: Response) -> None:
        """Answer without state: a repeat will be answered afresh (8.2.7). Raises MalformedMessage for a broken Via."""
        to = reply_flow(request.top_via, flow)
        if flow.reliable:
            self._outputs.append(Send(to, response.to_bytes()))
            return
        most = allowed(self.octets)
        data = fitted(response, most)
        if (
            len(data) <= most
            or self._sources.is_known(flow.source, self._now)
            or self._sources.spend(flow.source, self._now, DEAR)
        ):
            self._outputs.append(Send(to, data))
        else:
            self._outputs.append(Refused("answer too large", 0, flow))

    def limited(self, key: bytes, request: Request, flow: Flow) -> None:
        """No answer to a source without credit where it will ask again by itself; on a stream nobody repeats."""
        if flow.reliable:
            self.refuse(key, request, flow, 503, "source limited", self.retry_after())
        else:
            self._outputs.append(Refused("source limited", 0, flow))

    def retry_after(self) -> Headers:
        """Spread, so that a crowd does not come back at once."""
        base = self._seconds
        return ((b"retry-after", b"%d" % (base + int(self._layer.token(2), 16) % (base + 1))),)

    def to_tag(self, key: bytes) -> bytes:
        """The same for every copy of a request, without remembering it (8.2.7)."""
        tag = self._tag_begun.copy()
        tag.update(key)
        return tag.hexdigest().encode()

    def malformed(self, error: MalformedMessage, partial: Request | None, flow: Flow) -> None:
        """Answer what can be answered, drop the rest; count both. The reason phrase names the header at fault."""
        self._outputs.append(Malformed(error.reason.decode("ascii", "replace"), flow))
        if error.status and partial is not None:
            try:
                stamp_received(partial, flow)
                response = make_response(partial, error.status, error.reason, to_tag=self._layer.token(8))
                self.reply(partial, flow, response)
            except MalformedMessage:
                return  # what is broken is what an answer is made of, the Via above all: there is no way back
