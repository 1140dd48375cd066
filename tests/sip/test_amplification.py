"""What a forged source would be sent: no more than 1.5 times what was sent in its name, but for a little (S13)."""

import pytest

from sip.amplification import DEAR, allowed, fitted
from sip.events import Send
from sip.parser import parse
from sip.responses import make_response
from sip.source_limits import STRANGER_CREDIT
from tests.sip.phones import Phone, Stage

DEVICE = (
    b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, MESSAGE, NOTIFY, REFER, SUBSCRIBE",
    b"Supported: path, outbound, gruu, replaces, timer",
    b'X-Instance: "<urn:uuid:00000000-0000-1000-8000-0c1105f00000>"',
)
"""What devices say beside the necessary."""
OFFERS = {3: [b"SHA-512-256", b"SHA-256", b"MD5"], 2: [b"SHA-512-256", b"MD5"], 1: [b"MD5"]}


def answer(stage: Stage, phone: Phone, data: bytes) -> bytes:
    """What the gateway sends for it; b"": nothing."""
    stage.core.receive(data, phone.flow, stage.book.now)
    outputs = stage.core.take()
    stage.book.outputs += outputs
    sent = [one.data for one in outputs if isinstance(one, Send)]
    assert len(sent) <= 1
    return sent[0] if sent else b""


def offered(data: bytes) -> list[bytes]:
    values = [line for line in data.split(b"\r\n") if b"-Authenticate: " in line]
    return [value.partition(b"algorithm=")[2].partition(b",")[0] for value in values]


def tiny(method: bytes, serial: int = 0, cseq: bytes = b"1") -> bytes:
    """The shortest request that is one."""
    lines = [b"%b sip:gw.test SIP/2.0" % method, b"v:SIP/2.0/UDP a;branch=z9hG4bK%d" % serial, b"f:<sip:a@gw.test>;tag=1"]
    return b"\r\n".join([*lines, b"t:<sip:a@gw.test>", b"i:%d" % serial, b"CSeq:%b %b" % (cseq, method), b"", b""])


@pytest.mark.parametrize("method", [b"REGISTER", b"INVITE"])
def test_a_request_gets_as_many_challenges_as_it_has_paid_for(method: bytes) -> None:
    stage = Stage()
    phone = stage.phone("S", "101")
    before, sizes = 0, dict[int, int]()
    for more in range(320):
        stage.book.at(10.0 * more)
        headers = (b"Contact: <" + phone.contact + b">", b"User-Agent: " + more * b"A")
        data = phone.request(method, b"sip:102@gw.test" if method == b"INVITE" else b"sip:gw.test", headers=headers)
        got = answer(stage, phone, data)
        assert len(got) <= 1.5 * len(data) or len(data) < 300
        challenges = offered(got)
        assert challenges == OFFERS[len(challenges)]
        assert before <= len(challenges)
        before = len(challenges)
        sizes.setdefault(before, len(data))
    assert sizes[2] < 340
    assert sizes[3] < 420
    assert list(sizes) == [1, 2, 3]


def test_the_smallest_register_of_a_device_is_within_it_too() -> None:
    stage = Stage()
    phone = stage.phone("S", "101")
    data = phone.register()
    assert len(data) < 300
    got = answer(stage, phone, data)
    assert len(got) <= 1.5 * len(data)
    assert parse(answer(stage, phone, phone.with_credentials(data, parse(got)))).status == 200  # type: ignore[arg-type,union-attr]


def test_a_stream_has_proven_its_address_and_gets_all() -> None:
    stage = Stage()
    phone = stage.phone("S", "101")
    phone.flow = phone.flow.__class__("tcp", "1", phone.flow.host, phone.flow.port)
    data = phone.register().replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
    assert offered(answer(stage, phone, data)) == OFFERS[3]


def test_an_answer_to_options_leaves_out_its_allow_rather_than_be_dear() -> None:
    stage = Stage()
    phone = stage.phone("S", "101")
    short, whole = tiny(b"OPTIONS"), phone.request(b"OPTIONS", b"sip:gw.test", headers=DEVICE)
    assert b"Allow:" not in answer(stage, phone, short)
    assert b"Allow:" in answer(stage, phone, whole)
    assert stage.core._sources.spend(phone.flow.source, 0.0, STRANGER_CREDIT)


@pytest.mark.parametrize("method", [b"REGISTER", b"INVITE", b"BYE", b"CANCEL", b"MESSAGE", b"NOTIFY"])
@pytest.mark.parametrize("cseq", [b"1", b"x"])
def test_a_forged_source_is_sent_little_by_tiny_requests(method: bytes, cseq: bytes) -> None:
    """A thousand of the shortest requests: where the answers are larger, at most 30 are given, then one in five seconds."""
    stage = Stage()
    victim = stage.phone("S", "101")
    for when, credit in ((0.0, STRANGER_CREDIT), (100.0, 200.0)):
        stage.book.at(when)
        asked = [tiny(method, serial, cseq) for serial in range(1000)]
        answers = [answer(stage, victim, data) for data in asked]
        dear = [got for data, got in zip(asked, answers, strict=True) if len(got) > 1.5 * len(data)]
        assert any(answers)
        assert len(dear) <= credit / DEAR
        assert sum(map(len, answers)) <= 1.5 * sum(map(len, asked))


def test_overload_is_no_way_round() -> None:
    stage = Stage()
    victim = stage.phone("S", "101")
    stage.core.backlog(True)
    answers = [answer(stage, victim, tiny(b"REGISTER", serial)) for serial in range(1000)]
    assert len([one for one in answers if one]) <= STRANGER_CREDIT / DEAR


def test_a_known_source_is_answered_whatever_it_sends() -> None:
    stage = Stage()
    phone = stage.registered("A", "100")
    assert all(answer(stage, phone, tiny(b"MESSAGE", serial)) for serial in range(500))


def test_the_only_challenge_is_never_left_out() -> None:
    request = parse(tiny(b"REGISTER"))
    challenge = (b"www-authenticate", b'Digest realm="portico", nonce="1", algorithm=SHA-256, qop="auth"')
    response = make_response(request, 401, extra=[challenge])  # type: ignore[arg-type]
    assert offered(fitted(response, 10)) == [b"SHA-256"]


def test_allowed_is_one_and_a_half_times() -> None:
    assert [allowed(octets) for octets in (0, 1, 2, 100, 101)] == [0, 1, 3, 150, 151]
