"""What every test gets: the gateway's own reactor, async tests, no logged error left unseen, no socket in a unit test.

`async def` tests run on Twisted's asyncio reactor over uvloop, the loop the gateway ships with (docs/decisions/0002),
so that a store, a shell and a simulator behave here as they do in a node.
"""

import asyncio
import inspect
import os
from collections.abc import Generator
from typing import Any

import uvloop
from hypothesis import HealthCheck, settings

_LOOP = uvloop.new_event_loop()
asyncio.set_event_loop(_LOOP)

from twisted.internet import asyncioreactor  # noqa: E402

asyncioreactor.install(_LOOP)  # type: ignore[no-untyped-call]

import pytest  # noqa: E402
import pytest_twisted  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher  # noqa: E402
from zope.interface import provider  # noqa: E402

from gateway import compiled  # noqa: E402

COMPILED = os.environ.get("PORTICO_COMPILED") == "1"
"""Test the compiled form of the SIP core (`make compile` first) instead of its sources."""
if COMPILED and compiled.use() != "compiled":
    raise SystemExit(f"PORTICO_COMPILED=1, but what would run is {compiled.form()}")

settings.register_profile("fast", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("night", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")

ASYNC_TEST_DEADLINE = 60.0
"""Seconds after which an async test is failed rather than left hanging."""
SLOW_TEST_DEADLINE = 590.0
"""The same for those marked slow; below the faulthandler_timeout of `make test-slow`."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test as a task of the shared loop and wait for it from pytest-twisted's greenlet."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    deadline = SLOW_TEST_DEADLINE if pyfuncitem.get_closest_marker("slow") else ASYNC_TEST_DEADLINE
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        async with asyncio.timeout(deadline):
            await pyfuncitem.obj(**arguments)

    pytest_twisted.blockon(Deferred.fromFuture(asyncio.ensure_future(bounded(), loop=_LOOP)))
    return True


@pytest.fixture(autouse=True)
def unhandled_errors() -> Generator[list[Any], None, None]:
    """Fail the test if Twisted's log or the loop's exception callback saw an error nobody handled."""
    seen: list[Any] = []

    @provider(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            seen.append(event.get("log_failure") or event.get("log_format") or event)

    def on_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        seen.append(context.get("exception") or context.get("message"))

    globalLogPublisher.addObserver(observe)
    _LOOP.set_exception_handler(on_loop_error)
    yield seen
    globalLogPublisher.removeObserver(observe)
    _LOOP.set_exception_handler(None)
    assert not seen, f"errors were logged and not handled: {seen}"
