"""Pacing: commands after which devices register and fetch anew leave one after the other, at each site and at the node. Pure."""

from registry.command_states import PACED
from registry.commands import Command, Priority

SITE_SECONDS = 0.5
"""Between two such commands at one site."""
NODE_PER_SECOND = 10
"""Of one node: each means a TLS handshake, a fetch and a REGISTER soon after."""
MAX_SITES = 10_000


class Pace:
    """Gives each paced command a moment of its own, once."""

    def __init__(self, site_seconds: float = SITE_SECONDS, node_per_second: int = NODE_PER_SECOND) -> None:
        self._site_seconds = site_seconds
        self._node_per_second = node_per_second
        self._taken: dict[int, int] = {}
        """How many moments of each second are given away."""
        self._sites: dict[str, float] = {}
        self._moments: dict[str, float] = {}

    def wait(self, command: Command, now: float) -> float:
        """Seconds until the command may go: 0 now. The first call of a command reserves its moment; `forget` when it is over."""
        if command.name not in PACED or command.priority is Priority.EMERGENCY:
            return 0.0
        moment = self._moments.get(command.id)
        if moment is None:
            moment = self._moments[command.id] = self._reserve(command.site, now)
        return max(0.0, moment - now)

    def forget(self, command: str) -> None:
        """The command is over."""
        self._moments.pop(command, None)

    def _reserve(self, site: str, now: float) -> float:
        moment = max(now, self._sites.pop(site, now))
        while self._taken.get(int(moment), 0) >= self._node_per_second:
            moment = int(moment) + 1.0
        self._taken[int(moment)] = self._taken.get(int(moment), 0) + 1
        for second in [second for second in self._taken if second < int(now)]:
            del self._taken[second]
        self._sites[site] = moment + self._site_seconds
        if len(self._sites) > MAX_SITES:
            del self._sites[next(iter(self._sites))]
        return moment
