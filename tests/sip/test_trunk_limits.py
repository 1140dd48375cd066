"""Landline calls are counted once, and given back however they end."""

from hypothesis import given
from hypothesis import strategies as st

from sip.trunk_limits import LandlineCalls, LandlineRefusal, site_allows, status_of


def test_a_site_and_a_trunk_are_full() -> None:
    calls = LandlineCalls()
    assert calls.take("a", "1", "north", "t", 2, 3) is None
    assert calls.take("b", "1", "north", "t", 2, 3) is None
    assert calls.take("c", "1", "north", "t", 2, 3) is LandlineRefusal.SITE_FULL
    assert calls.take("c", "1", "south", "t", 2, 3) is None
    assert calls.take("d", "1", "south", "t", 2, 3) is LandlineRefusal.TRUNK_FULL
    assert calls.take("d", "1", "south", "u", 2, 3) is None
    calls.ended("a")
    assert calls.take("e", "1", "north", "t", 2, 3) is None


def test_failover_moves_a_leg_and_counts_it_once() -> None:
    calls = LandlineCalls()
    assert calls.take("a", "1", "north", "t", 1, 1) is None
    assert calls.take("a", "1", "north", "t", 1, 1) is None, "another gateway of the same trunk"
    assert calls.take("a", "1", "north", "u", 1, 1) is None
    assert (calls.of_site("north"), calls.of_trunk("t"), calls.of_trunk("u")) == (1, 0, 1)
    calls.take("b", "1", "south", "t", 1, 1)
    assert calls.take("a", "1", "north", "t", 1, 1) is LandlineRefusal.TRUNK_FULL
    assert calls.of_trunk("u") == 1, "a refused move leaves it where it is"


def test_several_legs_of_one_call_end_together_and_twice_is_once() -> None:
    calls = LandlineCalls()
    for leg in ("1", "2", "3"):
        assert calls.take("a", leg, "north", "t", 3, 3) is None
    calls.give("a", "2")
    calls.give("a", "2")
    calls.give("b", "2")
    assert calls.of_site("north") == 2
    calls.ended("a")
    calls.ended("a")
    assert (len(calls), calls.of_site("north"), calls.of_trunk("t")) == (0, 0, 0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "give", "ended"]), st.sampled_from("abc"), st.sampled_from("12"), st.sampled_from("tu")),
    max_size=40,
)


@given(STEPS)
def test_counts_are_those_of_the_legs_held(steps: list[tuple[str, str, str, str]]) -> None:
    calls, model = LandlineCalls(), dict[tuple[str, str], str]()
    for what, call, leg, trunk in steps:
        site = {"a": "north", "b": "north", "c": "south"}[call]
        if what == "take":
            if calls.take(call, leg, site, trunk, 3, 4) is None:
                model[call, leg] = trunk
        elif what == "give":
            calls.give(call, leg)
            model.pop((call, leg), None)
        else:
            calls.ended(call)
            model = {key: value for key, value in model.items() if key[0] != call}
        north = sum(1 for name, _ in model if name in "ab")
        assert calls.of_site("north") == north <= 3
        assert calls.of_site("south") == len(model) - north
        for name in "tu":
            assert calls.of_trunk(name) == sum(value == name for value in model.values()) <= 4
    for name in "abc":
        calls.ended(name)
    assert len(calls) == calls.of_site("north") == calls.of_trunk("t") == 0


def test_what_may_not_be_called_looks_like_an_unknown_number() -> None:
    assert {status_of(one) for one in (LandlineRefusal.SITE_PREFIX, LandlineRefusal.TRUNK_PREFIX, LandlineRefusal.NO_TRUNK)} == {
        404
    }
    assert status_of(LandlineRefusal.SITE_FULL) == 486
    assert status_of(LandlineRefusal.TRUNK_FULL) == status_of(LandlineRefusal.NO_GATEWAY) == 503


def test_an_empty_list_of_a_site_adds_no_rule() -> None:
    assert site_allows((), "+49301234567")
    assert not site_allows(("+43",), "+49301234567")
