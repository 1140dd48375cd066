"""Waiting for a coroutine from where nothing can be awaited: fixtures, and the rules of a hypothesis state machine."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest_twisted
from twisted.internet.defer import Deferred

from tests.conftest import _LOOP

T = TypeVar("T")


def wait(work: Coroutine[Any, Any, T], seconds: float = 30.0) -> T:
    """The coroutine's result, run on the reactor's loop. Raises what it raises, and TimeoutError after `seconds`."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work

    result: T = pytest_twisted.blockon(Deferred.fromFuture(asyncio.ensure_future(bounded(), loop=_LOOP)))
    return result
