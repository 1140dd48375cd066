"""A user agent fed with what no friend sends: nothing raises, nothing opens, nothing piles up."""

from hypothesis import given
from hypothesis import strategies as st

from simulators.agent_events import Answered, DtmfReceived, IncomingCall
from simulators.user_agent import MAX_TRANSACTIONS
from sip.events import Send
from sip.message import Request, Response
from sip.parser import parse
from tests.simulators.wire import Address, Wire

SERVER: Address = ("192.0.2.1", 5060)
HERE: Address = ("192.0.2.2", 5062)

COMMON = b"Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:bob@192.0.2.2>\r\nCall-ID: c1\r\n"
ANSWERED = b"From: <sip:bob@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n"
CORPUS = [
    b"INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n" + COMMON + b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:a@192.0.2.1>\r\nContent-Length: 0\r\n\r\n",
    b"INFO sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\n"
    + COMMON.replace(b"2.2>", b"2.2>;tag=x")
    + b"CSeq: 2 INFO\r\nContent-Type: application/dtmf-relay\r\nContent-Length: 10\r\n\r\nSignal=#\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.2:5062;branch=z9hG4bKc\r\n" + ANSWERED + b"Contact: <sip:bob@192.0.2.2:5062>;"
    b"expires=60\r\nContent-Length: 0\r\n\r\n",
    b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.2:5062;branch=z9hG4bKc\r\n" + ANSWERED + b"WWW-Authenticate: "
    b'Digest realm="x", nonce="y"\r\nContent-Length: 0\r\n\r\n',
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A message with some bytes replaced, taken out or doubled."""
    data = bytearray(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        length = draw(st.integers(0, 12))
        data[at : at + length] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[at : at + length]) * 2)))
        if not data:
            data = bytearray(b"x")
    return bytes(data)


@given(st.lists(st.one_of(spoilt(), st.binary(max_size=200)), max_size=8))
def test_no_input_raises_or_opens_anything(datagrams: list[bytes]) -> None:
    wire = Wire()
    agent = wire.agent("bob", SERVER, HERE)
    agent.register(wire.now)
    registering = agent.take()
    branch = next(parse(output.data).branch for output in registering if isinstance(output, Send))
    for data in datagrams:
        agent.receive(data.replace(b"z9hG4bKc", branch), SERVER, wire.now)
    events = agent.take()
    assert not any(isinstance(event, Answered | DtmfReceived) for event in events)
    wire.run(40)


def test_a_flood_of_calls_rings_once_and_is_bounded() -> None:
    wire = Wire()
    agent = wire.agent("bob", SERVER, HERE)
    for number in range(3 * MAX_TRANSACTIONS):
        invite = CORPUS[0].replace(b"z9hG4bKa", b"z9hG4bKa%d" % number).replace(b"c1", b"c%d" % number)
        agent.receive(invite, SERVER, wire.now)
    outputs = agent.take()
    assert sum(isinstance(output, IncomingCall) for output in outputs) == 1
    statuses = [answer.status for o in outputs if isinstance(o, Send) and isinstance(answer := parse(o.data), Response)]
    assert statuses.count(486) == MAX_TRANSACTIONS - 1
    assert statuses.count(503) == 2 * MAX_TRANSACTIONS


def ringing_and_answered() -> tuple[Wire, bytes]:
    """A call that "a" made to bob, answered and acknowledged; and bob's tag."""
    wire = Wire()
    agent = wire.agent("bob", SERVER, HERE)
    agent.receive(CORPUS[0], SERVER, wire.now)
    agent.answer("c1", wire.now)
    answer = parse(next(output.data for output in reversed(agent.take()) if isinstance(output, Send)))
    ack = CORPUS[0].replace(b"INVITE", b"ACK").replace(b"z9hG4bKa", b"z9hG4bKack")
    agent.receive(ack.replace(b"To: <sip:bob@192.0.2.2>", b"To: <sip:bob@192.0.2.2>;tag=" + answer.to_tag), SERVER, wire.now)
    assert agent.take()[-1] == Answered("c1")
    return wire, answer.to_tag


def in_dialog(wire: Wire, data: bytes) -> tuple[int, list[object]]:
    """What bob answers, and what his device is told."""
    agent = wire.nodes[HERE]
    agent.receive(data, SERVER, wire.now)
    outputs: list[object] = list(agent.take())  # type: ignore[attr-defined]
    answers = [parse(output.data) for output in outputs if isinstance(output, Send)]
    (status,) = [answer.status for answer in answers if isinstance(answer, Response)]
    return status, [output for output in outputs if not isinstance(output, Send)]


def test_keys_count_inside_the_dialog_only_and_once() -> None:
    wire, tag = ringing_and_answered()
    info = CORPUS[1].replace(b"tag=x", b"tag=" + tag)
    assert in_dialog(wire, CORPUS[1]) == (481, [])
    assert in_dialog(wire, info.replace(b"tag=1", b"tag=2").replace(b"bKb", b"bKb2")) == (481, [])
    assert in_dialog(wire, info.replace(b"c1", b"c2").replace(b"bKb", b"bKb3")) == (481, [])
    assert in_dialog(wire, info.replace(b"bKb", b"bKb4")) == (200, [DtmfReceived("c1", "a", "#")])
    # The same request again is a repeat; the same CSeq in a new transaction is out of order (12.2.2).
    assert in_dialog(wire, info.replace(b"bKb", b"bKb4")) == (200, [])
    assert in_dialog(wire, info.replace(b"bKb", b"bKb5")) == (500, [])


def test_info_that_is_no_key() -> None:
    wire, tag = ringing_and_answered()
    info = CORPUS[1].replace(b"tag=x", b"tag=" + tag)
    other = info.replace(b"dtmf-relay", b"xml+video!").replace(b"bKb", b"bKb6")
    assert in_dialog(wire, other) == (415, [])
    empty = info.replace(b"Content-Length: 10\r\n\r\nSignal=#\r\n", b"Content-Length: 0\r\n\r\n")
    assert in_dialog(wire, empty.replace(b"2 INFO", b"3 INFO").replace(b"bKb", b"bKb7")) == (200, [])


def test_a_reinvite_keeps_the_call_and_moves_the_target() -> None:
    wire, tag = ringing_and_answered()
    again = CORPUS[0].replace(b"To: <sip:bob@192.0.2.2>", b"To: <sip:bob@192.0.2.2>;tag=" + tag)
    again = (
        again.replace(b"1 INVITE", b"2 INVITE").replace(b"bKa", b"bKre").replace(b"<sip:a@192.0.2.1>", b"<sip:a@192.0.2.1:5999>")
    )
    assert in_dialog(wire, again) == (200, [])
    agent = wire.nodes[HERE]
    ack = again.replace(b"INVITE", b"ACK").replace(b"bKre", b"bKreack")
    agent.receive(ack, SERVER, wire.now)
    agent.hang_up("c1", wire.now)  # type: ignore[attr-defined]
    byes = [parse(output.data) for output in agent.take() if isinstance(output, Send)]  # type: ignore[attr-defined]
    assert [(bye.method, bye.uri) for bye in byes if isinstance(bye, Request)] == [(b"BYE", b"sip:a@192.0.2.1:5999")]
