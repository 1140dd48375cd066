"""Traps 15 to 23 of reference/sip-core.md section 5, and S01, S08 to S12: who may do what. Black box on the core."""

from typing import Any

import pytest

from registry.ring_plan import together
from sip.directory import AccountFacts, AccountQuestion, RingPlanQuestion
from sip.events import BindingsChanged, Fetch, Flow, Malformed, Refused, Send
from sip.message import Request, Response
from sip.parser import parse
from sip.stun import MAGIC
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import ack_of, calling, ended, site

METHODS = [b"INVITE", b"MESSAGE", b"SUBSCRIBE", b"NOTIFY", b"REFER", b"INFO", b"UPDATE", b"BYE", b"PRACK", b"PUBLISH", b"OPTIONS"]


def reasons(stage: Stage) -> list[str]:
    return [one.reason for one in stage.said(Refused)]


def answered_call(stage: Stage, caller: Phone, callee: Phone) -> tuple[Request, Response, Request]:
    """(the INVITE as sent, the 200 as the caller got it, the INVITE as the callee got it) of an acknowledged call."""
    invite = calling(stage, caller, callee.user, callee)
    arrived = stage.sent(callee, b"INVITE")
    stage.book.receive(callee.reply(arrived, 200), callee.flow).sees(f"{caller.letter} 200 INVITE")
    sent, final = parse(invite), stage.last(caller)
    assert isinstance(sent, Request)
    stage.book.receive(caller.in_dialog(b"ACK", final, sent), caller.flow).sees(f"{callee.letter} ACK")
    return sent, final, arrived


# 15: open relay


def test_trap_15_a_preloaded_route_to_elsewhere_is_refused() -> None:
    stage, caller, (_callee,) = site("D")
    for uri in (b"sip:victim.test", b"sip:101@gw.test"):
        request = caller.request(b"INVITE", uri, headers=(b"Route: <sip:203.0.113.5;lr>",))
        stage.book.receive(request, caller.flow).sees("A 403 INVITE")
    assert reasons(stage) == ["foreign route"] * 2


def test_trap_15_our_host_with_another_port_is_not_us() -> None:
    stage, caller, (_callee,) = site("D")
    request = caller.request(b"INVITE", b"sip:101@gw.test", headers=(b"Route: <sip:192.0.2.1:6379;lr>",))
    stage.book.receive(request, caller.flow).sees("A 403 INVITE")
    stage.book.receive(stage.challenged(caller, caller.request(b"INVITE", b"sip:101@192.0.2.1:6379")), caller.flow)
    stage.book.sees("A 100 INVITE", "A 404 INVITE")


def test_trap_15_our_own_route_is_taken_out() -> None:
    stage, caller, (callee,) = site("D")
    request = caller.request(b"MESSAGE", b"sip:101@gw.test", headers=(b"Route: <sip:192.0.2.1:5060;lr>, <sip:gw.test;lr>",))
    stage.book.receive(stage.challenged(caller, request), caller.flow).sees("D MESSAGE")
    assert stage.sent(callee, b"MESSAGE").get(b"route") is None


def test_trap_15_a_request_for_elsewhere_is_404_and_goes_nowhere() -> None:
    stage, caller, (_callee,) = site("D")
    for uri in (b"sip:x@203.0.113.5", b"sip:127.0.0.1:6379", b"sip:101@169.254.169.254", b"sip:x@metadata.internal"):
        stage.book.receive(stage.challenged(caller, caller.request(b"MESSAGE", uri)), caller.flow).sees("A 404 MESSAGE")


def test_trap_15_a_strict_routers_request_is_put_right() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, _ = answered_call(stage, caller, callee)
    route = final.all(b"record-route")[0]
    bye = caller.request(
        b"BYE",
        route.strip(b"<>"),
        to=final.get(b"to") or b"",
        tag=sent.from_tag,
        call_id=sent.call_id,
        headers=(b"Route: <" + callee.contact + b">",),
    )
    stage.book.receive(bye, caller.flow).sees("D BYE")
    arrived = stage.sent(callee, b"BYE")
    assert (arrived.uri, arrived.get(b"route")) == (callee.contact, None)


# 16: a dialog is proven, not claimed


