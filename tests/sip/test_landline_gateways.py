"""A landline over several gateways: which failures lead to the next one, and which gateway a dialog stays with."""

from registry.trunk import Trunk, TrunkGateway, TrunkTransport
from sip.flow import Flow
from sip.trunk_state import TrunkFacts
from tests.sip.carrier import CHALLENGE, NUMBER, OTHER, CarrierStage, sent_by, trunk
from tests.sip.phones import Phone

TCP = TrunkTransport.TCP


def test_the_second_gateway_is_tried_on_503_with_names_and_numbers_anew() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 407, CHALLENGE)
    stage.book.sees("C ACK", "C INVITE")
    stage.says(stage.first, 503)
    stage.book.sees("C ACK", "S INVITE")
    tried = stage.sent(stage.second, b"INVITE")
    assert not tried.has(b"proxy-authorization"), "another server, another nonce"
    assert tried.to_addr.uri == b"sip:+49301234567@192.0.2.72;user=phone"
    assert stage.held() == (1, 1)
    stage.says(stage.second, 200)
    stage.book.sees("D 200 INVITE")
    assert stage.last(stage.door).cseq[0] == tried.cseq[0]


def test_two_gateways_of_one_host_are_told_apart_inside_the_dialog() -> None:
    stage = CarrierStage(trunk())
    one, two = TrunkGateway("192.0.2.80", 5060), TrunkGateway("192.0.2.80", 5070)
    stage.configure(TrunkFacts(Trunk("t", "Carrier", (one, two), allowed_prefixes=("+49",), probe=False)))
    first, second = stage.add(Phone("E", "carrier", one.host)), stage.add(Phone("F", "carrier", two.host, two.port))
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "E INVITE")
    stage.says(first, 503)
    stage.book.sees("E ACK", "F INVITE")
    stage.says(second, 200)
    stage.book.sees("D 200 INVITE")
    ours = sent_by(stage.door)
    stage.book.receive(stage.door.in_dialog(b"BYE", stage.last(stage.door), ours), stage.door.flow).sees("F BYE")


def test_a_connection_to_a_gateway_that_was_dialled_anew_takes_over_the_dialog() -> None:
    stage = CarrierStage()
    stage.configure(
        TrunkFacts(Trunk("t", "Carrier", (TrunkGateway("192.0.2.80", 5060, TCP),), allowed_prefixes=("+49",), probe=False))
    )
    stage.trunks.on_deadline(0.0)
    flow = Flow("tcp", "first", "192.0.2.80", 5060)
    stage.connected(flow)
    phone = stage.add(Phone("E", "carrier", flow.host))
    phone.flow = flow
    stage.phones[flow.name] = phone
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "E INVITE")
    invite = stage.sent(phone, b"INVITE")
    assert len(invite.all(b"record-route")) == 2, "one for each side (RFC 5658)"
    stage.says(phone, 407, CHALLENGE)
    stage.book.sees("E ACK", "D 500 INVITE")
    stage.configure(
        TrunkFacts(
            Trunk("t", "C", (TrunkGateway("192.0.2.80", 5060, TCP),), allowed_prefixes=("+49",), probe=False, username="u"), b"p"
        )
    )
    stage.connected(flow)
    stage.dial()
    stage.book.sees("D 100 INVITE", "E INVITE")
    stage.says(phone, 407, CHALLENGE)
    stage.book.sees("E ACK", "E INVITE")
    invite = stage.sent(phone, b"INVITE")
    assert len(invite.all(b"record-route")) == 2, "and no more after the second try"
    assert len({one.partition(b"@")[0] for one in invite.all(b"record-route")}) == 1, "with the second try's token both"
    stage.says(phone, 200)
    stage.book.sees("D 200 INVITE")
    answered, ours = stage.last(stage.door), sent_by(stage.door)
    stage.trunks.flow_closed(flow, 1.0)
    stage.book.call(stage.core.flow_closed, flow)
    stage.trunks.on_deadline(3.0)
    again = Flow("tcp", "second", "192.0.2.80", 5060)
    stage.connected(again)
    stage.phones[again.name] = phone
    stage.book.receive(stage.door.in_dialog(b"BYE", answered, ours), stage.door.flow).sees("E BYE")
    assert stage.sent(phone, b"BYE").cseq[0] == invite.cseq[0] + 1


def test_a_silent_gateway_gives_way_before_the_stage_is_over_and_is_told_of() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.book.after(3.9).sees("C INVITE", "C INVITE", "C INVITE")
    stage.book.after(0.2).sees("S INVITE")
    assert stage.heard() == [False]
    assert stage.held() == (1, 1)
    stage.says(stage.second, 180)
    stage.book.sees("D 180 INVITE")
    stage.says(stage.first, 180)
    stage.book.sees("C CANCEL")
    stage.says(stage.second, 200)
    stage.book.sees("D 200 INVITE")


def test_a_late_answer_wins_over_the_gateway_that_took_its_place() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.book.after(4.1).sees("C INVITE", "C INVITE", "C INVITE", "S INVITE")
    stage.says(stage.second, 180)
    stage.book.sees("D 180 INVITE")
    late = stage.sent(stage.first, b"INVITE")
    stage.says(stage.first, 200, request=late)
    stage.book.sees("D 200 INVITE", "S CANCEL")
    stage.says(stage.second, 487)
    stage.book.sees("S ACK")
    assert stage.held() == (1, 1), "it talks"
    stage.book.receive(stage.first.in_dialog_as_callee(b"BYE", late), stage.first.flow).sees("D BYE")
    assert stage.held() == (0, 0)


def test_a_gateway_that_says_100_has_taken_the_call() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,), seconds=60)
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 100)
    stage.book.after(50.0).sees()
    stage.says(stage.first, 180)
    stage.book.sees("D 180 INVITE")
    stage.says(stage.first, 503)
    stage.book.sees("C ACK", "D 500 INVITE")
    assert stage.held() == (0, 0), "no second ringing of a number that has rung"


def test_a_connection_that_breaks_leads_to_the_next_gateway() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    (pending,) = [one for one in stage.core._layer._clients.values() if one.flow == stage.first.flow]
    stage.book.call(pending.failed).sees("S INVITE")
    assert stage.heard() == [False]


def test_the_second_gateway_and_the_next_stage_end_in_a_clear_answer() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,), (OTHER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 503)
    stage.book.sees("C ACK", "S INVITE")
    stage.says(stage.second, 503)
    stage.book.sees("S ACK", "C INVITE")
    assert stage.sent(stage.first, b"INVITE").uri.startswith(b"sip:+49307654321@")
    stage.says(stage.first, 480)
    stage.book.sees("C ACK", "D 480 INVITE")
    assert stage.held() == (0, 0)
    assert stage.trace() == [
        f"invite {NUMBER}",
        f"failed {NUMBER} 503",
        f"invite {NUMBER}",
        f"failed {NUMBER} 503",
        f"invite {OTHER}",
        f"failed {OTHER} 480",
    ]
