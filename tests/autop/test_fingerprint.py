"""Entity tags and If-None-Match: lists, weak tags, `*`, and what is none of these."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.fingerprint import entity_tags, none_match_fails, strong_etag

OURS = strong_etag(b"body")


def test_the_tag_is_the_sha256_of_the_bytes_in_quotes() -> None:
    assert strong_etag(b"x") == b'"' + hashlib.sha256(b"x").hexdigest().encode() + b'"'


@pytest.mark.parametrize(
    "values",
    [
        [OURS],
        [b"  " + OURS + b"\t"],
        [b"W/" + OURS],
        [b'"a", ' + OURS],
        [b'"a",' + OURS + b', W/"b"'],
        [b'"a"', OURS],
        [b', ,"a" , ,' + OURS + b" ,"],
        [b'"a,b", ' + OURS],
        [b'"", ' + OURS],
        [b"*"],
        [b" * "],
    ],
)
def test_the_client_has_these_bytes(values: list[bytes]) -> None:
    assert none_match_fails(values, OURS)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b'"other"'],
        [OURS[1:-1]],
        [OURS + b'"a"'],
        [b"w/" + OURS],
        [b"W/ " + OURS],
        [b"*, " + OURS],
        [b"*", b"*"],
        [OURS, b"garbage"],
        [b'"a' + OURS[1:]],
        [b'"a, ' + OURS[1:]],
        [OURS[:-1]],
        [b"\x00" + OURS],
        [b'"a", ' * 1000 + OURS],
    ],
)
def test_the_client_gets_the_bytes(values: list[bytes]) -> None:
    assert not none_match_fails(values, OURS)


def test_a_condition_is_read_up_to_4_kib() -> None:
    assert none_match_fails([b" " * (4096 - len(OURS)) + OURS], OURS)
    assert not none_match_fails([b" " * (4097 - len(OURS)) + OURS], OURS)


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_field_is_read_or_refused(values: list[bytes]) -> None:
    assert none_match_fails(values, OURS) in (True, False)


@given(st.lists(st.text("!#$%&'()*+,-./:;<=>?@[]^_`{|}~abc019", max_size=8), max_size=6), st.booleans())
def test_a_list_comes_apart_as_it_was_joined(tags: list[str], weak: bool) -> None:
    quoted = [b'"' + tag.encode() + b'"' for tag in tags]
    joined = b", ".join((b"W/" if weak else b"") + tag for tag in quoted)
    assert entity_tags([joined]) == frozenset(quoted)
