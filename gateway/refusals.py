"""`RefusalBook`: auto-provisioning's refusals in the audit, added up, so that whoever is refused a million times fills no disk.

One entry a minute for each source (an IPv4 address, an IPv6 /64) and reason, with how often; of the ten that were refused most.
What is left is one more entry. So a node writes eleven entries a minute at most, whatever is done to it, and the metrics
have the exact numbers. A sweep is told at once, but counts among the ten.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from autop.observer import Reason
from autop.sweep import Sweep
from gateway.accept import source_of

MINUTE = 60.0
ENTRIES = 10
SOURCES = 1000
"""Pairs of source and reason told apart within a minute; further ones are only counted together."""


class Audit(Protocol):
    """`Logbook.audit`."""

    def __call__(self, *, actor: str, action: str, object: str, site: str, detail: str) -> None: ...


class Cancellable(Protocol):
    """What `call_later` gives."""

    def cancel(self) -> None: ...


class RefusalBook:
    """Adds up for a minute from the first refusal on, then writes."""

    def __init__(self, audit: Audit, later: Callable[[float, Callable[[], None]], Cancellable]) -> None:
        """`later` is the loop's call_later."""
        self._audit = audit
        self._later = later
        self._timer: Cancellable | None = None
        self._counted: Counter[tuple[str, Reason]] = Counter()
        self._others = 0
        self._sweeps = 0

    def __len__(self) -> int:
        """Pairs of source and reason that are told apart now."""
        return len(self._counted)

    def refused(self, peer: str, reason: Reason) -> None:
        """A request from this address was refused."""
        pair = source_of(peer), reason
        if pair in self._counted or len(self._counted) < SOURCES:
            self._counted[pair] += 1
        else:
            self._others += 1
        self._begin()

    def swept(self, sweep: Sweep) -> None:
        """A source became throttled."""
        if self._sweeps >= ENTRIES:
            return
        self._sweeps += 1
        self._write(
            "autop.sweep",
            f"source {sweep.source}",
            f"{sweep.misses} different guesses within a minute, {sweep.devices} devices proved themselves; throttled",
        )
        self._begin()

    def close(self) -> None:
        """Write what was added up. To be called once, before the logbook stops."""
        if self._timer is not None:
            self._timer.cancel()
        self._end()

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = self._later(MINUTE, self._end)

    def _end(self) -> None:
        self._timer = None
        counted, others = self._counted.most_common(), self._others
        most = max(0, ENTRIES - self._sweeps)
        self._counted, self._others, self._sweeps = Counter(), 0, 0
        for (source, reason), count in counted[:most]:
            self._write("autop.refused", f"source {source}", f"{reason.value}, {count} times within a minute")
        others += sum(count for _, count in counted[most:])
        if others:
            self._write("autop.refused", "other sources", f"{others} times within a minute")

    def _write(self, action: str, object: str, detail: str) -> None:
        self._audit(actor="autop", action=action, object=object, site="", detail=detail)
