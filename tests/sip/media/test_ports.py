"""The port range gives even ports, each once, the longest free first."""

import pytest

from sip.media.ports import PortPairs


@pytest.mark.parametrize(
    ("first", "last", "pairs"), [(30_000, 30_003, [30_000, 30_002]), (30_001, 30_004, [30_002]), (30_000, 30_000, [])]
)
def test_pairs_of_a_range(first: int, last: int, pairs: list[int]) -> None:
    free = PortPairs(first, last)
    assert (len(free), free.size) == (len(pairs), len(pairs))
    assert [free.take() for _ in range(len(pairs) + 1)] == [*pairs, 0]


def test_what_was_given_back_last_is_taken_last() -> None:
    free = PortPairs(30_000, 30_005)
    first = free.take()
    free.give_back(first)
    assert [free.take() for _ in range(3)] == [30_002, 30_004, first]
