# ruff: noqa: PT017  the refusal is one of two right outcomes, so pytest.raises cannot express it
"""The parser against generated messages. `pytest --hypothesis-profile=night tests/sip/test_parser_fuzz.py` runs 5,000 of each.

Whatever the bytes: either `MalformedMessage`, or a message whose every accessor works and whose output reads the same again.
"""

from hypothesis import given
from hypothesis import strategies as st

from sip.credentials import _exact_parameters, _plain_parameters, parse_credentials
from sip.errors import MalformedMessage
from sip.framing import KEEPALIVE, PONG, StreamFramer
from sip.grammar import CONTROLS, has_bare_control, split_list
from sip.header_values import parse_cseq, parse_name_addr, parse_params, parse_via
from sip.headers import SINGLE
from sip.message import Message, Request, Response
from sip.parser import parse
from sip.responses import make_response
from sip.uri import equivalent, parse_uri, user_and_host
from tests.strategies import HOSTILE, VALUE_PARTS, WireRequest, hostile_messages, wire_requests


def read_everything(message: Message) -> None:
    """Every accessor that the layers above use, on a message that was accepted: none may raise."""
    assert message.top_via.raw
    assert message.call_id
    assert 0 <= message.cseq[0] < 2**31
    assert isinstance(message.from_tag + message.to_tag + message.branch, bytes)
    assert message.max_forwards is None or 0 <= message.max_forwards <= 255
    for name in set(message.names):
        assert isinstance(message.all(name), list)
        assert name not in SINGLE or message.count(name) == 1


def check_sound(message: Request | Response, raw: bytes) -> None:
    assert len(message.names) == len(message.lines)
    for name, line in zip(message.names, message.lines, strict=True):
        assert line in raw, "a header line that was never received"
        assert line.partition(b":")[0].strip(b" \t").translate(None, CONTROLS) == line.partition(b":")[0].strip(b" \t")
        assert name == name.lower()
        assert not has_bare_control(line)
    read_everything(message)
    again = parse(message.to_bytes())
    assert (again.names, again.lines, again.body) == (message.names, message.lines, message.body)
    assert again.to_bytes() == message.to_bytes()


@given(wire_requests())
def test_legal_request_is_read_and_passed_on_unchanged(sent: WireRequest) -> None:
    message = parse(sent.raw)
    assert isinstance(message, Request)
    assert message.to_bytes() == sent.raw
    assert (message.method, message.uri, message.body) == (sent.method, sent.uri, sent.body)
    assert (message.call_id, message.from_tag, message.to_tag) == (sent.call_id, sent.from_tag, sent.to_tag)
    assert (message.branch, message.cseq) == (sent.branch, (sent.cseq, sent.method))
    assert message.max_forwards == sent.max_forwards
    received = sorted(line for line in message.lines if line.startswith(b"X-"))
    assert received == sorted(name + b": " + value for name, value in sent.others)
    check_sound(message, sent.raw)


@given(wire_requests())
def test_legal_request_can_be_answered(sent: WireRequest) -> None:
    request = parse(sent.raw)
    assert isinstance(request, Request)
    answer = parse(make_response(request, 200, to_tag=b"ours").to_bytes())
    assert isinstance(answer, Response)
    assert (answer.status, answer.call_id, answer.cseq, answer.branch) == (200, request.call_id, request.cseq, request.branch)
    assert answer.to_tag == (sent.to_tag or b"ours")


@given(wire_requests())
def test_every_truncation_is_refused(sent: WireRequest) -> None:
    for end in range(len(sent.raw)):
        try:
            parse(sent.raw[:end])
        except MalformedMessage:
            continue
        raise AssertionError(f"accepted {end} of {len(sent.raw)} octets")


def check_hostile(raw: bytes) -> Request | Response | None:
    """Refused with a reason, and answerable where it says so; or sound: the message. tests/fuzz/ drives this by coverage."""
    try:
        message = parse(raw)
    except MalformedMessage as refusal:
        assert refusal.reason
        assert (refusal.status == 0) == (refusal.partial is None)
        if refusal.partial is not None:
            answer = make_response(refusal.partial, refusal.status, to_tag=b"ours")
            assert answer.to_bytes()
            assert not any(map(has_bare_control, answer.lines))
            assert refusal.partial.method != b"ACK"
        return None
    check_sound(message, raw)
    if isinstance(message, Request):
        make_response(message, 486, to_tag=b"ours").to_bytes()
    return message


