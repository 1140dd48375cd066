"""A gateway's health by its table, and what its answers mean for the next one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.trunk_gateways import (
    ALIVE,
    DEAD,
    DOWN,
    FALL,
    FALLEN,
    RISE,
    RISEN,
    TABLE,
    UNKNOWN,
    UP,
    Health,
    Verdict,
    proves_life,
    upstream_status,
    verdict,
)


def test_the_table_is_the_drawing() -> None:
    assert TABLE == {
        (UNKNOWN, ALIVE): UP,
        (UNKNOWN, RISEN): UP,
        (UNKNOWN, DEAD): DOWN,
        (UNKNOWN, FALLEN): DOWN,
        (UP, FALLEN): DOWN,
        (DOWN, RISEN): UP,
    }


def test_one_lost_probe_and_one_lucky_answer_change_nothing() -> None:
    health = Health(0.0)
    assert health.heard(True, 1.0)
    assert not health.heard(False, 2.0)
    assert not health.heard(True, 3.0)
    assert not health.heard(False, 4.0)
    assert health.heard(False, 5.0)
    assert (health.state, health.since) == (DOWN, 5.0)
    assert not health.heard(True, 6.0)
    assert not health.heard(False, 7.0)
    assert not health.heard(True, 8.0)
    assert health.heard(True, 9.0)
    assert (health.state, health.since) == (UP, 9.0)


def test_the_first_probe_decides() -> None:
    health = Health(0.0)
    assert health.heard(False, 1.0)
    assert health.state == DOWN


@given(st.lists(st.booleans(), max_size=30))
def test_state_changes_only_after_a_run(answers: list[bool]) -> None:
    health = Health(0.0)
    for at, alive in enumerate(answers):
        before = health.state
        if health.heard(alive, float(at)) and before != UNKNOWN:
            run = RISE if alive else FALL
            assert answers[at + 1 - run : at + 1] == [alive] * run
        if answers[max(0, at + 1 - 2) : at + 1] == [alive] * 2:
            assert health.state == (UP if alive else DOWN)


@pytest.mark.parametrize(
    ("status", "rang", "expected"),
    [
        (503, False, Verdict.NEXT),
        (500, False, Verdict.NEXT),
        (502, False, Verdict.NEXT),
        (504, False, Verdict.NEXT),
        (408, False, Verdict.NEXT),
        (430, False, Verdict.NEXT),
        (503, True, Verdict.FINAL),
        (408, True, Verdict.FINAL),
        (401, False, Verdict.CHALLENGE),
        (407, True, Verdict.CHALLENGE),
        *(
            (status, False, Verdict.FINAL)
            for status in (200, 302, 403, 404, 410, 480, 484, 486, 487, 488, 501, 600, 603, 604, 606)
        ),
    ],
)
def test_which_answers_mean_the_next_gateway(status: int, rang: bool, expected: Verdict) -> None:
    assert verdict(status, rang) is expected


def test_any_answer_but_unavailable_proves_life() -> None:
    assert all(proves_life(status) for status in (200, 401, 403, 404, 405, 407, 483, 500, 501))
    assert not any(proves_life(status) for status in (408, 502, 503, 504))


def test_a_trunks_challenge_and_redirection_stay_with_us() -> None:
    assert [upstream_status(status) for status in (401, 407, 300, 302, 404, 486, 603)] == [500, 500, 500, 500, 404, 486, 603]
