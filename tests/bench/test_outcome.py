"""The arithmetic of the benchmarks: what counts, what is void, and how a ratio is taken."""

import pytest

from bench.outcome import Round, Spread, each, ratio, spread


def a_round(server: str, cpu: float, *, idle: float = 0.0, done: int = 10, failed: int = 0) -> Round:
    return Round(server, "call", cpu, idle, 1.0, done, failed, 0)


def test_idle_time_is_taken_off() -> None:
    assert a_round("portico", 1.5, idle=0.5, done=100).each == pytest.approx(0.01)


def figures(found: Spread) -> tuple[float, ...]:
    return found.median, found.least, found.greatest, found.rounds


@pytest.mark.parametrize(("done", "failed", "void"), [(10, 0, False), (9, 1, True), (0, 0, True), (0, 10, True)])
def test_a_round_with_a_failure_is_void(done: int, failed: int, void: bool) -> None:
    assert a_round("portico", 1.0, done=done, failed=failed).void is void


def test_only_rounds_that_count_make_the_median() -> None:
    rounds = [a_round("portico", 1.0), a_round("portico", 3.0), a_round("portico", 9.0, failed=1), a_round("kamailio", 7.0)]
    found = each(rounds, "portico", "call")
    assert found is not None
    assert figures(found) == pytest.approx((0.2, 0.1, 0.3, 2))
    assert each(rounds, "portico", "registration") is None


def test_a_ratio_compares_neighbours_in_time() -> None:
    rounds = [a_round("portico", 2.0), a_round("kamailio", 1.0), a_round("portico", 8.0), a_round("kamailio", 2.0)]
    found = ratio(rounds, "portico", "kamailio", "call")
    assert found is not None
    assert figures(found) == pytest.approx((3.0, 2.0, 4.0, 2))


def test_a_pair_with_a_void_round_is_left_out() -> None:
    rounds = [a_round("portico", 2.0), a_round("kamailio", 1.0, failed=1), a_round("portico", 8.0), a_round("kamailio", 2.0)]
    found = ratio(rounds, "portico", "kamailio", "call")
    assert found is not None
    assert figures(found) == pytest.approx((4.0, 4.0, 4.0, 1))


def test_nothing_has_no_spread() -> None:
    assert spread([]) is None
