"""SIP PnP in simulated time: whom it answers, what it says, and what gets silence."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.mac import MacAddress
from sip.events import Send
from sip.flow import Flow
from sip.message import Request, Response
from sip.parser import parse
from sip.pnp import GROUP, MAX_DATAGRAM, OWN, REQUESTS_IN_A_ROW, Asked, Counted, PnpCore, device_profile

DEVICE = Flow("udp", GROUP, "192.168.1.50", 5060)
BACK = Flow("udp", OWN, "192.168.1.50", 5060)
OURS = b"192.168.1.2:40000"
URL = b"https://gate.example:8443/autop/enrol/abcdefghijklmnop/"
MAC = MacAddress("0C1105AABBCC")
REST = b"Max-Forwards: 70\r\nAccept: application/url\r\nExpires: 0\r\nContent-Length: 0"
EVENT = b'ua-profile;profile-type="device";vendor="Akuvox";model="R20K";version="220.30.3.1"'


def core() -> PnpCore:
    counter = itertools.count()
    return PnpCore(entropy=lambda size: bytes(next(counter) % 256 for _ in range(size)))


def subscribe(
    uri: bytes = b"sip:MAC0C1105AABBCC@224.0.1.75", event: bytes | None = EVENT, branch: bytes = b"1", **changes: bytes
) -> bytes:
    lines = {
        b"via": b"Via: SIP/2.0/UDP 192.168.1.50:5060;branch=z9hG4bK-" + branch,
        b"from": b"From: <sip:MAC0C1105AABBCC@224.0.1.75>;tag=77",
        b"to": b"To: <sip:MAC0C1105AABBCC@224.0.1.75>",
        b"call-id": b"Call-ID: 4f2@192.168.1.50",
        b"cseq": b"CSeq: 1 SUBSCRIBE",
        b"contact": b"Contact: <sip:MAC0C1105AABBCC@192.168.1.50:5060>",
        b"event": b"" if event is None else b"Event: " + event,
        b"rest": REST,
    }
    lines.update({name.encode(): value for name, value in changes.items()})
    return b"\r\n".join([b"SUBSCRIBE " + uri + b" SIP/2.0", *[line for line in lines.values() if line], b"", b""])


def asked(pnp: PnpCore, datagram: bytes, flow: Flow = DEVICE, now: float = 0.0) -> Asked:
    pnp.receive(datagram, flow, now)
    (output,) = pnp.take()
    assert isinstance(output, Asked)
    return output


def silence(pnp: PnpCore, datagram: bytes, flow: Flow = DEVICE, now: float = 0.0) -> str:
    pnp.receive(datagram, flow, now)
    (output,) = pnp.take()
    assert isinstance(output, Counted)
    return output.what


def sent(pnp: PnpCore) -> list[tuple[Flow, Request | Response]]:
    outputs = pnp.take()
    assert all(isinstance(one, Send) for one in outputs)
    return [(one.flow, parse(one.data)) for one in outputs if isinstance(one, Send)]


def answered(pnp: PnpCore, datagram: bytes, now: float = 0.0) -> tuple[Response, Request]:
    """The 200 and the NOTIFY that this question gets."""
    pnp.told(asked(pnp, datagram, now=now).key, URL, OURS, now)
    (ok_flow, ok), (notify_flow, notify) = sent(pnp)
    assert isinstance(ok, Response)
    assert isinstance(notify, Request)
    assert ok_flow == DEVICE
    assert notify_flow == BACK
    return ok, notify


def accept(notify: Request, status: int = 200) -> bytes:
    lines = [b"SIP/2.0 %d OK" % status]
    lines += [
        line
        for name, line in zip(notify.names, notify.lines, strict=True)
        if name in (b"via", b"from", b"to", b"call-id", b"cseq")
    ]
    return b"\r\n".join([*lines, b"Content-Length: 0", b"", b""])


@pytest.mark.parametrize(
    "uri",
    [
        b"sip:MAC0C1105AABBCC@224.0.1.75",
        b"sip:MAC%3A0C1105AABBCC@224.0.1.75",
        b"sip:MAC%3a0c1105aabbcc@224.0.1.75:5060",
        b"sip:mac0c1105aabbcc@224.0.1.75;transport=udp",
        b"sip:MAC%3A0c-11-05-aa-bb-cc@224.0.1.75",
    ],
)
def test_both_forms_of_the_question(uri: bytes) -> None:
    question = asked(core(), subscribe(uri))
    assert (question.mac, question.flow) == (MAC, DEVICE)
    assert (question.vendor, question.model, question.version) == ("Akuvox", "R20K", "220.30.3.1")


def test_what_a_device_is_told() -> None:
    ok, notify = answered(core(), subscribe())
    assert ok.status == 200
    assert (ok.call_id, ok.cseq, ok.from_tag) == (b"4f2@192.168.1.50", (1, b"SUBSCRIBE"), b"77")
    assert ok.get(b"expires") == b"0"

    assert (notify.method, notify.uri) == (b"NOTIFY", b"sip:MAC0C1105AABBCC@192.168.1.50:5060")
    assert notify.get(b"from") == b"<sip:MAC0C1105AABBCC@224.0.1.75>;tag=" + ok.to_tag
    assert notify.get(b"to") == b"<sip:MAC0C1105AABBCC@224.0.1.75>;tag=77"
    assert notify.call_id == b"4f2@192.168.1.50"
    assert notify.get(b"event") == EVENT
    assert notify.get(b"subscription-state") == b"terminated;reason=timeout"
    assert notify.get(b"content-type") == b"application/url"
    assert notify.body == URL
    assert (notify.top_via.host, notify.top_via.port) == (b"192.168.1.2", 40000)


def test_a_repeated_question_gets_the_same_answer_and_no_second_url() -> None:
    pnp = core()
    question = asked(pnp, subscribe())
    pnp.receive(subscribe(), DEVICE, 0.5)
    assert pnp.take() == []
    pnp.told(question.key, URL, OURS, 0.6)
    first = pnp.take()
    pnp.receive(subscribe(), DEVICE, 0.8)
    assert pnp.take() == first[:1]


def test_the_notify_is_repeated_until_it_is_answered() -> None:
    pnp = core()
    _, notify = answered(pnp, subscribe())
    times: list[float] = []
    while len(times) < 3:
        now = pnp.next_deadline()
        assert now is not None
        pnp.on_deadline(now)
        if again := sent(pnp):
            assert [one.to_bytes() for _, one in again] == [notify.to_bytes()]
            times.append(now)
    assert times == [0.5, 1.5, 3.5]
    pnp.receive(accept(notify), BACK, 4.0)
    assert pnp.take() == [Counted("told")]
    run_out(pnp)


def run_out(pnp: PnpCore) -> list[object]:
    """Let all timers end; nothing stays."""
    outputs: list[object] = []
    while (now := pnp.next_deadline()) is not None:
        pnp.on_deadline(now)
        outputs += pnp.take()
    assert pnp.open == 0
    return outputs


def test_a_device_that_never_answers_is_given_up() -> None:
    pnp = core()
    answered(pnp, subscribe())
    outputs = run_out(pnp)
    assert outputs[-1] == Counted("unanswered")
    assert len(outputs) == 11


def test_a_device_that_does_not_want_it() -> None:
    pnp = core()
    _, notify = answered(pnp, subscribe())
    pnp.receive(accept(notify, 481), BACK, 0.1)
    assert pnp.take() == [Counted("rejected")]


@pytest.mark.parametrize(
    ("url", "what"), [(b"", "unknown"), (b"https://x/" + b"a" * 118, "busy"), (b"https://x/ y", "busy"), (b"x\r\ny", "busy")]
)
def test_no_url_is_silence(url: bytes, what: str) -> None:
    pnp = core()
    pnp.told(asked(pnp, subscribe()).key, url, OURS, 0.0)
    assert pnp.take() == [Counted(what)]
    assert pnp.open == 0
    asked(pnp, subscribe(), now=0.5)


def test_a_url_that_just_fits() -> None:
    pnp = core()
    pnp.told(asked(pnp, subscribe()).key, b"https://x/" + b"a" * 117, OURS, 0.0)
    assert len(pnp.take()) == 2


@pytest.mark.parametrize(
    "datagram",
    [
        subscribe(b"sip:100@224.0.1.75"),
        subscribe(b"sip:MAC0C1105AABB@224.0.1.75"),
        subscribe(b"sip:MAC%3A%3A0C1105AABBCC@224.0.1.75"),
        subscribe(b"sip:MAC0C1105AABBCC%00@224.0.1.75"),
        subscribe(b"sip:224.0.1.75"),
        subscribe(event=None),
        subscribe(event=b"presence"),
        subscribe(event=b"ua-profile;profile-type=user"),
        subscribe(event=b"ua-profile;x=" + b"y" * 600),
    ],
)
def test_what_is_not_the_question(datagram: bytes) -> None:
    assert silence(core(), datagram) == "not-a-device"


def test_other_requests() -> None:
    for method in (b"INVITE", b"OPTIONS", b"REGISTER", b"NOTIFY"):
        assert silence(core(), subscribe().replace(b"SUBSCRIBE", method)) == "method"
    assert silence(core(), subscribe(to=b"To: <sip:x@224.0.1.75>;tag=1")) == "method"
    assert silence(core(), subscribe(), flow=BACK) == "method"


def test_noise() -> None:
    for noise in (
        b"",
        b"\0" * 40,
        b"SUBSCRIBE",
        subscribe(via=b""),
        subscribe(call_id=b"Call-ID: 1\r\nCall-ID: 2"),
        b"a" * (MAX_DATAGRAM + 1),
    ):
        assert silence(core(), noise) == "malformed"


@pytest.mark.parametrize(
    ("event", "profile"),
    [
        (b"ua-profile", {}),
        (b"UA-Profile ; profile-type = device", {b"profile-type": b"device"}),
        (b'ua-profile;profile-type="device";model="R20 K"', {b"profile-type": b"device", b"model": b"R20 K"}),
        (b"ua-profile;profile-type=device;model=R20 K", {}),
        (b"ua-profile;;;", {}),
        (b'ua-profile;model="', {}),
    ],
)
def test_the_event_is_read_loosely(event: bytes, profile: dict[bytes, bytes]) -> None:
    assert device_profile(event) == profile


def test_what_a_device_says_of_itself_may_stand_in_a_log() -> None:
    question = asked(core(), subscribe(event=b'ua-profile;vendor="\xff\xfe' + b"x" * 100 + b'";model="a\\\x07b"'))
    assert question.vendor == "x" * 62
    assert question.model == "ab"


def test_without_a_usable_contact_the_source_is_the_target() -> None:
    for contact in (b"", b"Contact: *", b"Contact: <tel:+123>", b"Contact: <sip:a b@c>", b"Contact: <<<"):
        _, notify = answered(core(), subscribe(contact=contact))
        assert notify.uri == b"sip:192.168.1.50:5060"


def test_one_source_may_ask_so_often() -> None:
    pnp = core()
    for at in range(REQUESTS_IN_A_ROW):
        asked(pnp, subscribe(branch=b"%d" % at))
    assert silence(pnp, subscribe(branch=b"x")) == "rate"
    asked(pnp, subscribe(branch=b"y"), flow=Flow("udp", GROUP, "192.168.1.51", 5060))
    asked(pnp, subscribe(branch=b"z"), now=8.0)


def test_told_twice_or_unasked() -> None:
    pnp = core()
    question = asked(pnp, subscribe())
    pnp.told(b"other", URL, OURS, 0.0)
    assert pnp.take() == []
    pnp.told(question.key, URL, OURS, 0.0)
    assert len(pnp.take()) == 2
    pnp.told(question.key, URL, OURS, 0.0)
    assert pnp.take() == []


@given(st.binary(max_size=300), st.integers(0, 600))
def test_any_bytes(noise: bytes, at: int) -> None:
    """Whatever comes, it is a question, silence or nothing, and nothing stays when it is over."""
    pnp = core()
    for datagram in (noise, subscribe()[:at] + noise + subscribe()[at + len(noise) :]):
        pnp.receive(datagram, DEVICE, 0.0)
        for output in pnp.take():
            if isinstance(output, Asked):
                pnp.told(output.key, URL, OURS, 0.0)
    run_out(pnp)
