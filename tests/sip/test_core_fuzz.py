"""Whatever arrives, the core raises nothing, answers within bounds, and keeps serving: S05, S15, and the CPU of one message."""

import time

from hypothesis import given
from hypothesis import strategies as st

from sip.events import Send
from tests.sip.phones import Stage

VALID = [b"REGISTER", b"INVITE", b"MESSAGE", b"ACK", b"CANCEL", b"BYE", b"OPTIONS", b"SUBSCRIBE", b"PRACK"]


def stage_with_a_call() -> tuple[Stage, list[bytes]]:
    """A gateway with a ringing call, and messages of every kind that fit it."""
    stage = Stage()
    caller, callee = stage.registered("A", "100"), stage.registered("D", "101")
    invite = stage.invite(caller, "101")
    stage.book.receive(invite, caller.flow)
    arrived = stage.sent(callee, b"INVITE")
    messages = [invite, callee.reply(arrived, 180), callee.reply(arrived, 200), callee.reply(arrived, 486)]
    headers = (b"Contact: <" + caller.contact + b">;q=0.5;expires=60",)
    messages += [caller.request(method, b"sip:101@gw.test", headers=headers) for method in VALID]
    messages.append(caller.register(b"Path: <sip:edge.test;lr>", b"Supported: path, outbound", b"Require: path"))
    messages.append(
        caller.request(b"MESSAGE", b"sip:101@gw.test", headers=(b"Route: <sip:192.0.2.1;lr>, <sip:x.test>", b"Max-Breadth: 9"))
    )
    return stage, messages


STAGE, MESSAGES = stage_with_a_call()


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A message of a real call with a few bytes or lines changed, cut, doubled or swapped."""
    data = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["put", "cut", "double", "number", "odd"]))
        if kind == "put":
            data[at:end] = draw(st.binary(max_size=8))
        elif kind == "cut":
            del data[at:end]
        elif kind == "double":
            data[at:at] = data[at:end]
        elif kind == "number":
            data[at:at] = draw(st.sampled_from([b"0", b"-1", b"99999999999", b"4294967296", b"\xef\xbc\x91"]))
        else:
            data[at:at] = draw(
                st.sampled_from([b"\r\n", b"\0", b"<", b">", b'"', b";", b",", b"\r\n ", b"=", b"\x0b", b"%", b"@", b"[::1"])
            )
    return bytes(data)


@given(mutilated())
def test_mutilated_messages_raise_nothing(data: bytes) -> None:
    flow = next(iter(STAGE.phones.values())).flow
    STAGE.core.receive(data, flow, STAGE.book.now)
    answers = [one for one in STAGE.core.take() if isinstance(one, Send)]
    assert len(answers) <= 3


FIELDS = [
    b"Contact",
    b"Expires",
    b"Path",
    b"Supported",
    b"Require",
    b"User-Agent",
    b"Max-Breadth",
    b"Proxy-Require",
    b"Record-Route",
]
PIECES = [
    b"<",
    b">",
    b"sip:101@h",
    b";expires=",
    b";q=",
    b"0.5",
    b"0",
    b"*",
    b",",
    b'"',
    b";reg-id=1",
    b";+sip.instance=",
    b"<urn:x>",
    b"\\",
]
values = st.lists(
    st.sampled_from(PIECES) | st.binary(max_size=3).map(lambda raw: bytes(one for one in raw if one > 31)), max_size=8
)


@given(st.lists(st.tuples(st.sampled_from(FIELDS), values.map(b"".join)), max_size=3), st.sampled_from([b"REGISTER", b"INVITE"]))
def test_an_authenticated_peer_gets_an_answer_whatever_its_headers_hold(fields: list[tuple[bytes, bytes]], method: bytes) -> None:
    stage = Stage()
    phone = stage.registered("D", "101")
    headers = tuple(b"%b: %b" % field for field in fields)
    user = b"sip:101@gw.test"
    data = phone.request(method, b"sip:gw.test" if method == b"REGISTER" else user, to=b"<" + user + b">", headers=headers)
    stage.book.receive(data, phone.flow)
    challenge = stage.last(phone)
    if challenge.status in (401, 407):
        stage.book.receive(phone.with_credentials(data, challenge), phone.flow)
    assert stage.last(phone).status in (200, 400, 403, 407, 401, 416, 420, 423, 440, 480, 500)
    stage.book.after(40.0)
    assert stage.core.census()[:2] == (0, 0)


@given(st.binary(max_size=200))
def test_noise_raises_nothing_and_is_not_answered(data: bytes) -> None:
    flow = next(iter(STAGE.phones.values())).flow
    STAGE.core.receive(data, flow, STAGE.book.now)
    answers = [one for one in STAGE.core.take() if isinstance(one, Send)]
    assert not answers or data == b"\r\n\r\n"


def test_the_largest_messages_cost_little() -> None:
    """S05: CPU below 50 ms at 64 KiB, whatever is long in it."""
    stage = Stage()
    phone = stage.registered("A", "100")
    long = [
        phone.request(b"INVITE", b"sip:101@gw.test", headers=(b"Route: " + b", ".join([b"<sip:192.0.2.1;lr>"] * 3000),)),
        phone.request(b"INVITE", b"sip:101@gw.test", headers=(b"Via: " + b", ".join([b"SIP/2.0/UDP 192.0.2.1"] * 2500),)),
        phone.request(b"INVITE", b"sip:101@gw.test", headers=(b"Subject: " + b'"<,' * 20000,)),
        phone.register(contact=b", ".join([b"<sip:100@198.51.100.10:%d>" % n for n in range(1, 2000)])),
        phone.request(b"MESSAGE", b"sip:101@gw.test", body=b"x" * 64000),
        phone.request(b"MESSAGE", b"sip:101@gw.test", headers=(b"Proxy-Authorization: Digest " + b'a="\\\\", ' * 6000,)),
    ]
    for data in long:
        spent = []
        for _ in range(3):
            before = time.process_time()
            stage.core.receive(data, phone.flow, 0.0)
            spent.append(time.process_time() - before)
            stage.core.take()
        assert min(spent) < 0.05, (data[:60], spent)
