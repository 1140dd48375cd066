"""Auto-provisioning's doorkeeping in the composition: logins, the watch for sweeps, and what is told of refusals."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from autop.digest import Digest
from autop.net.configurations import Configurations
from autop.net.guard import Guard
from autop.net.login import Logins
from autop.sweep import Sweep, Sweeps
from gateway.config import Config
from gateway.logbook import Logbook
from gateway.metrics import Metrics
from gateway.refusals import RefusalBook

Entropy = Callable[[int], bytes]


def device_logins(config: Config, secret: bytes, entropy: Entropy) -> Logins | None:
    """How devices log in whose URL holds no token; None: they do not."""
    if not config.autop.login_algorithms:
        return None
    clock = asyncio.get_running_loop().time
    algorithms = [name.encode() for name in config.autop.login_algorithms]
    return Logins(Digest(secret=secret, entropy=entropy, started=clock(), algorithms=algorithms), clock)


def refusal_book(logbook: Logbook, stack: AsyncExitStack) -> RefusalBook:
    """The book of refusals, which `stack` closes before what was put there earlier."""
    book = RefusalBook(logbook.audit, asyncio.get_running_loop().call_later)
    stack.callback(book.close)
    return book


def guarded(configurations: Configurations, refusals: RefusalBook, metrics: Metrics) -> tuple[Guard, Guard]:
    """The configurations as the listeners of HTTP and of TFTP may have them, each with a detector of sweeps before them.

    TFTP has its own, because its sources can be forged: whoever forges must not keep others from enrolling over HTTP."""
    both, clock = (Sweeps(), Sweeps()), asyncio.get_running_loop().time

    def told(sweep: Sweep) -> None:
        metrics.autop_sweeps.inc()
        refusals.swept(sweep)

    name, text = "portico_autop_throttled_sources", "Sources and networks that are throttled because they guess."
    metrics.gauge(name, text, (), lambda: [((), sum(sweeps.throttled(clock()) for sweeps in both))])
    http, tftp = (Guard(configurations, sweeps, told=told, clock=clock) for sweeps in both)
    return http, tftp
