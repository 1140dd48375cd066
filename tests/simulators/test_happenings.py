"""Waiting for what happens: nothing missed, nothing seen twice, nothing kept for ever."""

import asyncio

from simulators.happenings import KEPT, Happenings


async def test_what_happened_before_the_wait_is_found_and_before_the_mark_is_not() -> None:
    log = Happenings()
    log.add("early")
    mark = log.mark()
    log.add(1)
    log.add("late")
    assert await log.next(str, 0) == "early"
    assert await log.next(str, mark) == "late"
    assert log.find(float, 0) is None


async def test_a_waiting_reader_wakes_for_its_own_kind_only() -> None:
    log = Happenings()
    waiting = asyncio.ensure_future(log.next(str, 0, lambda text: text == "yes"))
    for happening in (1, "no", None, "yes", "yes"):
        await asyncio.sleep(0)
        assert not waiting.done() or happening == "yes"
        log.add(happening)
    assert await waiting == "yes"


async def test_readers_that_gave_up_harm_nobody() -> None:
    log = Happenings()
    quitter = asyncio.ensure_future(log.next(str, 0))
    stayer = asyncio.ensure_future(log.next(str, 0))
    await asyncio.sleep(0)
    quitter.cancel()
    await asyncio.gather(quitter, return_exceptions=True)
    log.add("x")
    assert await stayer == "x"


async def test_the_log_is_bounded_and_marks_still_hold() -> None:
    seen: list[object] = []
    log = Happenings(seen.append)
    for number in range(3 * KEPT):
        log.add(number)
    mark = log.mark()
    log.add(-1)
    assert await log.next(int, mark) == -1
    assert await log.next(int, 0) == 2 * KEPT + 1
    assert len(seen) == 3 * KEPT + 1
