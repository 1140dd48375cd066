"""Ring plans as data: bounds, keys per site, the simplest plan."""

import pytest

from registry.ring_plan import (
    DEFAULT_RING_SECONDS,
    MAX_STAGES,
    MAX_TARGETS,
    OnReject,
    RingPlan,
    Stage,
    Target,
    TargetKind,
    ring_plan_key,
    together,
)

TARGET = Target(TargetKind.ACCOUNT, "monitor-1")


@pytest.mark.parametrize("seconds", [1, 20, 300])
def test_a_stage_rings_for_a_bounded_time(seconds: int) -> None:
    assert Stage((TARGET,), seconds).ring_seconds == seconds


@pytest.mark.parametrize("seconds", [0, -1, 301, 10**9])
def test_a_stage_that_rings_never_or_for_ever_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 300 seconds"):
        Stage((TARGET,), seconds)


def test_targets_and_stages_are_bounded() -> None:
    full = Stage((TARGET,) * MAX_TARGETS)
    assert len(RingPlan("s", "101", (full,) * MAX_STAGES).stages) == MAX_STAGES
    with pytest.raises(ValueError, match=f"at most {MAX_TARGETS} targets"):
        Stage((TARGET,) * (MAX_TARGETS + 1))
    with pytest.raises(ValueError, match=f"at most {MAX_STAGES} stages"):
        RingPlan("s", "101", (full,) * (MAX_STAGES + 1))


def test_numbers_are_per_site() -> None:
    here, there = together("a", "101", ("x",)), together("b", "101", ("x",))
    assert here.key == ring_plan_key("a", "101") == "a/101"
    assert here.key != there.key


def test_together_rings_every_account_at_once() -> None:
    plan = together("a", "101", ("monitor-1", "app-1"), owner="user-1", seconds=30)
    assert plan == RingPlan(
        "a",
        "101",
        (Stage((Target(TargetKind.ACCOUNT, "monitor-1"), Target(TargetKind.ACCOUNT, "app-1")), 30),),
        "user-1",
        OnReject.NEXT_STAGE,
    )
    assert together("a", "101", ()).stages[0].ring_seconds == DEFAULT_RING_SECONDS


def test_a_plan_is_found_by_site_and_by_its_owner_if_it_has_one() -> None:
    assert together("a", "101", ("x",), owner="user-1").indexes() == {"site": "a", "owner": "user-1"}
    assert together("a", "101", ("x",)).indexes() == {"site": "a"}
