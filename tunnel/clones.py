"""Notices that two devices use one MAC and its key: their links evict each other in turn.

A device that moved (another network, a new address) evicts its own half-open link once, and nobody comes back from the old
address. A clone and its original both come back, each from its own. So what counts is a return: a link from an address that
another address evicted a while ago evicts that other one. (Two behind one address look like one device that restarts; the
rate of `portico_channel_links_total{event="replaced"}` is all that shows them.)
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from registry.mac import MacAddress

MOST_RETURNS = 3
WITHIN = 600.0
"""Seconds in which so many returns make a clone."""
REFUSED_FOR = 600.0
"""Seconds in which further links of a cloned MAC are refused. The one that stands is left: nobody here knows which is which."""
MOST_DEVICES = 10_000
"""MACs that are watched at once; the one that was quiet longest is forgotten."""


@dataclass(slots=True)
class _Trace:
    """What one MAC did lately."""

    evicted: dict[str, float] = field(default_factory=dict)
    """Address -> when a link from it was evicted by one from elsewhere."""
    returns: list[float] = field(default_factory=list)
    refused_until: float = 0.0


class CloneWatch:
    """Of one listener. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._traces: OrderedDict[MacAddress, _Trace] = OrderedDict()

    def refuses(self, mac: MacAddress, now: float) -> bool:
        """Whether links of this MAC are refused now."""
        trace = self._traces.get(mac)
        return trace is not None and now < trace.refused_until

    def replaced(self, mac: MacAddress, older: str, newer: str, now: float) -> tuple[str, ...]:
        """A link from address `newer` evicted one from `older`. Returns the addresses if that is a clone, else nothing."""
        if older == newer:
            return ()
        trace = self._traces.pop(mac, None) or _Trace()
        self._traces[mac] = trace
        if len(self._traces) > MOST_DEVICES:
            self._traces.popitem(last=False)
        trace.evicted = {address: at for address, at in trace.evicted.items() if at > now - WITHIN}
        trace.returns = [at for at in trace.returns if at > now - WITHIN]
        if newer in trace.evicted:
            trace.returns.append(now)
        trace.evicted[older] = now
        if len(trace.returns) < MOST_RETURNS:
            return ()
        trace.returns.clear()
        trace.refused_until = now + REFUSED_FOR
        return (older, newer)
