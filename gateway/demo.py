"""`portico demo`: a gateway with a demo site, and simulated devices that do the main job once.

The devices run in a process of their own (`python -m simulators demo`), over real sockets, and learn everything a real
device would: their autop URL. The demo keeps to 127.0.0.1 and takes another port where a usual one is busy.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

from gateway import config_file as configuration
from gateway.config import Config, Listen
from gateway.run import run_node

CHILD_GRACE = 10.0
"""Seconds the simulated devices get to say goodbye when the demo ends."""


def run_demo(config_file: Path | None, state: Path, *, once: bool) -> int:
    """Run the demo until Ctrl-C, or until the call is over with `once`. Returns the exit status. Raises StartError."""
    config = configuration.load(config_file) if config_file else demo_config()

    async def companion(ready_file: Path, stop: asyncio.Event) -> int:
        flags = ["--ready-file", str(ready_file), *(["--once"] if once else [])]
        child = await asyncio.create_subprocess_exec(sys.executable, "-m", "simulators", "demo", *flags)
        finished = asyncio.ensure_future(child.wait())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({finished, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(CHILD_GRACE):
                    await asyncio.shield(finished)
            except TimeoutError:
                child.kill()
                await finished
            return 0
        stopping.cancel()
        return finished.result()

    return run_node(config, state, None, companion)


def demo_config() -> Config:
    """Loopback only, the usual ports where they are free, warnings only in the log so that the transcript is readable."""
    listen = {"address": "127.0.0.1"}
    ports = {}
    for name, field in Listen.model_fields.items():
        if isinstance(field.default, int) and field.default > 0:
            kind = socket.SOCK_DGRAM if name.endswith("udp") else socket.SOCK_STREAM
            ports[name] = field.default if _is_free(kind, field.default) else 0
    return configuration.parse({"listen": {**listen, **ports}, "log": {"level": "warning"}}, "demo")


def _is_free(kind: socket.SocketKind, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
