"""`portico connector` from start to stop: one link to the gateway, what comes over it done on the LAN, and a word about it."""

import asyncio
import os
import random
import signal
import ssl
import sys
from collections.abc import Callable, Mapping
from typing import Any

import uvloop

from gateway.connector.commands import Commands
from gateway.connector.device_api import DeviceApi
from gateway.connector.device_list import DeviceList
from gateway.connector.neighbours import Neighbours
from gateway.connector.options import Options
from gateway.connector.refusal import Refusal
from gateway.connector.targets import Targets
from gateway.connector.trust import certificate_shown, pinned_context
from gateway.connector.watch import Watch
from gateway.errors import StartError
from tunnel.handshake import Identity
from tunnel.messages import Result
from tunnel.net.agent import Agent, backoff, client_context

Say = Callable[[str], None]


class ConnectorProgram:
    """See the module. `say` is told each turn in one line for people."""

    def __init__(self, options: Options, say: Say) -> None:
        self._options = options
        self._say = say
        self._devices = DeviceList()
        self._targets = Targets(self._devices, Neighbours())
        self._commands = Commands(self._devices, DeviceApi(self._targets, os.urandom))

    async def run(self) -> None:
        """Until cancelled. Raises StartError for a CA file that cannot be used."""
        options = self._options
        self._say(f"connector {options.name}, token {options.name.number}; the gateway is {options.host}:{options.port}")
        tls = await self._trust()
        agent = Agent(
            host=options.host,
            port=options.port,
            identity=Identity(options.name, options.token.key),
            tls=tls,
            entropy=os.urandom,
            dial=self._targets.dial,
            calls={**self._commands.calls(), "devices": self._take_list},
            on_state=self._turned,
            on_failure=self._failed,
        )
        self._watch = Watch(self._devices, self._targets, lambda seen: agent.send_event("devices-seen", {"devices": seen}))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(agent.run())
            tasks.create_task(self._watch.run())

    async def _trust(self) -> ssl.SSLContext:
        options = self._options
        if not options.ca_sha256:
            try:
                return client_context(ca_file=str(options.ca) if options.ca is not None else None)
            except OSError as error:  # ssl.SSLError is one
                raise StartError(f"--ca {options.ca}: {error}") from None
        failures = 0
        while True:
            try:
                return pinned_context(await certificate_shown(options.host, options.port, options.ca_sha256))
            except (OSError, TimeoutError) as error:
                failures += 1
                pause = backoff(failures, random.random())  # noqa: S311 spreads tries, guards nothing
                self._failed(str(error) or type(error).__name__, pause)
                await asyncio.sleep(pause)

    async def _take_list(self, body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        try:
            whole = self._devices.page(body)
        except Refusal as refusal:
            return Result(b"", False, {"error": refusal.why.word})
        if whole:
            count, placed = len(self._devices), sum(bool(one.address) for one in self._devices.all())
            self._say(f"the gateway lists {count} devices of this site, {placed} of them with a LAN address")
            self._watch.list_changed()
        return {"devices": len(self._devices)}

    def _turned(self, state: str) -> None:
        self._devices.forget()
        if state == "up":
            self._say("connected")

    def _failed(self, error: str, pause: float) -> None:
        hint = ". Is the token revoked or replaced? Make a new one in the admin API" if "not authorised" in error else ""
        self._say(f"not connected: {error}{hint}. Next try in {pause:.0f} s")


def run_connector(options: Options) -> int:
    """Run until SIGTERM or Ctrl-C. Returns the exit status; raises StartError."""

    def say(line: str) -> None:
        print(f"portico connector: {line}", flush=True)  # journald and docker add the time

    async def whole_life() -> None:
        running = asyncio.ensure_future(ConnectorProgram(options, say).run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            say("stopped")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    if hasattr(os, "geteuid") and os.geteuid() == 0:
        print("portico connector: it needs no root: run it as a user of its own (docs/connector.md)", file=sys.stderr)
    uvloop.run(whole_life())
    return 0
