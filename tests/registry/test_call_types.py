"""The manual's call types, read off L228 and L155 into rows; landlines one by one; bounds."""

import pytest

from registry.call_types import (
    CALL_TYPES,
    MONITORS_ONLY,
    NAMES,
    Household,
    Rule,
    StageRule,
    TooManyTargets,
    Who,
    compiled,
    preset,
)
from registry.ring_plan import MAX_TARGETS, TargetKind

FULL = Household(("m1", "m2"), ("g",), ("a1", "a2"), ("+491", "+492", "+493"))
INSIDE = ["m1", "m2", "g"]
APPS = ["a1", "a2"]


def rows(call_type: int, household: Household = FULL, *, app_first: bool = False) -> list[list[str]]:
    stages = compiled(preset(call_type, app_first=app_first), household)
    return [[target.address for target in stage.targets] for stage in stages]


@pytest.mark.parametrize(
    ("call_type", "expected"),
    [
        (0, [INSIDE + APPS]),
        (1, [[*INSIDE, "+491"], ["+492"], ["+493"]]),
        (2, [INSIDE + APPS, ["+491"], ["+492"], ["+493"]]),
        (3, [INSIDE, APPS]),
        (4, [INSIDE, ["+491"], ["+492"], ["+493"]]),
        (5, [INSIDE, APPS, ["+491"], ["+492"], ["+493"]]),
        (6, [INSIDE]),
        (99, [INSIDE]),
    ],
)
def test_each_call_type_of_the_manual(call_type: int, expected: list[list[str]]) -> None:
    assert rows(call_type) == expected
    kinds = {target.address: target.kind for stage in compiled(preset(call_type), FULL) for target in stage.targets}
    assert {name for name, kind in kinds.items() if kind is TargetKind.LANDLINE} == {n for n in kinds if n.startswith("+")}


def test_a_site_may_ask_for_the_other_order_of_code_3() -> None:
    assert rows(3, app_first=True) == [APPS, INSIDE, ["+491"], ["+492"], ["+493"]]
    for code in CALL_TYPES.keys() - {3}:
        assert rows(code, app_first=True) == rows(code)


def test_stages_that_name_nobody_are_left_out() -> None:
    assert rows(5, Household(apps=("a",))) == [["a"]]
    assert rows(5, Household()) == []
    assert NAMES.keys() == CALL_TYPES.keys()
    assert MONITORS_ONLY in CALL_TYPES


def test_a_plan_of_ones_own_names_groups_accounts_and_numbers_with_its_own_times() -> None:
    stages = (
        StageRule((Rule(Who.ACCOUNT, "m2"), Rule(Who.MONITORS), Rule(Who.ACCOUNT, "m2")), 7),
        StageRule((Rule(Who.LANDLINE, "+1555"),)),
    )
    found = compiled(stages, FULL, 33)
    assert [[target.address for target in stage.targets] for stage in found] == [["m2", "m1"], ["+1555"]]
    assert [stage.ring_seconds for stage in found] == [7, 33]


def test_more_than_a_stage_or_a_plan_holds_is_refused() -> None:
    many = Household(monitors=tuple(f"m{n}" for n in range(MAX_TARGETS)))
    assert len(rows(0, many)[0]) == MAX_TARGETS
    with pytest.raises(TooManyTargets, match="33 targets"):
        rows(0, Household(many.monitors, apps=("a",)))
    with pytest.raises(TooManyTargets, match="9 stages"):
        compiled((StageRule((Rule(Who.MONITORS),)),) * 9, FULL)