@given(hostile_messages())
def test_hostile_message_is_refused_or_sound(raw: bytes) -> None:
    check_hostile(raw)


@given(st.binary(max_size=400))
def test_noise_is_refused_in_silence_or_sound(raw: bytes) -> None:
    try:
        check_sound(parse(raw), raw)
    except MalformedMessage as refusal:
        assert refusal.reason


@given(
    st.one_of(
        st.binary(max_size=80), st.lists(st.sampled_from(HOSTILE), max_size=6).map(lambda parts: b"sip:" + b"a@b".join(parts))
    )
)
def test_uri_functions_raise_only_malformed(raw: bytes) -> None:
    for function in (user_and_host, parse_uri):
        try:
            function(raw)
        except MalformedMessage as refusal:
            assert refusal.status in (400, 416)
    try:
        assert equivalent(raw, raw)
        equivalent(raw, b"sip:a@b")
    except MalformedMessage as refusal:
        assert refusal.status == 400


@given(st.lists(st.one_of(wire_requests().map(lambda sent: sent.raw), st.just(KEEPALIVE)), max_size=4), st.data())
def test_framing_does_not_depend_on_the_cuts(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    framer = StreamFramer()
    found: list[bytes] = []
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, 200))
        found += framer.feed(stream[at : at + step])
        at += step
    assert framer.pending == 0
    assert [piece for piece in found if piece is not PONG] == pieces


def check_agreement(piece: bytes) -> None:
    """Framer and parser must not differ about where a message ends, or the rest would be read as another one (smuggling)."""
    if piece in (KEEPALIVE, PONG):
        return
    try:
        message = parse(piece)
    except MalformedMessage:
        return
    assert piece.partition(b"\r\n\r\n")[2] == message.body


_VALUES = st.one_of(
    st.binary(max_size=80),
    st.lists(st.one_of(st.sampled_from(HOSTILE), st.sampled_from(VALUE_PARTS)), max_size=10).map(b"".join),
)


@given(_VALUES)
def test_value_parsers_raise_only_malformed(raw: bytes) -> None:
    for function in (parse_via, parse_name_addr, parse_cseq, parse_credentials):
        try:
            function(raw)
        except MalformedMessage as refusal:
            assert refusal.status == 400
    for part in split_list(raw):
        assert part
        assert part in raw


@given(_VALUES)
def test_fast_and_exact_parameters_agree(raw: bytes) -> None:
    """The shortcuts for what is usual must give what the exact scanners give: a space before "=" sends a text the long way."""
    text = b";" + raw.replace(b" ", b"").replace(b"\t", b"")
    outcomes: list[object] = []
    for spelling in (text, text + b" "):
        try:
            outcomes.append(parse_params(spelling, b"x"))
        except MalformedMessage:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


_CREDENTIAL_PARTS = (
    b'username="a"', b'realm="a, b"', b'realm="a', b"nc=00000001", b"qop=auth", b'uri="sip:x"', b",", b", ", b" ", b'"', b"=",
    b"x=y", b'nonce=""', b'\\"', b'opaque="a=b"', b"qop = auth", b'QOP="auth"', b"stale=tr\xc3\xbce", b'cnonce="a"b"',
)  # fmt: skip
_CREDENTIALS = st.lists(st.sampled_from(_CREDENTIAL_PARTS), min_size=1, max_size=9)


@given(_CREDENTIALS, st.booleans())
def test_credentials_the_short_way_and_the_exact_way_agree(parts: list[bytes], commas: bool) -> None:
    text = (b"," if commas else b"").join(parts)
    short = _plain_parameters(text)
    if short:
        assert short == _exact_parameters(text, b"x")


@given(hostile_messages(), st.integers(1, 64))
def test_framing_of_hostile_bytes(raw: bytes, step: int) -> None:
    """Only `MalformedMessage`, the same pieces and the same fault for any cut, and never more memory than the bound."""
    outcomes = []
    for size in (len(raw) or 1, step):
        framer = StreamFramer(max_message=2048)
        pieces: list[bytes] = []
        try:
            for at in range(0, len(raw), size):
                pieces += framer.feed(raw[at : at + size])
                assert framer.pending <= 2048 + size
        except MalformedMessage as refusal:
            assert refusal is framer.fault
        for piece in pieces:
            check_agreement(piece)
        outcomes.append(([piece for piece in pieces if piece not in (KEEPALIVE, PONG)], framer.fault and framer.fault.status))
    assert outcomes[0][0] == outcomes[1][0]
