"""Carries pushes to the push services: each within its deadline, so many at once, and none in the way of another service's."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from gateway.push.http_client import HttpError
from gateway.push.outcome import Driver, Notice, Outcome
from sip.directory import PushParameters
from sip.events import Push

DEADLINE = 3.0
"""Seconds a push may take, the wait for its turn included."""
CONCURRENCY = 64
"""Requests to one push service at a time."""
MAX_WAITING = 5_000
"""Pushes under way; past it one more is refused at once."""
_log = logging.getLogger("portico.push")


class PushSender:
    """`told(serial, accepted, reason)` is called once for each push, `dead(account, prid)` for an installation that is gone,
    `count(provider, purpose, outcome)` for each app that was pushed. All in the loop."""

    def __init__(
        self,
        drivers: Sequence[Driver],
        *,
        told: Callable[[int, bool, str], None],
        dead: Callable[[str, str], None],
        count: Callable[[str, str, str], None],
        deadline: float = DEADLINE,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._drivers = {provider: driver for driver in reversed(drivers) for provider in driver.providers}
        self._places = {id(driver): asyncio.Semaphore(concurrency) for driver in drivers}
        self._told = told
        self._dead = dead
        self._count = count
        self._deadline = deadline
        self._tasks: set[asyncio.Task[None]] = set()

    def providers(self) -> tuple[str, ...]:
        """The push services that have a driver."""
        return tuple(sorted(self._drivers))

    def send(self, push: Push) -> None:
        """Begin to carry out a push of the SIP core. Never blocks, never raises."""
        loop = asyncio.get_running_loop()
        if len(self._tasks) >= MAX_WAITING:
            self._count("all", push.purpose, Outcome.BUSY)
            loop.call_soon(self._told, push.serial, False, Outcome.BUSY.value)
            return
        task = loop.create_task(self._run(push))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what is under way and close the connections."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for driver in {id(one): one for one in self._drivers.values()}.values():
            driver.close()

    async def _run(self, push: Push) -> None:
        outcomes = await asyncio.gather(*[self._one(push, app) for app in push.apps])
        accepted = Outcome.ACCEPTED in outcomes
        reason = "" if accepted else outcomes[0].value if outcomes else Outcome.NO_DRIVER.value
        self._told(push.serial, accepted, reason)

    async def _one(self, push: Push, app: PushParameters) -> Outcome:
        driver = self._drivers.get(app.provider)
        outcome = Outcome.NO_DRIVER if driver is None else await self._deliver(driver, _notice(push, app))
        if outcome is Outcome.DEAD_TOKEN:
            self._dead(push.account, app.prid)
        self._count(app.provider if driver is not None else "other", push.purpose, outcome)
        return outcome

    async def _deliver(self, driver: Driver, notice: Notice) -> Outcome:
        try:
            async with asyncio.timeout(self._deadline), self._places[id(driver)]:
                return await driver.send(notice)
        except TimeoutError:
            return Outcome.TIMEOUT
        except HttpError as error:
            return Outcome.REFUSED if error.began else Outcome.UNREACHABLE
        except Exception as error:
            # A bug in a driver costs this push only. The error's text may hold what must not be logged.
            _log.error("a push driver failed: %s", type(error).__name__)
            return Outcome.REFUSED


def _notice(push: Push, app: PushParameters) -> Notice:
    return Notice(
        purpose=push.purpose,
        account=push.account,
        provider=app.provider,
        prid=app.prid,
        param=app.param,
        call_id=push.call_id,
        site=push.site,
        caller=push.caller,
        dialled=push.dialled,
        reason=push.reason,
        seconds=max(1, round(push.seconds)),
    )