@pytest.mark.parametrize("method", METHODS)
def test_trap_16_a_to_tag_alone_opens_nothing(method: bytes) -> None:
    stage, caller, (callee,) = site("D")
    for uri in (b"sip:101@gw.test", callee.contact):
        fake = caller.request(method, uri, to=b"<sip:101@gw.test>;tag=fake")
        stage.book.receive(fake, caller.flow).sees(f"A 407 {method.decode()}")


def test_trap_16_a_token_is_good_for_its_own_call_only() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, _ = answered_call(stage, caller, callee)
    good = caller.in_dialog(b"INFO", final, sent)
    for changed in (
        good.replace(b"Call-ID: " + sent.call_id, b"Call-ID: another"),
        good.replace(b";tag=" + sent.from_tag, b";tag=other"),
        good.replace(b";tag=tag-D", b""),
        good.replace(b"@192.0.2.1:5060;lr", b"AAAA@192.0.2.1:5060;lr"),
        good.replace(b"Route: <sip:", b"Route: <sip:A"),
    ):
        assert changed != good
        stage.book.receive(changed, caller.flow)
        assert stage.last(caller).status in (403, 407)
        stage.book.sees(f"A {stage.last(caller).status} INFO")
    stage.book.receive(good, caller.flow).sees("D INFO")


def test_trap_16_smuggled_headers_are_malformed_not_obeyed() -> None:
    stage, caller, (_callee,) = site("D")
    for spelling in (b"To\x0b: <sip:101@gw.test>;tag=x", b"To\x00: <sip:101@gw.test>;tag=x", b"To\xc2\xa0: <sip:101@gw.test>"):
        request = caller.request(b"MESSAGE", b"sip:101@gw.test", headers=(spelling,))
        stage.book.receive(request, caller.flow).sees("A 400 MESSAGE")
    assert len(stage.said(Malformed)) == 3


def test_the_ack_of_a_challenge_is_absorbed() -> None:
    stage, caller, (_callee,) = site("D")
    invite = caller.request(b"INVITE", b"sip:101@gw.test")
    stage.book.receive(invite, caller.flow).sees("A 407 INVITE")
    stage.book.receive(ack_of(invite, stage.last(caller)), caller.flow).sees()
    assert reasons(stage) == []


def test_a_broken_credentials_header_is_400_and_leaves_nothing() -> None:
    stage, caller, (_callee,) = site("D")
    broken = caller.request(b"INVITE", b"sip:101@gw.test", headers=(b'Proxy-Authorization: Digest realm="portico" nonce=',))
    stage.book.receive(broken, caller.flow).sees("A 400 INVITE")
    assert stage.core.census()[:2] == (2, 0)


def test_a_request_for_a_dialog_we_do_not_know_is_481() -> None:
    stage, caller, (callee,) = site("D")
    info = caller.request(b"INFO", callee.contact, to=b"<sip:101@gw.test>;tag=x")
    stage.book.receive(stage.challenged(caller, info), caller.flow).sees("A 481 INFO")


def test_two_accounts_behind_one_socket_can_call_each_other() -> None:
    stage = Stage()
    one = stage.registered("A", "100")
    stage.directory.accounts["101"] = AccountFacts("101", "north", one.password)
    other = Phone("A", "101", one.flow.host)
    other.password, other.inbox = one.password, one.inbox
    assert stage.register(other).status == 200
    stage.book.receive(stage.invite(one, "101"), one.flow).sees("A 100 INVITE", "A INVITE")


def test_an_ack_without_a_dialog_goes_nowhere() -> None:
    stage, caller, (callee,) = site("D")
    stage.book.receive(caller.request(b"ACK", callee.contact, to=b"<sip:101@gw.test>;tag=x"), caller.flow).sees()
    assert reasons(stage) == ["ack without dialog"]


def test_a_stray_response_goes_nowhere() -> None:
    stage, _caller, (callee,) = site("D")
    stray = parse(callee.request(b"INVITE", b"sip:101@gw.test"))
    assert isinstance(stray, Request)
    stage.book.receive(callee.reply(stray, 200), callee.flow).sees()
    assert reasons(stage) == ["stray response"]


# 17: header forms


