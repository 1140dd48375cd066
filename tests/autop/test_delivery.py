"""What is inferred about a device: tables of what it did and how it stands, and what holds whatever it does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.delivery import CONFIRM_SECONDS, MAX_VERSIONS, Fetched, Standing, note, standing
from registry.configuration import DeviceFetches
from registry.mac import MacAddress

MAC = MacAddress("0C1105AABBCC")
Step = tuple[str, str] | tuple[str, str, str]


def after(*steps: Step, every: float = 1.0) -> DeviceFetches | None:
    """`("got", version)`, `("got", version, version it named)`, `("has", version)`, one after the other."""
    record = None
    for at, (what, etag, *held) in enumerate(steps, 1):
        record = note(record, Fetched(MAC, "s", etag, at * every, "192.0.2.7", what == "got", held[0] if held else "", 10))
    return record


@pytest.mark.parametrize(
    ("steps", "present", "bindings", "expected"),
    [
        ((), "a", 0, Standing.NEVER_FETCHED),
        ((("got", "a"),), "a", 10, Standing.FETCHED),
        ((("got", "a"),), "a", 11, Standing.APPLIED),
        ((("got", "a"),), "b", 11, Standing.PENDING),
        ((("got", "a"), ("has", "a")), "a", 10, Standing.APPLIED),
        ((("has", "a"),), "a", 10, Standing.APPLIED),
        ((("got", "a"), ("has", "a"), ("got", "a")), "a", 10, Standing.FETCHED),
        ((("got", "a"), ("got", "b", "a")), "b", 10, Standing.FETCHED),
        ((("got", "a"), ("got", "b", "x")), "b", 11, Standing.DRIFT),
        ((("got", "a"), ("got", "b"), ("got", "b", "a")), "b", 11, Standing.DRIFT),
        ((("got", "a"), ("got", "a", "x"), ("got", "a")), "a", 11, Standing.DRIFT),
        ((("got", "a"), ("got", "a", "x"), ("has", "a")), "a", 10, Standing.APPLIED),
        ((("got", "a"), ("got", "a", "x"), ("got", "b", "a")), "b", 10, Standing.FETCHED),
        ((("got", "b"), ("got", "a"), ("has", "b")), "b", 10, Standing.APPLIED),
    ],
)
def test_standing(steps: tuple[Step, ...], present: str, bindings: int, expected: Standing) -> None:
    assert standing(after(*steps), present, bindings) is expected


def test_a_device_that_polls_on_and_on_is_not_written_each_time() -> None:
    record = after(("got", "a"), ("has", "a"))
    assert record is not None
    for at in (3.0, 2.0 + CONFIRM_SECONDS - 1):
        assert note(record, Fetched(MAC, "s", "a", at, "192.0.2.7", False)) is record
    later = note(record, Fetched(MAC, "s", "a", 2.0 + CONFIRM_SECONDS, "192.0.2.8", False))
    assert (later.fetches[-1].confirmed, later.fetches[-1].peer) == (2.0 + CONFIRM_SECONDS, "192.0.2.8")


def test_what_is_kept_of_a_version() -> None:
    record = after(("got", "a"), ("got", "b"), ("got", "a"))
    assert record is not None
    assert [(one.etag, one.first, one.last, one.times) for one in record.fetches] == [("b", 2.0, 2.0, 1), ("a", 1.0, 3.0, 2)]


steps_ = st.lists(
    st.one_of(
        st.tuples(st.just("got"), st.integers(0, 14).map(str)),
        st.tuples(st.just("got"), st.integers(0, 14).map(str), st.integers(0, 14).map(str)),
        st.tuples(st.just("has"), st.integers(0, 14).map(str)),
    ),
    min_size=1,
    max_size=40,
)


@given(steps_)
def test_whatever_a_device_does(steps: list[Step]) -> None:
    record = after(*steps, every=CONFIRM_SECONDS)
    assert record is not None
    etags = [one.etag for one in record.fetches]
    assert etags[-1] == steps[-1][1], "the newest is what it was given, or said it has, last"
    assert len(set(etags)) == len(etags) <= MAX_VERSIONS
    assert all(one.first <= one.last for one in record.fetches)
    assert standing(record, "never", 99) in (Standing.PENDING, Standing.DRIFT)
    if steps[-1][0] == "has":
        assert standing(record, etags[-1], 10) is Standing.APPLIED
