"""A LAN of the test's own, made of Linux network namespaces: a bridge, and at each of its ports a simulated device with its MAC.

    with lan() as network:                      # this thread is in a network of its own, at GATEWAY
        door = network.device(MAC, "10.77.0.11", settings={...})
        door.until("PageUp")

Needs root and Debian's iproute2 and util-linux; skips without.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry.mac import MacAddress
from tests.system.lossy_network import own_network
from tests.system.peers import ROOT

GATEWAY = "10.77.0.1"
_BRIDGE = "lan0"
WITHIN = 20.0
_DISCOVER = """
import asyncio
from registry.mac import MacAddress
from simulators.pnp import NothingOffered, discover
try:
    print(asyncio.run(discover(MacAddress("{mac}"), interface="{card}", seconds={seconds})))
except NothingOffered:
    pass
"""


class LanDevice:
    """One simulated device in a namespace of its own."""

    def __init__(self, process: "subprocess.Popen[str]", place: int) -> None:
        self._process = process
        self.place = place
        self.said: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self._errors: list[str] = []
        for read in (self._read, self._read_errors):
            threading.Thread(target=read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                self.said.append(json.loads(line))
                self._heard.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def tell(self, line: str) -> None:
        """A fault (`forget KEY`, `drop-more`)."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def until(self, what: str, since: int = 0, **facts: Any) -> dict[str, Any]:
        """Wait for a happening of this kind with these facts, behind the mark `since` (`len(said)`)."""
        end = time.monotonic() + WITHIN
        with self._heard:
            while True:
                for one in self.said[since:]:
                    if one["what"] == what and facts.items() <= one.items():
                        return one
                left = end - time.monotonic()
                assert left > 0, f"no {what} {facts} in {self.said[since:]}\n{''.join(self._errors)[-2000:]}"
                self._heard.wait(left)

    def count(self, what: str) -> int:
        """How often this has happened."""
        return sum(one["what"] == what for one in self.said)

    def inside(self, *command: str) -> str:
        """Run a program in the device's network; returns what it says."""
        return _run("nsenter", f"--net=/proc/{self._process.pid}/ns/net", *command)

    def asks_lan(self, mac: MacAddress, seconds: float = 5.0) -> str:
        """What a factory-fresh device with this MAC is told for its provisioning URL at this place (SIP PnP); "" for nothing."""
        card = f"eth{self.place}"
        self.inside("ip", "route", "replace", "224.0.0.0/4", "dev", card)
        return self.inside(sys.executable, "-c", _DISCOVER.format(mac=mac, card=card, seconds=seconds)).strip()

    def stop(self) -> None:
        """Its power is cut."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Lan:
    """The network: see the module."""

    def __init__(self) -> None:
        self.devices: list[LanDevice] = []

    def device(
        self,
        mac: MacAddress,
        address: str,
        *,
        settings: Mapping[str, str] | None = None,
        autop_url: str = "",
        ca: Path | None = None,
        https: bool = False,
    ) -> LanDevice:
        """Start a device at this address; its network card has this MAC."""
        words = [f"--setting={key}={value}" for key, value in (settings or {}).items()]
        words += ["--autop-url", autop_url] if autop_url else []
        words += ["--https"] if https else []
        words += ["--ca-file", str(ca)] if ca is not None else []
        program = [sys.executable, "-m", "simulators", "lan", "--mac", mac.text, "--address", address, *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'read go && exec "$@"', "sh", *program],
            cwd=ROOT,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            bufsize=1,
        )
        place = len(self.devices)
        device = LanDevice(process, place)
        self.devices.append(device)
        _until_apart(process.pid)
        outer, inner = f"port{place}", f"eth{place}"
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        _run("ip", "link", "set", outer, "master", _BRIDGE, "up")
        _run("ip", "link", "set", inner, "address", mac.colons.lower(), "netns", str(process.pid))
        device.inside("ip", "link", "set", "lo", "up")
        device.inside("ip", "addr", "add", f"{address}/24", "dev", inner)
        device.inside("ip", "link", "set", inner, "up")
        device.tell("go")
        return device

    def unplug(self, device: LanDevice) -> None:
        """Pull its network cable."""
        _run("ip", "link", "set", f"port{device.place}", "down")

    def plug(self, device: LanDevice) -> None:
        """Put it back."""
        _run("ip", "link", "set", f"port{device.place}", "up")


@contextlib.contextmanager
def lan() -> Iterator[Lan]:
    """The network, empty. Skips where it cannot be made."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(own_network())
            _run("ip", "link", "add", _BRIDGE, "type", "bridge")
            _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", _BRIDGE)
            _run("ip", "link", "set", _BRIDGE, "up")
        except (PermissionError, FileNotFoundError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        network = Lan()
        try:
            yield network
        finally:
            for device in network.devices:
                device.stop()


def _until_apart(pid: int) -> None:
    """Return once the process has its own network."""
    ours, end = os.readlink("/proc/thread-self/ns/net"), time.monotonic() + WITHIN
    while os.readlink(f"/proc/{pid}/ns/net") == ours:
        assert time.monotonic() < end, "unshare does not get on"
        time.sleep(0.005)


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