def test_trap_17_every_form_of_a_header_routes_alike_and_unknown_ones_pass_unchanged() -> None:
    stage, caller, (callee,) = site("D")
    plain = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test", headers=(b"X-Odd:  kept,  as\t it is",)))
    odd = plain.replace(b"From: ", b"f : ").replace(b"To: ", b"t:\r\n ").replace(b"Call-ID: ", b"i:").replace(b"Via: ", b"V: ")
    stage.book.receive(odd, caller.flow).sees("D MESSAGE")
    arrived = stage.sent(callee, b"MESSAGE")
    assert b"X-Odd:  kept,  as\t it is" in arrived.lines
    assert b"f : <sip:100@gw.test>;tag=" in b"\r\n".join(arrived.lines)


# 18: response routing


def sent_to(stage: Stage) -> tuple[str, int]:
    flow: Flow = [one for one in stage.book.outputs if isinstance(one, Send)][-1].flow
    return flow.host, flow.port


@pytest.mark.parametrize(
    ("via", "rport", "expected"),
    [
        (b"198.51.100.50:5060", True, 40000),  # RFC 3581
        (b"198.51.100.50:5060", False, 5060),  # RFC 3261 18.2.2: the sent-by port
        (b"10.0.0.7:5060", False, 40000),  # behind a NAT that nobody told about rport
        (b"phone.invalid:5060", False, 40000),
    ],
)
def test_trap_18_where_responses_go(via: bytes, rport: bool, expected: int) -> None:
    stage = Stage()
    phone = stage.phone("A", "100", host="198.51.100.50", port=40000)
    request = phone.request(b"OPTIONS", b"sip:gw.test", rport=rport).replace(phone.sent_by, via)
    stage.core.receive(request, phone.flow, 0.0)
    (output,) = stage.core.take()
    assert isinstance(output, Send)
    assert (output.flow.host, output.flow.port) == ("198.51.100.50", expected)
    top = parse(output.data).top_via
    if rport or via[:5] != b"198.5":
        assert top.received == b"198.51.100.50"
    assert top.rport == (40000 if rport else None)


def test_trap_18_what_a_peer_claims_in_received_is_overwritten() -> None:
    stage = Stage()
    phone = stage.phone("A", "100", host="198.51.100.50")
    request = phone.request(b"OPTIONS", b"sip:gw.test").replace(b";rport", b";rport=9;received=203.0.113.1")
    stage.book.receive(request, phone.flow).sees("A 200 OPTIONS")
    top = stage.last(phone).top_via
    assert (top.received, top.rport) == (b"198.51.100.50", 5060)


# 20, 21: REGISTER


def contacts(stage: Stage, user: str) -> list[str]:
    return [one.contact for one in stage.core.bindings(user, stage.book.now)]


def test_trap_20_an_overtaken_register_changes_nothing() -> None:
    stage = Stage()
    phone = stage.registered("D", "101")
    again = phone.register(contact=b"<sip:101@198.51.100.10:7000>", cseq=1)
    stage.book.receive(again, phone.flow).sees("D 401 REGISTER")
    old = phone.with_credentials(again, stage.last(phone), fresh=False)
    stage.book.receive(old.replace(b"branch=z9hG4bKt", b"branch=z9hG4bKu"), phone.flow).sees("D 200 REGISTER")
    replaced = phone.register(cseq=phone.cseq + 3)
    stage.book.receive(replaced, phone.flow).sees("D 401 REGISTER")
    stage.book.receive(phone.with_credentials(replaced, stage.last(phone)), phone.flow).sees("D 200 REGISTER")
    late = phone.register(cseq=2, expires=0)
    stage.book.receive(late, phone.flow).sees("D 401 REGISTER")
    late = phone.with_credentials(late, stage.last(phone), fresh=False).replace(b"branch=z9hG4bKt", b"branch=z9hG4bKu")
    stage.book.receive(late, phone.flow).sees("D 500 REGISTER")
    assert b"sip:101@198.51.100.10:5060" in [one.encode() for one in contacts(stage, "101")]


