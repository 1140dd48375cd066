"""What the quick patterns match means the same by the exact rules, and no value takes them more than linear time."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import header_values, uri
from sip.errors import MalformedMessage


def one_of(*texts: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from([text.encode("latin-1") for text in texts])


def in_order(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


def some(*texts: str) -> st.SearchStrategy[bytes]:
    return st.lists(one_of(*texts), max_size=4).map(b"".join)


PARAMETERS = (";rport", ";rport", ";rport=5", ";branch=z9hG4bKa", ";branch=b", ";branch=", ";received=10.0.0.2", ";received=x")
VIAS = in_order(
    one_of("SIP/2.0/UDP ", "SIP/2.0/TLS ", "SIP/2.0/WS ", "SIP / 2.0/udp  ", "SIP/2.0/udp "),
    one_of("10.0.0.1", "[2001:db8::1]", "[::]", "Host.example", ""),
    one_of("", ":5060", ":65536", ":0", " : 5060", ":"),
    some(*PARAMETERS, ";alias", ",", ";RPORT", ";maddr=a", " ", ";", ";ttl=5", ';x="a"'),
)
ADDRESSES = in_order(
    one_of("", "Door ", "Door Phone\t", '"Door, 1"', '"Door" ', '"', '"a\\"b"', " ", ";"),
    one_of("<", "<", ""),
    one_of("sip:", "sips:", "tel:", "SIP:", ""),
    some("a@b", "101", "@", ";lr", "[::1]", "%41", "%", "?x=y", ",", "*", "\\", " "),
    one_of(">", ">", ""),
    one_of("", ";tag=a", ";tag=", ";TAG=b", " ;tag=a", ";tag=a;x", ";expires=5", ',"'),
).map(bytes.strip)
URIS = in_order(
    one_of("sip:", "sip:", "sips:", "tel:", "SIP:", ""),
    some("a", "@", "%41", "%", "+49-30", ":", "#", ";x", "\xff"),
    one_of("", "@", "@host", "@[::1]", "@HOST"),
    one_of("", ":5060", ":65536", ":", ":1x"),
    some(";transport=tcp", "?a=b", ";", ",", '"', " ", "*", "@"),
)
CSEQS = in_order(
    one_of("1", "0", "2147483648", "999999999", "+1", "1_0", "\xb2"),
    one_of(" ", "  ", "\t", ""),
    one_of("INVITE", "invite", "B-2", ""),
)


def outcome(read: Callable[[], Any]) -> object:
    """What reading gives, as plain values, or the error."""
    try:
        found = read()
    except MalformedMessage as error:
        return error.status, error.reason
    names = getattr(found, "__slots__", ()) or getattr(found, "__mypyc_attrs__", ())  # the compiled form has no slots
    return [getattr(found, name) for name in names] if names else found


@given(VIAS)
def test_via(value: bytes) -> None:
    usual = header_values._usual_via(value)
    if usual is not None:
        assert outcome(lambda: usual) == outcome(lambda: header_values._exact_via(value))


@given(ADDRESSES)
def test_name_addr(value: bytes) -> None:
    if header_values._USUAL_ADDRESS(value) is not None:
        exact = outcome(lambda: header_values._exact_name_addr(value, b"bad"))
        assert outcome(lambda: header_values.parse_name_addr(value, b"bad")) == exact


@given(URIS)
def test_user_and_host(value: bytes) -> None:
    exact = outcome(lambda: uri._exact_user_and_host(value, b"bad"))
    assert outcome(lambda: uri.user_and_host(value, b"bad")) == exact
    assert outcome(lambda: uri.user_and_host(value, b"bad")) == exact  # remembered


@given(CSEQS)
def test_cseq(value: bytes) -> None:
    found = header_values._USUAL_CSEQ(value)
    if found is not None:
        assert header_values.parse_cseq(value) == (int(found.group(1)), found.group(2))


@pytest.mark.parametrize(
    "value",
    [
        b"a" + b" " * 60_000,
        b'"' * 60_000,
        b'"' + b" " * 60_000 + b'"' + b" " * 60_000,
        b"<sip:" + b";" * 60_000,
        b"SIP/2.0/UDP a" + b";rport;branch=a" * 4_000,
        b"sip:" + b"a@" * 30_000,
    ],
    ids=["spaces", "quotes", "quoted spaces", "uri", "via", "users"],
)
def test_no_value_takes_long(value: bytes) -> None:
    """A quadratic pattern would take seconds here; the bound is generous to a busy machine."""
    begun = time.process_time()
    for read in (header_values.parse_via, header_values.parse_name_addr, uri.user_and_host):
        outcome(lambda read=read: read(value))  # type: ignore[misc]
    assert time.process_time() - begun < 0.5
