"""Orders of credentials that came with a right password are read with one call, and mean the same as read one by one."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sip import credentials
from sip.credentials import MAX_ORDERS, Credentials, parse_credentials, remember_order
from sip.errors import MalformedMessage

DEVICE = (
    b'Digest username="door", realm="portico", nonce="abc", uri="sip:gw", response="0f", algorithm=MD5, qop=auth, nc=00000001'
)


@pytest.fixture(autouse=True)
def no_orders() -> Iterator[None]:
    kept = credentials._orders[:]
    credentials._orders.clear()
    yield
    credentials._orders[:] = kept


def fields(found: Credentials | None) -> list[object] | None:
    return None if found is None else [getattr(found, name) for name in Credentials.__slots__ if name != "in_known_order"]


def read(value: bytes) -> list[object] | None:
    try:
        return fields(parse_credentials(value))
    except MalformedMessage as error:
        return [error.status]


def test_an_order_is_remembered_and_read_alike() -> None:
    before = parse_credentials(DEVICE)
    assert before is not None
    assert not before.in_known_order
    remember_order(DEVICE)
    after = parse_credentials(DEVICE.replace(b"abc", b"d, e"))
    assert after is not None
    assert after.in_known_order
    assert after.nonce == b"d, e"
    assert fields(parse_credentials(DEVICE)) == fields(before)


def test_other_orders_are_still_read() -> None:
    remember_order(DEVICE)
    other = parse_credentials(b'Digest realm="portico",username="door",nonce=abc')
    assert other is not None
    assert not other.in_known_order
    assert (other.username, other.nonce) == (b"door", b"abc")


@pytest.mark.parametrize(
    "value", [b"Digest", b"Basic YTpi", b'Digest username="a\\"b"', b'Digest strange="x"', b"Digest a=b,a=b", b""]
)
def test_what_is_not_plain_teaches_nothing(value: bytes) -> None:
    remember_order(value)
    assert credentials._orders == []


def test_orders_are_bounded_and_the_last_used_is_tried_first() -> None:
    for number in range(MAX_ORDERS + 5):
        remember_order(
            b"Digest " + b",".join([b"qop=auth", b"nc=1", b"stale=a", b"domain=b"][: number % 4 + 1]) + b", realm=x" * 0
        )
    assert len(credentials._orders) <= MAX_ORDERS
    parse_credentials(b"Digest qop=auth,nc=1")
    assert credentials._orders[0][0] == (b"qop", b"nc")


VALUES = st.sampled_from([b'"a"', b'""', b'"a,b"', b'"a\\"b"', b"a", b"", b'"', b'a"', b"MD5 ", b"\t"])
PARTS = st.tuples(
    st.sampled_from([b"username", b"realm", b"nonce", b"qop", b"QOP", b"x"]), st.sampled_from([b"=", b" = ", b""]), VALUES
)
LISTS = st.tuples(st.lists(PARTS.map(b"".join), min_size=1, max_size=4), st.sampled_from([b",", b", ", b" ,"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LISTS, min_size=1, max_size=4))
def test_reading_by_order_is_reading_exactly(lists: list[tuple[list[bytes], bytes]]) -> None:
    credentials._orders.clear()
    values = [b"Digest " + separator.join(parts) for parts, separator in lists]
    plain = [read(value) for value in values]
    for value in values:
        remember_order(value)
    assert [read(value) for value in values] == plain
