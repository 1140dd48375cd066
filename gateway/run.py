"""`portico run`: one node in the foreground, from the state folder's lock to a clean stop.

The main flow of the process: take the state folder, install the loop, build the node, start its listeners, say where they
are, wait for a signal, drain, stop. SIGTERM and SIGINT stop; SIGHUP reloads the certificates.
"""

import asyncio
import gc
import json
import logging
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import logs, loop
from gateway.config import Config
from gateway.errors import StartError
from gateway.state import StateFolder, open_state, write_atomically
from gateway.version import VERSION

GC_THRESHOLDS = (20_000, 20, 20)
"""Collections are rarer than Python's default (700, 10, 10): what a message leaves behind is freed by its reference count."""
STOP_GRACE = 5.0
"""Seconds that open work gets to finish when the node stops."""
_log = logging.getLogger("portico.run")

Companion = Callable[[Path, asyncio.Event], Awaitable[int]]
"""Work beside a running node (the demo): gets the ready file and the stop event, returns an exit status."""


def run_node(config: Config, state: Path, ready_file: Path | None, companion: Companion | None = None) -> int:
    """Run a node until it is told to stop. Returns the exit status. Raises StartError if it cannot start."""
    folder = open_state(state)
    _take_all_descriptors()
    errors = logs.begin(config.node, VERSION, config.log.level)
    event_loop = loop.install()
    from twisted.internet import reactor

    outcome: list[int | BaseException] = []

    async def whole_life() -> None:
        try:
            outcome.append(await _live(config, folder, ready_file, errors, companion))
        except BaseException as error:
            outcome.append(error)
        finally:
            reactor.stop()

    def begin() -> None:
        event_loop.create_task(whole_life(), name="node")

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    folder.lock.close()
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _take_all_descriptors() -> None:
    """Each device on TCP holds a descriptor, and the soft limit is often 1,024. The hard limit is what the operator allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _live(
    config: Config, folder: StateFolder, ready_file: Path | None, errors: logs.CountErrors, companion: Companion | None
) -> int:
    from gateway.build import Node  # late: it imports the packages, which must not meet another reactor

    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    node = Node(config, folder, errors, wall=time.time)
    try:
        await node.start()
        running.add_signal_handler(signal.SIGHUP, node.reload)
        _settle()
        # Told before the ready file: whoever waits for the file finds all of it said.
        _tell(node.welcome.places() if companion else node.welcome.lines())
        ready = json.dumps(node.ready_facts(), indent=1).encode() + b"\n"
        write_atomically(folder.path / "ready.json", ready)
        if ready_file is not None:
            write_atomically(ready_file, ready)
        if companion is not None:
            return await companion(folder.path / "ready.json", stop)
        await stop.wait()
        return 0
    except OSError as error:
        raise StartError(str(error)) from error
    finally:
        (folder.path / "ready.json").unlink(missing_ok=True)
        _log.info("stopping")
        await node.stop(STOP_GRACE)


def _settle() -> None:
    """Take modules and everything else that is there after the start out of the collector's sight: a full collection stops the
    loop for 71 ms with 50,000 registrations (measured: reliability-and-security.md, finding 11)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _tell(lines: list[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()
