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

from gateway.connector.autop_files import AutopFiles
from gateway.connector.commands import Commands
from gateway.connector.device_api import DeviceApi
from gateway.connector.device_list import DeviceList
from gateway.connector.neighbours import Neighbours
from gateway.connector.on_lan import URL_CALL, EnrolmentUrls, OnLan
from gateway.connector.options import Options
from gateway.connector.refusal import Refusal
from gateway.connector.targets import Targets
from gateway.connector.trust import certificate_shown, trusting
from gateway.connector.watch import Watch
from gateway.errors import StartError
from tunnel.frames import ALPN
from tunnel.handshake import Identity
from tunnel.messages import Result
from tunnel.net.agent import Agent, backoff

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
        channel_tls, autop_tls = await self._trust()
        urls = EnrolmentUrls(lambda name, body: agent.send_event(name, body))
        agent = Agent(
            host=options.host,
            port=options.port,
            identity=Identity(options.name, options.token.key),
            tls=channel_tls,
            entropy=os.urandom,
            serve=self._targets.serve,
            calls={**self._commands.calls(), "devices": self._take_list, URL_CALL: urls.told},
            on_state=self._turned,
            on_failure=self._failed,
        )
        self._watch = Watch(self._devices, self._targets, lambda seen: agent.send_event("devices-seen", {"devices": seen}))
        lan = OnLan(urls, AutopFiles(lambda: self._devices.autop, autop_tls), os.urandom)
        await self._answer_on_lan(lan)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(agent.run())
                tasks.create_task(self._watch.run())
        finally:
            await lan.stop()

    async def _answer_on_lan(self, lan: OnLan) -> None:
        options = self._options
        try:
            await lan.start(options.pnp, options.tftp)
        except OSError as error:
            await lan.stop()
            raise StartError(
                f"--pnp {','.join(options.pnp)} --tftp {options.tftp}: {error.strerror or error}. "
                "Name interfaces and an address of this machine; port 69 needs CAP_NET_BIND_SERVICE (docs/connector.md)"
            ) from None
        if options.pnp:
            self._say(f"PnP is answered on {', '.join(options.pnp)}, for devices that the gateway lets enrol")
        if options.tftp is not None:
            self._say(f"TFTP is served at {options.tftp[0]}:{options.tftp[1]}")

    async def _trust(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The contexts for the channel and for autop."""
        options = self._options
        if not options.ca_sha256:
            ca_file = str(options.ca) if options.ca is not None else None
            try:
                return trusting(ALPN, ca_file=ca_file), trusting("http/1.1", ca_file=ca_file)
            except OSError as error:  # ssl.SSLError is one
                raise StartError(f"--ca {options.ca}: {error}") from None
        failures = 0
        while True:
            try:
                shown = await certificate_shown(options.host, options.port, options.ca_sha256)
                return trusting(ALPN, certificate=shown), trusting("http/1.1", certificate=shown)
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