def test_trap_20_one_bad_contact_spoils_all() -> None:
    stage = Stage()
    phone = stage.registered("D", "101")
    before = stage.core.bindings("101", 0.0)
    refused = stage.register(phone, contact=b"<sip:101@198.51.100.10:7000>, <sip:101@198.51.100.10:7001>;expires=5")
    assert (refused.status, refused.get(b"min-expires")) == (423, b"60")
    assert stage.core.bindings("101", 0.0) == before


def test_trap_21_star_needs_expires_0() -> None:
    stage = Stage()
    phone = stage.registered("D", "101")
    assert stage.register(phone, contact=b"*", expires=3600).status == 400
    both = phone.register(b"Contact: <sip:x@198.51.100.10>", contact=b"*", expires=0)
    stage.book.receive(both, phone.flow).sees("D 400 REGISTER")
    assert contacts(stage, "101")
    gone = stage.register(phone, contact=b"*", expires=0)
    assert (gone.status, gone.get(b"contact"), contacts(stage, "101")) == (200, None, [])
    assert stage.said(BindingsChanged)[-1].bindings == ()


def test_trap_21_header_and_uri_parameters_are_told_apart() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    final = stage.register(
        phone, contact=b"<sip:101@198.51.100.10;expires=120>;q=0.5;+x=1, sip:101@198.51.100.10:7000;expires=90"
    )
    assert final.all(b"contact") == [
        b"<sip:101@198.51.100.10;expires=120>;q=0.5;+x=1;expires=3600",
        b"<sip:101@198.51.100.10:7000>;expires=90",
    ]
    stage.book.after(91.0)
    assert contacts(stage, "101") == ["sip:101@198.51.100.10;expires=120"]


def test_trap_21_a_device_that_rebooted_on_a_new_port_rings_once() -> None:
    stage = Stage()
    caller = stage.registered("A", "100")
    old = stage.phone("D", "101", host="198.51.100.77", port=40001)
    instance = b';+sip.instance="<urn:uuid:00000000-0000-1000-8000-0C1105AABBCC>"'
    stage.register(old, contact=b"<" + old.contact + b">" + instance)
    new = stage.phone("E", "101", host="198.51.100.77", port=40002)
    assert stage.register(new, contact=b"<" + new.contact + b">" + instance, call_id=b"after-reboot").status == 200
    calling(stage, caller, "101", new)


def test_the_oldest_of_too_many_contacts_makes_room() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    for port in range(7000, 7012):
        stage.book.after(1.0)
        stage.register(phone, contact=b"<sip:101@198.51.100.10:%d>" % port)
    assert contacts(stage, "101") == [f"sip:101@198.51.100.10:{port}" for port in range(7002, 7012)]
    many = b", ".join(b"<sip:101@198.51.100.10:%d>" % port for port in range(8000, 8011))
    assert stage.register(phone, contact=many).status == 403


def test_a_query_returns_what_is_left_and_removal_removes() -> None:
    stage = Stage()
    phone = stage.registered("D", "101")
    stage.book.after(600.0)
    query = phone.register().replace(b"Contact: <" + phone.contact + b">\r\n", b"").replace(b"Expires: 3600\r\n", b"")
    stage.book.receive(query, phone.flow).sees("D 401 REGISTER")
    stage.book.receive(phone.with_credentials(query, stage.last(phone)), phone.flow).sees("D 200 REGISTER")
    assert stage.last(phone).get(b"contact") == b"<sip:101@198.51.100.10:5060>;expires=3000"
    assert stage.register(phone, expires=0).get(b"contact") is None
    assert stage.core.census().aors == 0


def test_a_binding_expires_by_itself_and_the_registry_is_told() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    stage.register(phone, expires=60)
    stage.book.after(59.0)
    assert contacts(stage, "101")
    stage.book.after(1.1).sees()
    assert contacts(stage, "101") == []
    assert stage.said(BindingsChanged)[-1] == BindingsChanged("101", ())


def test_path_is_kept_returned_and_used_as_route() -> None:
    stage = Stage()
    caller = stage.registered("A", "100")
    callee = stage.phone("D", "101")
    final = stage.register(callee, b"Path: <sip:edge.test;lr>, <sip:inner.test;lr>", b"Supported: path")
    assert final.all(b"path") == [b"<sip:edge.test;lr>", b"<sip:inner.test;lr>"]
    calling(stage, caller, "101", callee)
    assert stage.sent(callee, b"INVITE").all(b"route") == [b"<sip:edge.test;lr>", b"<sip:inner.test;lr>"]


