"""Conditional and range requests (RFC 9110): a table of cases, and what holds for every request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.answer_plan import Plan, plan
from autop.fingerprint import strong_etag

FILE = bytes(range(100))
TAG = strong_etag(FILE)
OLD = strong_etag(b"old")
WHOLE = (200, 0, 100, b"")


def of(method: bytes, fields: dict[str, bytes]) -> Plan:
    headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return plan(method, headers, TAG, len(FILE))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, WHOLE),
        ({"range": b"bytes=0-99"}, (206, 0, 100, b"bytes 0-99/100")),
        ({"range": b"bytes=0-0"}, (206, 0, 1, b"bytes 0-0/100")),
        ({"range": b"bytes=10-"}, (206, 10, 90, b"bytes 10-99/100")),
        ({"range": b"BYTES=10-19"}, (206, 10, 10, b"bytes 10-19/100")),
        ({"range": b" bytes = 10-19 "}, (206, 10, 10, b"bytes 10-19/100")),
        ({"range": b"bytes=90-1000"}, (206, 90, 10, b"bytes 90-99/100")),
        ({"range": b"bytes=-1"}, (206, 99, 1, b"bytes 99-99/100")),
        ({"range": b"bytes=-1000"}, (206, 0, 100, b"bytes 0-99/100")),
        ({"range": b"bytes=100-"}, (416, 0, 0, b"bytes */100")),
        ({"range": b"bytes=999999999999999999-"}, (416, 0, 0, b"bytes */100")),
        ({"range": b"bytes=-0"}, (416, 0, 0, b"bytes */100")),
        # Ignored: several ranges, other units, malformed ones.
        ({"range": b"bytes=0-1,5-6"}, WHOLE),
        ({"range": b"bytes=0-0,"}, WHOLE),
        ({"range": b"lines=0-1"}, WHOLE),
        ({"range": b"bytes=5-4"}, WHOLE),
        ({"range": b"bytes=-"}, WHOLE),
        ({"range": b"bytes="}, WHOLE),
        ({"range": b"bytes=a-b"}, WHOLE),
        ({"range": b"bytes=+1-2"}, WHOLE),
        ({"range": "bytes=\u0661-".encode()}, WHOLE),
        ({"range": b"bytes=1-2" + b"0" * 40}, WHOLE),
        # If-Range: only our own strong tag keeps the range.
        ({"range": b"bytes=10-", "if_range": TAG}, (206, 10, 90, b"bytes 10-99/100")),
        ({"range": b"bytes=10-", "if_range": b" " + TAG + b" "}, (206, 10, 90, b"bytes 10-99/100")),
        ({"range": b"bytes=10-", "if_range": OLD}, WHOLE),
        ({"range": b"bytes=10-", "if_range": b"W/" + TAG}, WHOLE),
        ({"range": b"bytes=10-", "if_range": b"Thu, 28 May 2026 20:26:40 GMT"}, WHOLE),
        ({"range": b"bytes=10-", "if_range": b"*"}, WHOLE),
        ({"range": b"bytes=10-", "if_range": TAG + b", " + TAG}, WHOLE),
        ({"range": b"bytes=100-", "if_range": OLD}, WHOLE),
        ({"range": b"bytes=100-", "if_range": TAG}, (416, 0, 0, b"bytes */100")),
        ({"if_range": OLD}, WHOLE),
        # If-None-Match goes before Range, If-Match before both.
        ({"if_none_match": TAG}, (304, 0, 0, b"")),
        ({"if_none_match": OLD + b", W/" + TAG}, (304, 0, 0, b"")),
        ({"if_none_match": b"*"}, (304, 0, 0, b"")),
        ({"if_none_match": TAG, "range": b"bytes=1-"}, (304, 0, 0, b"")),
        ({"if_none_match": OLD, "range": b"bytes=1-1"}, (206, 1, 1, b"bytes 1-1/100")),
        ({"if_none_match": b"broken"}, WHOLE),
        ({"if_match": TAG}, WHOLE),
        ({"if_match": b"*"}, WHOLE),
        ({"if_match": OLD + b", " + TAG, "range": b"bytes=1-1"}, (206, 1, 1, b"bytes 1-1/100")),
        ({"if_match": OLD}, (412, 0, 0, b"")),
        ({"if_match": b"W/" + TAG}, (412, 0, 0, b"")),
        ({"if_match": b"broken"}, (412, 0, 0, b"")),
        ({"if_match": OLD, "if_none_match": TAG}, (412, 0, 0, b"")),
        # No dates here, so conditions on them are not judged.
        ({"if_modified_since": b"Thu, 28 May 2026 20:26:40 GMT", "if_unmodified_since": b"x"}, WHOLE),
    ],
    ids=str,
)
def test_cases(fields: dict[str, bytes], expected: tuple[int, int, int, bytes]) -> None:
    found = of(b"GET", fields)
    assert (found.status, found.start, found.length, found.content_range) == expected


def test_two_fields_of_a_kind_are_a_list_and_so_no_single_range() -> None:
    twice = [(b"range", b"bytes=1-2"), (b"range", b"bytes=3-4")]
    assert plan(b"GET", twice, TAG, 100).status == 200
    assert plan(b"GET", [(b"range", b"bytes=1-2"), (b"if-range", TAG), (b"if-range", TAG)], TAG, 100).status == 200


def test_head_has_every_header_of_get_but_knows_no_range() -> None:
    assert of(b"HEAD", {"range": b"bytes=10-"}) == Plan(200, 0, 100, with_body=False)
    assert of(b"HEAD", {"if_none_match": TAG}).status == 304


def test_an_empty_file_has_no_range_at_all() -> None:
    assert plan(b"GET", [(b"range", b"bytes=0-")], TAG, 0).status == 416
    assert plan(b"GET", [(b"range", b"bytes=-5")], TAG, 0).status == 416
    assert plan(b"GET", [], TAG, 0) == Plan(200, 0, 0, with_body=True)


NAMES = st.sampled_from([b"if-match", b"if-none-match", b"if-range", b"range", b"host"])
POSITIONS = st.integers(0, 300).map(lambda number: b"%d" % number) | st.just(b"")
VALUES = (
    st.binary(max_size=30)
    | st.sampled_from([TAG, OLD, b"*", b"W/" + TAG])
    | st.tuples(POSITIONS, POSITIONS).map(lambda ends: b"bytes=" + ends[0] + b"-" + ends[1])
)


@given(st.sampled_from([b"GET", b"HEAD"]), st.lists(st.tuples(NAMES, VALUES), max_size=5), st.integers(0, 200))
def test_every_plan_is_an_answer(method: bytes, headers: list[tuple[bytes, bytes]], size: int) -> None:
    found = plan(method, headers, TAG, size)
    assert found.status in (200, 206, 304, 412, 416)
    assert 0 <= found.start <= found.start + found.length <= size
    if found.status == 206:
        assert found.length > 0
        assert found.content_range == b"bytes %d-%d/%d" % (found.start, found.start + found.length - 1, size)
        assert method == b"GET"
    if found.status == 200:
        assert (found.start, found.length) == (0, size)


@given(st.integers(0, 100), st.sampled_from([TAG, OLD, b"W/" + TAG, b"x"]))
def test_a_download_that_goes_on_is_never_spliced(got: int, claimed: bytes) -> None:
    """A client that holds `got` bytes of the file with tag `claimed` ends up with exactly our file, or starts over."""
    held = FILE[:got] if claimed == TAG else bytes(got)
    found = plan(b"GET", [(b"range", b"bytes=%d-" % got), (b"if-range", claimed)], TAG, len(FILE))
    sent = FILE[found.start : found.start + found.length]
    if found.status == 206:
        assert held + sent == FILE
    elif found.status == 200:
        assert sent == FILE
    else:
        assert (found.status, held) == (416, FILE)
