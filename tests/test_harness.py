"""The test tools themselves: an async test runs on uvloop, and a logged error would fail a test."""

import asyncio

from twisted.internet import reactor
from twisted.logger import Logger


async def test_async_tests_run_on_the_shipped_loop() -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    fired = asyncio.Event()
    reactor.callLater(0, fired.set)
    await asyncio.wait_for(fired.wait(), 5)


def test_a_logged_error_is_seen(unhandled_errors: list[object]) -> None:
    Logger().error("said on purpose")
    assert unhandled_errors == ["said on purpose"]
    unhandled_errors.clear()