def test_an_unknown_required_extension_is_420() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    refused = stage.register(phone, b"Require: path, telepathy")
    assert (refused.status, refused.get(b"unsupported")) == (420, b"telepathy")


def test_a_restart_keeps_udp_bindings() -> None:
    stage = Stage()
    stage.registered("D", "101", host="198.51.100.90")
    kept = [one.stored(0.0) for one in stage.said(BindingsChanged)[-1].bindings]
    after = Stage()
    caller, callee = after.registered("A", "100"), after.phone("D", "101", host="198.51.100.90")
    after.core.load_bindings("101", kept, 0.0)
    calling(after, caller, "101", callee)


# 22: whose name


def test_trap_22_registering_for_another_is_403_and_changes_nothing() -> None:
    stage = Stage()
    victim = stage.registered("D", "101")
    before = stage.core.bindings("101", 0.0)
    thief = stage.phone("X", "102")
    data = thief.register().replace(b"To: <sip:102@", b"To: <sip:101@")
    stage.book.receive(data, thief.flow).sees("X 401 REGISTER")
    stage.book.receive(thief.with_credentials(data, stage.last(thief)), thief.flow).sees("X 403 REGISTER")
    assert stage.core.bindings("101", 0.0) == before
    assert victim.user == "101"


def test_trap_22_calling_in_anothers_name_is_403() -> None:
    stage, caller, (_callee,) = site("D")
    forged = stage.challenged(caller, caller.request(b"INVITE", b"sip:101@gw.test", sender=b"102"))
    stage.book.receive(forged, caller.flow).sees("A 100 INVITE", "A 403 INVITE")


def test_a_foreign_sites_number_looks_like_no_number() -> None:
    stage, caller, (_callee,) = site("D")
    other = stage.registered("S", "500", site="south")
    stage.directory.plans[("south", "77")] = together("south", "77", ("500",))
    answers = []
    for dialled in ("500", "77", "nothing"):
        stage.book.receive(stage.invite(caller, dialled), caller.flow).sees("A 100 INVITE", "A 404 INVITE")
        answers.append([one for one in stage.last(caller).to_bytes().split(b"\r\n") if b":" not in one])
    assert answers[0] == answers[1] == answers[2]
    assert not [one for one in other.inbox if isinstance(one, Request)]


def test_a_plan_rings_accounts_of_its_own_site_only() -> None:
    stage, caller, (callee,) = site("D")
    stage.registered("S", "500", site="south")
    stage.phone("E", "102")
    stage.directory.accounts["102"] = AccountFacts("102", "north", b"x", enabled=False)
    stage.directory.plans[("north", "7")] = together("north", "7", ("500", "101", "102", "gone"))
    calling(stage, caller, "7", callee)
    stage.directory.plans[("north", "8")] = together("north", "8", ("500",))
    stage.book.receive(stage.invite(caller, "8"), caller.flow).sees("A 100 INVITE", "A 480 INVITE")


# 23: digest


def test_trap_23_the_digest_matrix() -> None:
    stage, caller, (_callee,) = site("D")
    book = stage.book

    def attempt(nc: int, **how: Any) -> int:
        data = caller.with_credentials(caller.request(b"MESSAGE", b"sip:nobody@gw.test"), challenge, nc=nc, **how)
        book.receive(data, caller.flow)
        status: int = stage.last(caller).status
        book.sees(f"A {status} MESSAGE")
        return status

    book.receive(caller.request(b"MESSAGE", b"sip:nobody@gw.test"), caller.flow).sees("A 407 MESSAGE")  # A
    challenge: Response = stage.last(caller)
    assert b"stale" not in challenge.all(b"proxy-authenticate")[0]
    assert attempt(1) == 404  # B: accepted; nobody has that number
    assert attempt(1) == 407  # C: the same count again
    assert attempt(2) == 404  # D
    book.after(400.0)
    assert attempt(3) == 407  # E: expired
    assert b"stale=true" in stage.last(caller).all(b"proxy-authenticate")[0]
    forged = challenge.copy()
    forged.replace(b"proxy-authenticate", b'Digest realm="portico", nonce="%b", algorithm=SHA-256, qop="auth"' % (b"0" * 60))
    challenge = forged
    assert attempt(1) == 407  # F: not ours
    assert b"stale" not in stage.last(caller).all(b"proxy-authenticate")[0]


