"""Every message of RFC 4475 and RFC 5118 gets the outcome its RFC asks of a parser, and nothing is lost on the way through."""

import pytest

from sip.errors import MalformedMessage
from sip.message import Request
from sip.parser import parse
from sip.responses import make_response
from tests.sip.torture import CASES
from tests.sip.torture.case import Case


def test_corpus_is_complete() -> None:
    rfc4475 = [case for case in CASES if case.section.startswith("3.")]
    assert len(rfc4475) == 13 + 19 + 1 + 15 + 1
    assert len({case.name for case in CASES}) == len(CASES) == 49 + 11


@pytest.mark.parametrize("case", [case for case in CASES if case.parser is None], ids=lambda case: case.name)
def test_accepted(case: Case) -> None:
    message = parse(case.raw)
    head, _, _ = case.raw.partition(b"\r\n\r\n")
    assert message.to_bytes() == head + b"\r\n\r\n" + message.body
    assert b"\r\n".join(message.lines) == head.partition(b"\r\n")[2]
    again = parse(message.to_bytes())
    assert (again.names, again.lines, again.body) == (message.names, message.lines, message.body)
    if isinstance(message, Request):
        assert make_response(message, 200).cseq == message.cseq


@pytest.mark.parametrize("case", [case for case in CASES if case.parser is not None], ids=lambda case: case.name)
def test_refused(case: Case) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        parse(case.raw)
    assert refusal.value.status == case.parser
    assert refusal.value.reason
    if case.parser:
        answer = make_response(refusal.value.partial, refusal.value.status, refusal.value.reason)
        assert answer.to_bytes().startswith(b"SIP/2.0 %d " % case.parser)
        assert answer.count(b"via") >= 1
    else:
        assert refusal.value.partial is None


REASONS_NAME = {
    "badinv01": b"Via",
    "clerr": b"Content-Length",
    "ncl": b"Content-Length",
    "quotbal": b"To",
    "ltgtruri": b"Request-URI",
    "lwsruri": b"Request-Line",
    "lwsstart": b"Request-Line",
    "trws": b"Request-Line",
    "escruri": b"Request-URI",
    "baddate": b"Date",
    "regbadct": b"Contact",
    "badaspec": b"To",
    "baddn": b"From",
    "badvers": b"Version",
    "mismatch01": b"CSeq",
    "badbranch": b"Branch",
    "insuf": b"From",
    "mcl01": b"Content-Length",
}


@pytest.mark.parametrize("name", REASONS_NAME)
def test_reason_names_the_header(name: str) -> None:
    (case,) = [case for case in CASES if case.name == name]
    with pytest.raises(MalformedMessage) as refusal:
        parse(case.raw)
    assert REASONS_NAME[name] in refusal.value.reason
