"""A gateway core with a media engine that answers when the test says so, or with the real relay (without sockets)."""

from typing import Any

from sip.media_engine import MediaAnswer, MediaDelete, MediaFailed, MediaOffer, MediaReady
from sip.media_rule import MediaRule
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.media.stage import AUDIO, RelayStage, sdp
from tests.sip.phones import Phone, Stage

TYPE = b"Content-Type: application/sdp"
TYPED = ((b"content-type", b"application/sdp"),)
OFFER = sdp("192.168.1.20", (AUDIO, 4000))
ANSWER = sdp("192.168.1.30", (AUDIO, 5000))


def offer_of(phone: Phone) -> bytes:
    return sdp(phone.flow.host, (AUDIO, 4000))


class MediaStage(Stage):
    """Requests to the engine are lines of the trace: "offer", "answer", "answer!" (final), "delete call|branch|dialog"."""

    def __init__(self, **how: Any) -> None:
        super().__init__(media=how.pop("media", MediaRule()), **how)
        self.caller = self.registered("A", "100")

    def ring(self, *lines: str, dialled: str = "101", body: bytes = OFFER) -> Request:
        """The caller's INVITE arrives."""
        data = self.invite(self.caller, dialled, headers=(TYPE,) if body else (), body=body)
        self.book.receive(data, self.caller.flow).sees("A 100 INVITE", *lines)
        self.data = data
        request = parse(data)
        assert isinstance(request, Request)
        return request

    def asked(self, kind: type = object) -> list[Any]:
        """All requests to the engine so far."""
        return [one for one in self.said(kind) if isinstance(one, (MediaOffer, MediaAnswer, MediaDelete))]

    def deletes(self) -> list[MediaDelete]:
        return self.asked(MediaDelete)

    def ready(self, request: MediaOffer | MediaAnswer) -> None:
        """The engine has done it: the SDP is marked with the number."""
        outcome = MediaReady(request.number, request.key, request.sdp + b"a=relayed:%d\r\n" % request.number)
        self.book.call(self.core.media_told, outcome)

    def fail(self, request: MediaOffer | MediaAnswer, reason: str = "ports used up", status: int = 503) -> None:
        self.book.call(self.core.media_told, MediaFailed(request.number, request.key, reason, status))

    def offers(self) -> list[MediaOffer]:
        return self.asked(MediaOffer)

    def newest(self, kind: type) -> Any:
        return self.asked(kind)[-1]

    def answers(self, phone: Phone, status: int, *lines: str, body: bytes = ANSWER, **how: Any) -> None:
        """The phone answers its newest INVITE."""
        how["headers"] = (*how.get("headers", ()), *(TYPED if body else ()))
        self.book.receive(phone.reply(self.sent(phone, b"INVITE"), status, body=body, **how), phone.flow).sees(*lines)

    def heard(self, phone: Phone) -> Response:
        """The last response that reached this phone."""
        response = self.last(phone)
        assert isinstance(response, Response)
        return response

    def _name(self, output: Any) -> str | None:
        if isinstance(output, MediaOffer):
            return "offer"
        if isinstance(output, MediaAnswer):
            return "answer!" if output.final else "answer"
        if isinstance(output, MediaDelete):
            return "delete " + ("branch" if output.key.branch else "dialog" if output.key.to_tag else "call")
        return super()._name(output)


class RelayedStage(Stage):
    """The same with the real relay, which answers at once: what has ended must have left no call and no port behind."""

    def __init__(self, pairs: int = 100) -> None:
        super().__init__(media=MediaRule())
        self.engine = RelayStage(pairs)
        self.pairs = len(self.engine.free)
        self.caller = self.registered("A", "100")

    def is_clean(self) -> bool:
        return len(self.engine.relay) == 0 and len(self.engine.free) == self.pairs

    def _name(self, output: Any) -> str | None:
        if isinstance(output, (MediaOffer, MediaAnswer, MediaDelete)):
            self.engine.outcomes.clear()
            self.engine.relay.request(output)
            for outcome in self.engine.outcomes:
                self.core.media_told(outcome, self.book.now)
            return None
        return super()._name(output)