def test_trap_23_qop_is_required_and_the_uri_must_be_the_request_uri() -> None:
    stage, caller, (_callee,) = site("D")
    good = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test"))
    import re

    for pattern, put in ((rb", qop=auth, nc=\d+, cnonce=\"[0-9a-f]+\"", b""), (rb'uri="[^"]+"', b'uri="sip:102@gw.test"')):
        changed = re.sub(pattern, put, good)
        assert changed != good
        stage.book.receive(changed.replace(b"branch=z9hG4bKt", b"branch=z9hG4bKu"), caller.flow).sees("A 407 MESSAGE")


@pytest.mark.parametrize("method", [b"REGISTER", b"INVITE", b"OPTIONS", b"SUBSCRIBE"])
def test_s01_known_and_unknown_users_get_the_same_answer(method: bytes) -> None:
    stage, caller, (_callee,) = site("D")
    stage.directory.accounts["off"] = AccountFacts("off", "north", b"x", enabled=False)
    shapes = []
    for user in (b"101", b"off", b"nobody"):
        uri = b"sip:gw.test" if method == b"REGISTER" else b"sip:%b@gw.test" % user
        plain = caller.request(method, uri, to=b"<sip:%b@gw.test>" % user, call_id=b"same", tag=b"same", sender=user)
        stage.core.receive(plain, caller.flow, 0.0)
        answers = [one.data for one in stage.core.take() if isinstance(one, Send)]
        first = parse(answers[0])
        assert isinstance(first, Response)
        guess = caller.with_credentials(plain, first, username=user)
        stage.core.receive(guess.replace(b'response="', b'response="0'), caller.flow, 0.0)
        answers += [one.data for one in stage.core.take() if isinstance(one, Send)]
        assert len(answers) == 2
        names = [
            [(n, len(line.replace(b"sip:%b@" % user, b""))) for n, line in zip(m.names, m.lines, strict=True) if n != b"via"]
            for m in map(parse, answers)
        ]
        shapes.append(([one[:12] for one in answers], names))
    assert shapes[0] == shapes[1] == shapes[2]


def test_s08_credentials_for_us_stay_here_and_others_pass() -> None:
    stage, caller, (callee,) = site("D")
    other = b'Proxy-Authorization: Digest username="x", realm="elsewhere", nonce="1", uri="sip:y", response="2"'
    harvested = b'Authorization: Digest username="100", realm="portico", nonce="theirs", uri="sip:y", response="2"'
    request = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test", headers=(other, harvested)))
    stage.book.receive(request, caller.flow).sees("D MESSAGE")
    arrived = stage.sent(callee, b"MESSAGE")
    assert arrived.get(b"authorization") is None
    assert [b"elsewhere" in one for one in arrived.all(b"proxy-authorization")] == [True]


def test_requests_go_over_the_flow_of_the_binding_not_to_its_contact() -> None:
    stage = Stage()
    caller = stage.registered("A", "100")
    callee = stage.phone("D", "101")
    stage.register(callee, contact=b"<sip:101@169.254.169.254:6379>")
    calling(stage, caller, "101", callee)
    assert stage.sent(callee, b"INVITE").uri == b"sip:101@169.254.169.254:6379"


def test_a_phone_whose_nat_moved_it_is_still_reached_inside_its_call() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, _ = answered_call(stage, caller, callee)
    moved = stage.add(Phone("N", "101", callee.flow.host, 33333))
    moved.password, moved.contact = callee.password, callee.contact
    assert stage.register(moved, call_id=b"moved").status == 200
    stage.book.receive(caller.in_dialog(b"BYE", final, sent), caller.flow).sees("N BYE")


def test_a_call_survives_a_restart_of_the_node() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, arrived = answered_call(stage, caller, callee)
    after = Stage()
    after.add(caller)
    after.add(callee)
    after.directory.unknown = {"100", "101"}  # nothing is in memory yet
    after.book.receive(caller.in_dialog(b"INFO", final, sent), caller.flow).sees("D INFO")
    after.book.receive(callee.in_dialog_as_callee(b"BYE", arrived), callee.flow).sees("A BYE")


