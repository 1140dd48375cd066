"""Landlines and media: a trunk's leg is relayed always, also where the carrier is next door, and through its challenge."""

from typing import Any

from sip.media_engine import MediaAnswer, MediaDelete, MediaFailed, MediaKey, MediaOffer, MediaReady
from sip.media_rule import MediaRule
from tests.sip.carrier import CHALLENGE, FIRST, NUMBER, CarrierStage, sent_by, trunk
from tests.sip.media_calls import ANSWER, OFFER, TYPE, TYPED


class Relayed(CarrierStage):
    """The engine answers when the test says so."""

    def __init__(self) -> None:
        super().__init__(trunk(), media=MediaRule())
        self.plan((NUMBER,))
        self.asked: list[Any] = []
        self.dial(headers=(TYPE,), body=OFFER)
        self.book.sees("D 100 INVITE", "offer")

    def ready(self) -> None:
        """The newest request is done."""
        one = self.asked[-1]
        self.book.call(self.core.media_told, MediaReady(one.number, one.key, one.sdp + b"a=relayed\r\n"))

    def _name(self, output: Any) -> str | None:
        if isinstance(output, (MediaOffer, MediaAnswer, MediaDelete)):
            self.asked.append(output)
            return {MediaOffer: "offer", MediaAnswer: "answer", MediaDelete: "delete"}[type(output)]
        return super()._name(output)


def test_a_call_over_a_trunk_is_relayed_through_its_challenge_to_its_end() -> None:
    stage = Relayed()
    assert stage.asked[0].toward == FIRST
    stage.ready()
    stage.book.sees("C INVITE")
    stage.says(stage.first, 407, CHALLENGE)
    stage.book.sees("C ACK", "C INVITE")
    assert stage.sent(stage.first, b"INVITE").body == OFFER + b"a=relayed\r\n"
    stage.says(stage.first, 200, *TYPED, body=ANSWER)
    stage.book.sees("answer")
    assert stage.asked[-1].source == FIRST
    stage.ready()
    stage.book.sees("D 200 INVITE")
    final = stage.last(stage.door)
    assert final.body == ANSWER + b"a=relayed\r\n"
    ours = sent_by(stage.door)
    stage.book.receive(stage.door.in_dialog(b"ACK", final, ours), stage.door.flow).sees("C ACK")
    update = stage.first.in_dialog_as_callee(b"UPDATE", stage.sent(stage.first, b"INVITE"), headers=(TYPE,), body=OFFER)
    stage.book.receive(update, stage.first.flow).sees("offer")
    assert (stage.asked[-1].key.from_tag, stage.asked[-1].source) == (b"tag-C", FIRST)
    stage.ready()
    stage.book.sees("D UPDATE")
    stage.book.receive(stage.door.in_dialog(b"BYE", final, ours, cseq=ours.cseq[0] + 5), stage.door.flow).sees("delete", "C BYE")
    assert stage.asked[-1].key == MediaKey(ours.call_id, ours.from_tag, b"tag-C")


def test_a_landline_without_media_is_refused_and_holds_no_leg() -> None:
    stage = Relayed()
    for seen in (["offer"], ["delete", "D 503 INVITE"]):
        one = stage.asked[-1]
        stage.book.call(stage.core.media_told, MediaFailed(one.number, one.key, "ports used up", 503)).sees(*seen)
    assert stage.held() == (0, 0)
