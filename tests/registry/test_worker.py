"""The thread behind the SQLite engine: order, taking together, defects, cancellation, stopping."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from registry.engines.worker import MAX_TOGETHER, Answer, Worker
from registry.errors import StoreUnavailable


class EchoDesk:
    """Answers each number with itself; waits at a gate; fails where told."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.taken: list[int] = []
        self.threads: set[int] = set()
        self.closed = 0

    def serve(self, requests: Sequence[int]) -> Sequence[Answer]:
        self.gate.wait(10)
        self.threads.add(threading.get_ident())
        self.taken.append(len(requests))
        if -1 in requests:
            raise LookupError("a defect")
        return [Answer(error=ValueError(str(request))) if request % 10 == 9 else Answer(request) for request in requests]

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


async def test_each_gets_its_own_answer_from_one_other_thread() -> None:
    desk = EchoDesk()
    worker = Worker("test", desk)
    outcomes = await asyncio.gather(*[worker.ask(number) for number in range(1000)], return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        assert str(outcome) == str(number)
        assert isinstance(outcome, ValueError) == (number % 10 == 9)
    await worker.stop()
    assert desk.closed == 1
    assert len(desk.threads) == 1
    assert threading.get_ident() not in desk.threads


async def test_what_waits_together_is_taken_together_within_the_bound() -> None:
    desk = EchoDesk()
    desk.gate.clear()
    worker = Worker("test", desk)
    asked = [asyncio.ensure_future(worker.ask(0)) for _ in range(2 * MAX_TOGETHER + 10)]
    await asyncio.sleep(0)
    desk.gate.set()
    await asyncio.gather(*asked)
    await worker.stop()
    assert max(desk.taken) == MAX_TOGETHER
    assert sum(desk.taken) == 2 * MAX_TOGETHER + 10
    assert len(desk.taken) <= 4


async def test_a_defect_of_the_desk_reaches_the_callers_and_the_next_is_served() -> None:
    worker = Worker("test", EchoDesk())
    with pytest.raises(LookupError):
        await worker.ask(-1)
    assert await worker.ask(1) == 1
    await worker.stop()


async def test_a_cancelled_caller_leaves_the_others_their_answers_and_is_noted() -> None:
    desk = EchoDesk()
    desk.gate.clear()
    noted: list[int] = []
    worker = Worker("test", desk, lambda answer: noted.append(answer.value))
    asked = [asyncio.ensure_future(worker.ask(number)) for number in range(5)]
    await asyncio.sleep(0)
    asked[2].cancel()
    desk.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 3, 4]
    assert isinstance(outcomes[2], asyncio.CancelledError)
    await worker.stop()
    assert noted == [0, 1, 2, 3, 4]


async def test_stopping_finishes_what_was_asked_and_refuses_what_comes_after() -> None:
    desk = EchoDesk()
    desk.gate.clear()
    worker = Worker("test", desk)
    asked = [asyncio.ensure_future(worker.ask(number)) for number in range(5)]
    await asyncio.sleep(0)
    stopping = [asyncio.ensure_future(worker.stop()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await worker.ask(6)
    stopping[0].cancel()
    desk.gate.set()
    assert await asyncio.gather(*asked) == [0, 1, 2, 3, 4]
    await stopping[1]
    await worker.stop()
    assert desk.closed == 1