def test_the_token_of_a_dialog_does_not_speak_for_its_end_from_elsewhere() -> None:
    """The callee knows the token, and so does whoever listens on UDP: what comes from a third address must prove itself."""
    stage, caller, (callee,) = site("D")
    sent, final, _arrived = answered_call(stage, caller, callee)
    elsewhere = stage.add(Phone("E", caller.user, "203.0.113.66"))
    info = caller.in_dialog(b"INFO", final, sent)
    stage.book.receive(info, elsewhere.flow).sees("E 407 INFO")
    stage.book.receive(elsewhere.with_credentials(info, stage.last(elsewhere)), elsewhere.flow).sees("D INFO")
    stage.book.receive(caller.in_dialog(b"ACK", final, sent), Flow("udp", "5060", "203.0.113.67", 5060)).sees()
    assert "ack without dialog" in reasons(stage)


def test_an_end_that_registered_from_a_new_address_goes_on_speaking() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, _arrived = answered_call(stage, caller, callee)
    moved = stage.add(Phone("E", caller.user, "203.0.113.66"))
    stage.register(moved)
    stage.book.receive(caller.in_dialog(b"INFO", final, sent), moved.flow).sees("D INFO")


def test_another_account_cannot_speak_in_a_dialog_of_others() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, _arrived = answered_call(stage, caller, callee)
    third = stage.phone("F", "150")
    info = stage.challenged(third, caller.in_dialog(b"INFO", final, sent))
    stage.book.receive(info, third.flow).sees("F 403 INFO")
    assert "dialog of another" in reasons(stage)


def test_an_account_that_was_removed_is_no_end_any_more() -> None:
    stage, caller, (callee,) = site("D")
    sent, final, _arrived = answered_call(stage, caller, callee)
    del stage.directory.accounts[caller.user]
    stage.book.receive(caller.in_dialog(b"INFO", final, sent), caller.flow).sees("A 407 INFO")


def test_a_re_invite_inside_the_dialog_passes_both_ways_unauthenticated() -> None:
    stage, caller, (callee,) = site("D")
    _sent, _final, arrived = answered_call(stage, caller, callee)
    stage.book.receive(callee.in_dialog_as_callee(b"INVITE", arrived), callee.flow).sees("D 100 INVITE", "A INVITE")
    assert stage.sent(caller, b"INVITE").count(b"record-route") == 0


# Facts that are not in memory


def test_a_request_waits_for_its_facts_and_goes_on() -> None:
    stage, caller, (callee,) = site("D")
    stage.directory.unknown = {"100", "101", "north/7"}
    stage.directory.plans[("north", "7")] = together("north", "7", ("101",))
    stage.directory.unknown = {"7", "north/7", "101"}
    invite = stage.invite(caller, "7")
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE", f"Fetch {AccountQuestion('7')}")
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE")
    stage.directory.unknown.discard("7")
    stage.book.call(stage.core.answered, AccountQuestion("7")).sees(f"Fetch {RingPlanQuestion('north', '7')}")
    stage.directory.unknown.discard("north/7")
    stage.book.call(stage.core.answered, RingPlanQuestion("north", "7")).sees(f"Fetch {AccountQuestion('101')}")
    stage.directory.unknown.clear()
    stage.book.call(stage.core.answered, AccountQuestion("101")).sees("D INVITE")
    assert stage.sent(callee, b"INVITE").uri == callee.contact


def test_a_register_waits_for_its_account() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    data = phone.register()
    stage.book.receive(data, phone.flow).sees("D 401 REGISTER")
    stage.directory.unknown = {"101"}
    good = phone.with_credentials(data, stage.last(phone))
    stage.book.receive(good, phone.flow).sees(f"Fetch {AccountQuestion('101')}")
    stage.book.receive(good, phone.flow).sees()
    stage.directory.unknown.clear()
    stage.book.call(stage.core.answered, AccountQuestion("101")).sees("D 200 REGISTER", "D 200 REGISTER")
    assert len(stage.said(Fetch)) == 1


