"""What the functions that compose a node share: what every part stands on, and what the node knows. No parts of the node."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.config import Config
from gateway.listeners import Listeners
from gateway.metrics import Metrics
from registry.read_model import ReadModel
from registry.store import Store
from registry.vault import Vault


@dataclass(frozen=True, slots=True)
class Ground:
    """The configuration, where to count and to listen, clocks and chance; `stack` stops what was started, in reverse.

    `wall`: seconds since the epoch; `clock`: the loop's monotonic seconds; `grace()`: the seconds that open work gets at the end.
    """

    config: Config
    metrics: Metrics
    listeners: Listeners
    stack: AsyncExitStack
    wall: Callable[[], float]
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]
    grace: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Known:
    """The registry as this node has it: the store, its copy in memory, and what opens its secrets."""

    store: Store
    read_model: ReadModel
    vault: Vault
