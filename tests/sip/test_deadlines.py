"""The deadline heap: order, moving, disarming, distant deadlines that let go."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.deadlines import DeadlineHeap, Timed
from sip.timers import NEVER, Timers
from tests.conftest import COMPILED

pytestmark = pytest.mark.skipif(COMPILED, reason="Bell is interpreted, and such a class cannot extend a compiled one")


class Bell(Timed):
    """Writes down when it fires; rings again after `again` seconds if that is set."""

    __slots__ = ("__weakref__", "again", "heap", "rung")

    def __init__(self, heap: DeadlineHeap, again: float = 0.0) -> None:
        super().__init__()
        self.heap = heap
        self.again = again
        self.rung: list[float] = []

    def fire(self, now: float) -> None:
        self.rung.append(now)
        if self.again:
            self.heap.arm(self, now + self.again)


def run(heap: DeadlineHeap, until: float) -> None:
    for _ in range(1000):
        at = heap.next()
        if at is None or at > until:
            return
        heap.fire(at)
    raise AssertionError("a deadline stands still")


def test_fires_once_at_its_time_and_never_when_disarmed() -> None:
    heap = DeadlineHeap()
    one, two = Bell(heap), Bell(heap)
    heap.arm(one, 5.0)
    heap.arm(two, 3.0)
    heap.arm(two, NEVER)
    run(heap, 100.0)
    assert (one.rung, two.rung, heap.next(), len(heap)) == ([5.0], [], None, 0)


def test_moving_earlier_and_later() -> None:
    heap = DeadlineHeap()
    bell = Bell(heap)
    heap.arm(bell, 5.0)
    heap.arm(bell, 2.0)
    heap.arm(bell, 9.0)
    heap.arm(bell, 7.0)
    run(heap, 100.0)
    assert bell.rung == [7.0]


def test_one_that_rings_again() -> None:
    heap = DeadlineHeap()
    bell = Bell(heap, again=1.0)
    heap.arm(bell, 1.0)
    run(heap, 3.5)
    assert bell.rung == [1.0, 2.0, 3.0]


def test_a_late_deadline_fires_at_its_time_and_a_disarmed_one_lets_go_of_its_owner() -> None:
    heap = DeadlineHeap()
    kept, dropped = Bell(heap), Bell(heap)
    heap.arm_late(kept, 185.0, 32.0)
    heap.arm_late(dropped, 185.0, 32.0)
    dropped.due = NEVER
    gone = weakref.ref(dropped)
    del dropped
    run(heap, 32.0)
    gc.collect()
    assert gone() is None
    run(heap, 200.0)
    assert kept.rung == [185.0]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.5, 1.0, 2.0, 40.0, NEVER]), st.booleans()), max_size=40))
def test_any_history_fires_exactly_what_was_armed_last(steps: list[tuple[int, float, bool]]) -> None:
    heap = DeadlineHeap()
    bells = [Bell(heap) for _ in range(5)]
    expected: dict[int, list[float]] = {index: [] for index in range(5)}
    armed: dict[int, float] = {}
    now = 0.0
    for index, after, late in steps:
        if late:
            heap.arm_late(bells[index], now + after, now + 32.0)
        else:
            heap.arm(bells[index], now + after)
        armed[index] = now + after
        now += 0.75
        for other, at in list(armed.items()):
            if at <= now:
                expected[other].append(at)
                del armed[other]
        run(heap, now)
    assert [bell.rung for bell in bells] == [expected[index] for index in range(5)]


def test_timers_are_those_of_the_rfc() -> None:
    timers = Timers()
    assert (timers.lifetime, timers.d, timers.t2, timers.t4, timers.e_reaches_t2) == (32.0, 32.0, 4.0, 5.0, 3.5)
    assert timers.c > 180.0
    assert Timers(t1=0.01).lifetime == 0.64