def test_facts_that_do_not_come_are_503() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    data = phone.register()
    stage.book.receive(data, phone.flow).sees("D 401 REGISTER")
    stage.directory.unknown = {"101"}
    good = phone.with_credentials(data, stage.last(phone))
    stage.book.receive(good, phone.flow).sees(f"Fetch {AccountQuestion('101')}")
    stage.book.call(stage.core.answered, AccountQuestion("101")).sees("D 503 REGISTER")
    stage.book.receive(good, phone.flow).sees(f"Fetch {AccountQuestion('101')}")
    stage.book.after(5.1).sees("D 503 REGISTER")
    assert stage.core.census().parked == 0


def test_a_caller_may_give_up_while_facts_are_fetched() -> None:
    from tests.sip.test_traps_calls import cancel_of

    stage, caller, (_callee,) = site("D")
    stage.directory.unknown = {"7"}
    invite = stage.invite(caller, "7")
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE", f"Fetch {AccountQuestion('7')}")
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL", "A 487 INVITE")
    stage.book.receive(ack_of(invite, stage.last(caller)), caller.flow).sees()
    stage.directory.unknown.clear()
    stage.book.call(stage.core.answered, AccountQuestion("7")).sees()


# Keep-alives and noise


def test_keepalives() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    for data, expected in ((b"\r\n\r\n", b"\r\n"), (b"\r\n", None), (b"\0", None), (b"", None)):
        stage.core.receive(data, phone.flow, 0.0)
        assert [one.data for one in stage.core.take() if isinstance(one, Send)] == ([] if expected is None else [expected])
    stun = b"\0\1\0\0" + MAGIC + b"abcdefghijkl"
    stage.core.receive(stun, phone.flow, 0.0)
    (answer,) = stage.core.take()
    assert isinstance(answer, Send)
    assert answer.data[:4] == b"\1\1\0\x0c"
    port = int.from_bytes(answer.data[26:28], "big") ^ 0x2112
    address = bytes(one ^ other for one, other in zip(answer.data[28:32], MAGIC, strict=True))
    assert (port, address) == (5060, bytes((198, 51, 100, 10)))
    for broken in (stun[:-1], stun[:3] + b"\4" + stun[4:], b"\0\2" + stun[2:]):
        stage.core.receive(broken, phone.flow, 0.0)
        assert [one for one in stage.core.take() if isinstance(one, Send)] == []


def test_options_to_the_gateway_is_a_keepalive_and_to_a_phone_is_challenged() -> None:
    stage, caller, (callee,) = site("D")
    agent = (b"User-Agent: a phone that says who it is, so that an Allow is no more than half of what it sent",)
    stage.book.receive(caller.request(b"OPTIONS", b"sip:192.0.2.1:5060", headers=agent), caller.flow).sees("A 200 OPTIONS")
    assert b"INVITE" in stage.last(caller).get(b"allow")
    stage.book.receive(stage.challenged(caller, caller.request(b"OPTIONS", b"sip:101@gw.test")), caller.flow).sees("D OPTIONS")
    stage.book.receive(callee.reply(stage.sent(callee, b"OPTIONS"), 200), callee.flow).sees("A 200 OPTIONS")


def test_an_unknown_method_passes() -> None:
    stage, caller, (callee,) = site("D")
    stage.book.receive(stage.challenged(caller, caller.request(b"DANCE", b"sip:101@gw.test")), caller.flow).sees("D DANCE")
    stage.book.receive(callee.reply(stage.sent(callee, b"DANCE"), 501), callee.flow).sees("A 501 DANCE")


def test_a_demanded_proxy_feature_is_420() -> None:
    stage, caller, (_callee,) = site("D")
    stage.book.receive(caller.request(b"INVITE", b"sip:101@gw.test", headers=(b"Proxy-Require: foo",)), caller.flow)
    stage.book.sees("A 420 INVITE")
    assert stage.last(caller).get(b"unsupported") == b"foo"


def test_a_caller_is_not_rung_by_its_own_call() -> None:
    stage, caller, (_callee,) = site("D")
    stage.book.receive(stage.invite(caller, "100"), caller.flow).sees("A 100 INVITE", "A 480 INVITE")
    assert ended(stage)[1] == 480
