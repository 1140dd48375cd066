"""What a landline call may cost: prefixes, calls at once, who may dial out, and how a landline that is not called looks."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.logs import CallResult
from registry.trunk import SiteLandlines
from sip.directory import LandlinesQuestion
from sip.events import CallEnded
from sip.limits import SipLimits
from sip.message import Request
from tests.sip.carrier import CHALLENGE, NUMBER, OTHER, CarrierStage, trunk
from tests.sip.phones import Phone

DIALLERS = [("monitor", True), ("app", True), ("guard", True), ("door", False), ("device", False)]


def test_a_plan_with_a_landline_and_no_trunk_rings_its_other_stages() -> None:
    stage = CarrierStage()
    monitor = stage.registered("M", "monitor")
    stage.plan((NUMBER,), ("monitor",))
    stage.dial()
    stage.book.sees("D 100 INVITE", "M INVITE")
    stage.says(monitor, 486)
    stage.book.sees("M ACK", "D 486 INVITE")
    assert stage.trace()[:2] == [f"refused {NUMBER} no trunk", "invite monitor"]
    assert stage.refused() == [("landline: no trunk", 404)]


def test_a_plan_that_is_nothing_but_a_refused_landline_ends_at_once() -> None:
    stage = CarrierStage()
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "D 404 INVITE")
    assert stage.result() == (CallResult.FAILED, 404, (), "")


def test_an_account_out_of_reach_beside_a_refused_landline_is_nobody_there() -> None:
    stage = CarrierStage()
    stage.phone("M", "monitor")
    stage.plan(("monitor",), (NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "D 480 INVITE")


@pytest.mark.parametrize(
    ("fields", "prefixes", "number", "reason", "status"),
    [
        ({"allowed_prefixes": ()}, (), NUMBER, "prefix not allowed for the trunk", 404),
        ({"allowed_prefixes": ("+49", "!+4930")}, (), NUMBER, "prefix not allowed for the trunk", 404),
        ({}, ("+43",), NUMBER, "prefix not allowed for the site", 404),
        ({"sites": ("south",)}, (), NUMBER, "no trunk", 404),
        ({"max_calls": 0}, (), NUMBER, "trunk has too many calls", 500),
        ({}, (), "112", "emergency number", 404),
        ({}, (), "030123456789", "no country code", 404),
        ({}, (), "22833", "short code", 404),
    ],
)
def test_a_refused_landline_says_why_and_sends_nothing(
    fields: dict[str, Any], prefixes: tuple[str, ...], number: str, reason: str, status: int
) -> None:
    stage = CarrierStage(trunk(**fields))
    stage.limits(*prefixes)
    stage.plan((number,))
    stage.dial()
    stage.book.sees("D 100 INVITE", f"D {status} INVITE")
    assert stage.trace() == [f"refused {number} {reason}"]
    assert stage.refused() == [(f"landline: {reason}", 503 if status == 500 else status)]
    assert stage.held() == (0, 0)


def test_gateways_that_are_down_are_not_called() -> None:
    stage = CarrierStage(trunk())
    ways = stage.trunks.legs("north", NUMBER, SiteLandlines("north"))
    assert isinstance(ways, tuple)
    for leg in ways:
        stage.trunks.call_heard(leg.gateway, False, 0.0)
        stage.trunks.call_heard(leg.gateway, False, 0.0)
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "D 500 INVITE")
    assert stage.refused() == [("landline: no gateway is up", 503)]


def test_a_full_trunk_is_passed_over_for_the_next_one() -> None:
    stage = CarrierStage(trunk("a", ("192.0.2.71",), max_calls=0), trunk("b", ("192.0.2.72",)))
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "S INVITE")


def test_fifty_tries_at_once_ring_as_many_landlines_as_the_site_may_have() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    for _ in range(50):
        data = stage.invite(stage.door, "101")
        stage.book.receive(data, stage.door.flow)
        stage.book._unseen.clear()
    rung = [one for one in stage.first.inbox if isinstance(one, Request) and one.method == b"INVITE"]
    assert len(rung) == 2
    assert stage.held() == (2, 2)
    assert [one.facts.status for one in stage.said(CallEnded)] == [486] * 48
    assert stage.refused() == [("landline: site has too many landline calls", 486)] * 48
    stage.says(stage.first, 486, request=rung[0])
    assert stage.held() == (1, 1)
    stage.book._unseen.clear()
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")


def test_a_node_that_can_remember_no_further_call_makes_none_that_cost() -> None:
    stage = CarrierStage(trunk(), limits=SipLimits(live_calls=0))
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "D 500 INVITE")
    assert stage.refused() == [("landline: node has too many calls", 503)]


def test_a_call_id_and_tag_used_twice_count_twice_and_end_one_by_one() -> None:
    stage = CarrierStage(trunk())
    monitor = stage.registered("M", "monitor")
    stage.plan((NUMBER,))
    stage.plan(("monitor",), number="102")
    stage.dial(call_id=b"same", tag=b"same")
    stage.book.sees("D 100 INVITE", "C INVITE")
    first = stage.sent(stage.first, b"INVITE")
    stage.says(stage.first, 200, request=first)
    stage.book.sees("D 200 INVITE")
    stage.dial(call_id=b"same", tag=b"same")
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 200, tag=b"second")
    stage.book.sees("D 200 INVITE")
    assert stage.held() == (2, 2)
    stage.dial("102", call_id=b"same", tag=b"same")
    stage.book.sees("D 100 INVITE", "M INVITE")
    stage.says(monitor, 486)
    stage.book.sees("M ACK", "D 486 INVITE")
    assert stage.held() == (2, 2), "the end of another call gives nothing back"
    stage.book.receive(stage.first.in_dialog_as_callee(b"BYE", first), stage.first.flow).sees("D BYE")
    assert stage.held() == (1, 1)


def test_two_landlines_of_one_stage_are_two_legs_and_one_number_is_one() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER, "0049 30 1234567", OTHER))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE", "C INVITE")
    assert stage.held() == (2, 2)


@pytest.mark.parametrize(("kind", "may"), DIALLERS)
@pytest.mark.parametrize("dialled", [NUMBER, "0049301234567"])
def test_who_may_dial_a_number_outside(kind: str, may: bool, dialled: str) -> None:
    stage = CarrierStage(trunk())
    phone = stage.registered("M", "monitor")
    stage.kind("monitor", kind)
    stage.limits("+49")
    stage.dial(dialled, phone)
    if may:
        stage.book.sees("M 100 INVITE", "C INVITE")
    else:
        stage.book.sees("M 100 INVITE", "M 404 INVITE")
        assert stage.said(CallEnded) == []


@pytest.mark.parametrize("dialled", ["+43123456789", "+49112", "112", "030123456789"])
def test_a_number_that_may_not_be_dialled_looks_like_an_unknown_one(dialled: str) -> None:
    stage = CarrierStage(trunk(allowed_prefixes=("+",)))
    phone = stage.registered("M", "monitor")
    stage.kind("monitor", "monitor")
    stage.limits("+49")
    stage.dial("nobody", phone)
    stage.book.sees("M 100 INVITE", "M 404 INVITE")
    unknown = stage.last(phone)
    stage.dial(dialled, phone)
    stage.book.sees("M 100 INVITE", "M 404 INVITE")
    assert (stage.last(phone).status, stage.last(phone).names) == (unknown.status, unknown.names)


def test_without_a_list_of_prefixes_nobody_dials_out() -> None:
    stage = CarrierStage(trunk())
    phone = stage.registered("M", "monitor")
    stage.kind("monitor", "monitor")
    stage.limits()
    stage.dial(NUMBER, phone)
    stage.book.sees("M 100 INVITE", "M 404 INVITE")


@pytest.mark.parametrize("planned", [False, True])
def test_what_the_site_may_spend_is_fetched_where_memory_does_not_know(planned: bool) -> None:
    stage = CarrierStage(trunk())
    phone = stage.registered("M", "monitor")
    stage.kind("monitor", "monitor")
    stage.plan((NUMBER,))
    stage.directory.unknown.add("landlines of north")
    stage.dial("101" if planned else NUMBER, phone)
    question = LandlinesQuestion("north")
    stage.book.sees("M 100 INVITE", f"Fetch {question}")
    stage.limits("+49")
    stage.directory.unknown.clear()
    stage.book.call(stage.core.answered, question).sees("C INVITE")


def test_only_an_invite_reaches_a_landline() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    data = stage.challenged(stage.door, stage.door.request(b"MESSAGE", b"sip:101@gw.test"))
    stage.book.receive(data, stage.door.flow).sees("D 480 MESSAGE")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["dial", "C", "S", "wait", "cancel", "carrier bye"]), st.sampled_from([100, 180, 200, 407, 486, 503])
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_happens_no_limit_is_passed_and_the_end_leaves_nothing_held(steps: list[tuple[str, int]]) -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER, OTHER), (OTHER,))
    sent: list[bytes] = []
    for what, status in steps:
        if what == "dial":
            stage.book._unseen.clear()
            sent.append(stage.invite(stage.door, "101"))
            stage.book.receive(sent[-1], stage.door.flow)
        elif what == "wait":
            stage.book.after(status / 20)
        elif what == "cancel" and sent:
            cancel = sent[-1].replace(b"INVITE sip", b"CANCEL sip").replace(b" INVITE\r\n", b" CANCEL\r\n")
            stage.book.receive(cancel, stage.door.flow)
        elif what in ("C", "S"):
            gateway = stage.first if what == "C" else stage.second
            for invite in _invites(gateway):
                headers = (CHALLENGE,) if status == 407 else ()
                stage.book.receive(gateway.reply(invite, status, headers=headers), gateway.flow)
        elif what == "carrier bye":
            for invite in _invites(stage.first):
                stage.book.receive(stage.first.in_dialog_as_callee(b"BYE", invite), stage.first.flow)
        # A gateway that answers after it was given up is counted past the limit: it talks.
        late = sum(leg.endswith("late") for legs in stage.trunks.calls._legs.values() for leg in legs)
        assert stage.held()[0] - late <= 2
        assert stage.held()[1] <= 10
    stage.book._unseen.clear()
    # Four hours later no BYE is waited for any more.
    stage.book.after(5 * 3600.0)
    assert stage.held() == (0, 0)
    assert len(stage.trunks.calls) == 0
    assert len(stage.said(CallEnded)) == len(sent)


def _invites(gateway: Phone) -> list[Request]:
    return [one for one in gateway.inbox if isinstance(one, Request) and one.method == b"INVITE"][-3:]
