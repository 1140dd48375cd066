"""CSeq of a leg whose challenge the proxy answered: up towards the trunk, down towards the caller, back where it was."""

from hypothesis import given
from hypothesis import strategies as st

from sip.cseq_offset import MAX_OFFSET, from_leg, to_leg
from sip.header_values import CSEQ_LIMIT
from sip.message import Request
from sip.outbound import DialogTokens, Hop
from sip.responses import make_response


def request(method: bytes, number: int, *more: tuple[bytes, bytes]) -> Request:
    made = Request(method, b"sip:+49301234567@carrier", [], [])
    for name, value in (
        (b"via", b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa"),
        (b"from", b"<sip:a@gw>;tag=1"),
        (b"to", b"<sip:b@gw>"),
        (b"call-id", b"c"),
        (b"cseq", b"%d %b" % (number, method)),
        *more,
    ):
        made.append(name, value)
    return made


@given(st.integers(0, CSEQ_LIMIT), st.integers(0, MAX_OFFSET), st.sampled_from([b"INVITE", b"ACK", b"BYE", b"INFO"]))
def test_a_response_comes_back_with_the_callers_number(number: int, offset: int, method: bytes) -> None:
    sent = request(method, number)
    before = sent.to_bytes()
    if not to_leg(sent, offset):
        assert number + offset > CSEQ_LIMIT
        assert sent.to_bytes() == before
        return
    assert sent.cseq == (number + offset, method)
    response = make_response(sent, 200, to_tag=b"2")
    assert from_leg(response, offset)
    assert response.cseq == (number, method)


def test_a_number_that_was_never_ours_is_not_counted_down() -> None:
    response = make_response(request(b"BYE", 1), 200)
    assert not from_leg(response, 2)
    assert response.cseq == (1, b"BYE")


def test_rack_counts_as_the_invite_it_names() -> None:
    prack = request(b"PRACK", 8, (b"rack", b"776656 7 INVITE"))
    assert to_leg(prack, 1)
    assert (prack.cseq[0], prack.get(b"rack")) == (9, b"776656 8 INVITE")
    for broken in (b"1 x INVITE", b"", b"1 2", b"1 99999999999 INVITE"):
        odd = request(b"PRACK", 8, (b"rack", broken))
        assert to_leg(odd, 1)
        assert odd.get(b"rack") == broken
    assert not to_leg(request(b"PRACK", 8, (b"rack", b"1 %d INVITE" % CSEQ_LIMIT)), 1)


def test_the_offset_rides_in_the_dialog_token_and_each_try_has_its_own() -> None:
    tokens = DialogTokens(b"s" * 32)
    flows = ("udp:5060:198.51.100.1:5060", "tls:ab-1:203.0.113.9:5061")
    tries = [tokens.mint(b"c", b"1", "100", "+49301234567", *flows, "trunk-1", offset) for offset in (0, 1)]
    for offset, token in enumerate(tries):
        ack = tokens.read(token, b"c", b"1", b"2")
        bye = tokens.read(token, b"c", b"2", b"1")
        assert ack == Hop("100", "+49301234567", flows[1], True, flows[0], "trunk-1", offset)
        assert bye == Hop("+49301234567", "100", flows[0], False, flows[1], "trunk-1", offset)
    plain = tokens.read(tokens.mint(b"c", b"1", "100", "101", *flows), b"c", b"1", b"2")
    assert plain is not None
    assert (plain.trunk, plain.cseq_offset) == ("", 0)
