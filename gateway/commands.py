"""Commands' part of the composition: the queue, its ways, and what wakes it."""

from collections.abc import Callable

from gateway.command_effects import CommandEffects, EnrolmentWindows
from gateway.command_queue import CommandQueue
from gateway.command_ways import CommandWays, Notify, Reach
from gateway.door_openings import DoorOpenings
from gateway.metrics import Metrics
from registry.read_model import ReadModel
from registry.store import Store
from registry.vault import Vault


def command_queue(
    *,
    store: Store,
    read_model: ReadModel,
    vault: Vault,
    metrics: Metrics,
    openings: DoorOpenings,
    reach: Reach,
    notify: Notify,
    registered: Callable[[str], bool],
    node: str,
    wall: Callable[[], float],
    clock: Callable[[], float],
    serial: Callable[[], int],
    windows: EnrolmentWindows | None = None,
) -> CommandQueue:
    """The node's queue, which follows `read_model`; start and stop it."""
    effects = CommandEffects(openings=openings, vault=vault, metrics=metrics, wall=wall, serial=serial, windows=windows)
    ways = CommandWays(reach, notify, registered)
    queue = CommandQueue(store, read_model, ways, effects, node=node, wall=wall, clock=clock)
    read_model.subscribe(queue.changed, queue.cleared)
    waiting = "portico_commands_devices_waiting", "Devices with commands that are not over."
    metrics.gauge(*waiting, (), lambda: [((), queue.waiting)])
    return queue
