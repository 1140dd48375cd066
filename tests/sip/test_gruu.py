"""GRUUs (RFC 5627): the URIs and the tokens of temporary ones; then, on the core, what a REGISTER gives and whom it reaches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.ring_plan import RingPlan, Target, TargetKind
from registry.ring_plan import Stage as PlanStage
from sip import base64url
from sip.binding import LiveBinding, live_binding
from sip.events import Fetch, Flow
from sip.gruu import TempGruus, instance_of, is_temporary, pub_gruu
from sip.message import Request, Response
from sip.own_address import MAX_USER
from sip.parser import parse
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import calling

INSTANCE = b"<urn:uuid:00000000-0000-1000-8000-0C1105AABBCC>"
OTHER = b"<urn:uuid:00000000-0000-1000-8000-0C1105AABBDD>"
GRUUS = TempGruus(b"a secret of the test's own")
accounts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15)


def binding(cseq: int = 7, since: int = 3, call_id: bytes = b"c", instance: bytes = INSTANCE) -> LiveBinding:
    flow = Flow("udp", "0", "192.0.2.7", 5060)
    return LiveBinding(b"sip:a@192.0.2.7", b"", flow, call_id, cseq, 100.0, 0.0, instance_id=instance, gruu_since=since)


# Tokens


@given(accounts, st.binary(max_size=80), st.binary(max_size=80), st.integers(0, 2**32 - 1))
def test_a_token_gives_back_what_went_in_and_only_with_the_secret(
    account: str, instance: bytes, call_id: bytes, cseq: int
) -> None:
    token = GRUUS.mint(account, instance, call_id, cseq)
    found = GRUUS.read(token)
    assert found is not None
    assert (found.account, found.cseq) == (account, cseq)
    assert TempGruus(b"a secret of the test's own").read(token) == found
    assert TempGruus(b"another").read(token) is None
    assert not token.translate(None, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@given(st.text("abc019", min_size=1, max_size=60), st.integers(0, 2**32 - 1), st.data())
def test_a_changed_token_is_none(account: str, cseq: int, data: st.DataObject) -> None:
    token = GRUUS.mint(account, INSTANCE, b"c", cseq)
    at = data.draw(st.sampled_from([len(token) - 1, *range(len(token))]))
    octet = data.draw(st.sampled_from(b"abcXYZ019-_=+/.!\0\xff"))
    changed = token[:at] + bytes((octet,)) + token[at + 1 :]
    assert (GRUUS.read(changed) is None) == (changed != token)
    assert GRUUS.read(token[:at]) is None
    assert GRUUS.read(token + token[:4]) is None


@pytest.mark.parametrize("account", ["a", "a" * 20, "a" * 40, "a" * 60])
def test_a_token_has_one_spelling(account: str) -> None:
    token = GRUUS.mint(account, INSTANCE, b"c", 1)
    ends = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    assert [end for end in ends if GRUUS.read(token[:-1] + bytes((end,)))] == [token[-1]]


@given(st.binary(max_size=200))
def test_noise_is_no_token(noise: bytes) -> None:
    assert GRUUS.read(noise) is None
    assert GRUUS.read(base64url.encode(noise)) is None


def test_tokens_tell_nothing_and_cannot_be_linked() -> None:
    tokens = [GRUUS.mint("101", INSTANCE, b"c", cseq) for cseq in range(200)]
    assert len({len(one) for one in [*tokens, GRUUS.mint("a-longer-name", OTHER, b"other", 1)]}) == 1
    octets = [base64url.decode(one) or b"" for one in tokens]
    assert all(b"101" not in one for one in octets)
    for at in range(len(octets[0])):
        # No octet is the same, or nearly the same, in all: 200 draws from 256 values have about 139 different ones.
        assert len({one[at] for one in octets}) > 100


def test_the_same_registration_gives_the_same_token() -> None:
    assert GRUUS.mint("101", INSTANCE, b"c", 1) == GRUUS.mint("101", INSTANCE, b"c", 1)


@pytest.mark.parametrize(
    ("held", "valid"),
    [
        (binding(), True),
        (binding(cseq=5), True),
        (binding(cseq=4, since=3), True),
        (binding(since=5), True),
        (binding(since=6), False),
        (binding(since=-1), False),
        (binding(call_id=b"d"), False),
        (binding(instance=OTHER), False),
    ],
    ids=["later", "last", "older copy after a restart", "first", "came back", "no series", "other Call-ID", "other device"],
)
def test_what_makes_one_valid(held: LiveBinding, valid: bool) -> None:
    found = GRUUS.read(GRUUS.mint("101", INSTANCE, b"c", 5))
    assert found is not None
    assert GRUUS.instance(found, (binding(instance=OTHER, call_id=b"x"), held)) == (INSTANCE if valid else b"")
    assert GRUUS.instance(found, ()) == b""


def test_a_name_that_is_too_long_gets_none() -> None:
    aor = b"sip:x@gw.test"
    longest = max(number for number in range(1, 100) if GRUUS.given(aor, "n" * number, binding()))
    assert len(GRUUS.mint("n" * longest, INSTANCE, b"c", 7)) <= MAX_USER
    assert longest == 63


def test_the_series_survives_a_restart() -> None:
    back = live_binding(binding().stored(0.0), 0.0)
    assert back is not None
    assert back.gruu_since == 3


def test_the_uri_is_at_the_aors_host() -> None:
    gruu = GRUUS.given(b"sips:101@gw.test:5061;user=phone", "101", binding())
    assert gruu.startswith(b"sips:")
    assert gruu.endswith(b"@gw.test:5061;gr")
    assert is_temporary(gruu)
    assert instance_of(gruu) == b""


@pytest.mark.parametrize(
    ("uri", "temporary"),
    [
        (b"sip:x@gw.test;gr", True),
        (b"sip:x@gw.test;GR;lr", True),
        (b"sip:x@gw.test;transport=tcp;gr", True),
        (b"sip:x@gw.test;gr=urn:x", False),
        (b"sip:x@gw.test", False),
        (b"sip:x;gr@gw.test", False),
        (b"sip:x@gw.test;gra", False),
        (b"sip:x@gw.test;gr;gr", False),
        (b"tel:1;gr", False),
    ],
)
def test_what_claims_to_be_one(uri: bytes, temporary: bool) -> None:
    assert is_temporary(uri) is temporary
    assert pub_gruu(b"sip:x@gw.test", b"<urn:x>") == b"sip:x@gw.test;gr=urn:x"


# On the core


def register(stage: Stage, phone: Phone, *, call_id: bytes = b"one", instance: bytes = INSTANCE, **how: int) -> Response:
    contact = b'<%b>;+sip.instance="%b"' % (phone.contact, instance)
    return stage.register(phone, b"Supported: gruu", contact=contact, call_id=call_id, **how)


def temp_of(response: Response, at: int = -1) -> bytes:
    return response.all(b"contact")[at].partition(b'temp-gruu="')[2].partition(b'"')[0]


def message(stage: Stage, caller: Phone, uri: bytes, *lines: str) -> None:
    data = stage.challenged(caller, caller.request(b"MESSAGE", uri, to=b"<sip:anybody@gw.test>"))
    stage.book.receive(data, caller.flow).sees(*lines)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_each_register_gives_a_fresh_one_and_all_of_them_reach_that_device_only(stage: Stage) -> None:
    caller, phone = stage.registered("A", "100"), stage.phone("D", "101")
    other = stage.phone("E", "101", account=False)
    other.password = phone.password
    register(stage, other, call_id=b"other", instance=OTHER)
    gruus = [temp_of(register(stage, phone)) for _ in range(3)]
    assert len(set(gruus)) == 3
    for gruu in gruus:
        assert b"101" not in gruu
        message(stage, caller, gruu, "D MESSAGE")
    assert stage.sent(phone, b"MESSAGE").uri == phone.contact


def test_all_bindings_are_shown_with_the_one_given_last(stage: Stage) -> None:
    phone, other = stage.phone("D", "101"), stage.phone("E", "101", account=False)
    other.password = phone.password
    register(stage, phone)
    mine = temp_of(register(stage, phone))
    final = register(stage, other, call_id=b"other", instance=OTHER)
    assert temp_of(final, 0) == mine
    assert temp_of(final, 1) not in (b"", mine)


def test_only_a_device_that_knows_gruus_and_has_an_instance_gets_one(stage: Stage) -> None:
    phone = stage.phone("D", "101")
    contact = b'<%b>;+sip.instance="%b"' % (phone.contact, INSTANCE)
    assert b"gruu" not in stage.register(phone, contact=contact).to_bytes()
    assert b"gruu" not in stage.register(phone, b"Supported: gruu").to_bytes()
    assert b"temp-gruu" in register(stage, phone).to_bytes()


def test_another_call_id_makes_the_older_ones_void(stage: Stage) -> None:
    caller, phone = stage.registered("A", "100"), stage.phone("D", "101")
    before = temp_of(register(stage, phone))
    after = temp_of(register(stage, phone, call_id=b"two"))
    message(stage, caller, before, "A 404 MESSAGE")
    message(stage, caller, after, "D MESSAGE")
    register(stage, phone, call_id=b"one")
    message(stage, caller, before, "A 404 MESSAGE")
    message(stage, caller, after, "A 404 MESSAGE")


def test_a_refresh_without_gruu_leaves_them_valid(stage: Stage) -> None:
    caller, phone = stage.registered("A", "100"), stage.phone("D", "101")
    before = temp_of(register(stage, phone))
    contact = b'<%b>;+sip.instance="%b"' % (phone.contact, INSTANCE)
    assert b"gruu" not in stage.register(phone, contact=contact, call_id=b"one").to_bytes()
    message(stage, caller, before, "D MESSAGE")


def test_they_end_with_the_binding_and_do_not_come_back_with_its_call_id(stage: Stage) -> None:
    caller, phone = stage.registered("A", "100"), stage.phone("D", "101")
    before = temp_of(register(stage, phone))
    register(stage, phone, expires=0)
    message(stage, caller, before, "A 404 MESSAGE")
    after = temp_of(register(stage, phone))
    message(stage, caller, before, "A 404 MESSAGE")
    message(stage, caller, after, "D MESSAGE")


def test_they_end_when_the_binding_expires(stage: Stage) -> None:
    phone = stage.phone("D", "101")
    before = temp_of(register(stage, phone, expires=60))
    stage.book.after(61.0)
    caller = stage.registered("A", "100")
    message(stage, caller, before, "A 404 MESSAGE")
    register(stage, phone)
    message(stage, caller, before, "A 404 MESSAGE")


def test_another_site_learns_nothing_from_one(stage: Stage) -> None:
    """Valid or not, it is an unknown number; not even a number of the caller's own that has the account's name is tried."""
    stranger = stage.registered("S", "900", site="south")
    gruu = temp_of(register(stage, stage.phone("D", "101")))
    plan = RingPlan("south", "101", (PlanStage((Target(TargetKind.ACCOUNT, "900"),), 20),))
    stage.directory.plans[("south", "101")] = plan
    message(stage, stranger, gruu, "S 404 MESSAGE")
    valid = stage.last(stranger)
    message(stage, stranger, gruu[:-4] + b"A;gr", "S 404 MESSAGE")
    forged = stage.last(stranger)
    kept = (b"server", b"content-length")
    assert [valid.reason, *[valid.get(name) for name in kept]] == [forged.reason, *[forged.get(name) for name in kept]]


@pytest.mark.parametrize("user", [b"101", b"x", b"A" * 64, b"A" * 200])
def test_what_is_none_is_an_unknown_number(stage: Stage, user: bytes) -> None:
    caller = stage.registered("A", "100")
    register(stage, stage.phone("D", "101"))
    message(stage, caller, b"sip:%b@gw.test;gr" % user, "A 404 MESSAGE")


def test_without_its_gr_parameter_it_is_a_number_that_nobody_has(stage: Stage) -> None:
    caller = stage.registered("A", "100")
    gruu = temp_of(register(stage, stage.phone("D", "101")))
    message(stage, caller, gruu.removesuffix(b";gr"), "A 404 MESSAGE")


def test_a_call_to_one_rings_that_device_and_goes_on_in_its_dialog(stage: Stage) -> None:
    caller, callee = stage.registered("A", "100"), stage.phone("D", "101")
    gruu = temp_of(register(stage, callee))
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    answer = callee.reply(arrived, 200).replace(b"Contact: <" + callee.contact, b"Contact: <" + gruu)
    stage.book.receive(answer, callee.flow).sees("A 200 INVITE")
    request = parse(invite)
    assert isinstance(request, Request)
    bye = caller.in_dialog(b"BYE", stage.last(caller), request)
    assert bye.startswith(b"BYE " + gruu)
    stage.book.receive(bye, caller.flow).sees("D BYE")
    assert stage.sent(callee, b"BYE").uri == callee.contact


def test_a_gruu_of_somebody_else_in_a_dialog_goes_to_the_dialogs_end(stage: Stage) -> None:
    caller, callee = stage.registered("A", "100"), stage.phone("D", "101")
    register(stage, callee)
    foreign = temp_of(register(stage, stage.phone("E", "102")))
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 200), callee.flow).sees("A 200 INVITE")
    request = parse(invite)
    assert isinstance(request, Request)
    bye = caller.in_dialog(b"BYE", stage.last(caller), request).replace(b"BYE " + callee.contact, b"BYE " + foreign, 1)
    stage.book.receive(bye, caller.flow).sees("D BYE")
    assert stage.sent(callee, b"BYE").uri == foreign


def test_facts_that_are_not_in_memory_are_fetched(stage: Stage) -> None:
    caller, callee = stage.registered("A", "100"), stage.phone("D", "101")
    gruu = temp_of(register(stage, callee))
    stage.directory.unknown.add("101")
    message(stage, caller, gruu, "Fetch AccountQuestion(username='101')")
    stage.directory.unknown.clear()
    (asked,) = stage.said(Fetch)
    stage.book.call(stage.core.answered, asked.question).sees("D MESSAGE")


def test_a_device_cannot_set_its_own(stage: Stage) -> None:
    phone = stage.phone("D", "101")
    final = stage.register(phone, contact=b"<" + phone.contact + b'>;temp-gruu="sip:102@gw.test;gr"')
    assert b"gruu" not in final.to_bytes()
