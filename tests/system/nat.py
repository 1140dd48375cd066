"""Networks behind NATs of their own, made of Linux network namespaces: every phone in them has the same private address.

    with nats(2) as (gateway_host, (first, second)):
        with first.inside():
            ...  # sockets made here live in that network, also after the block

The gateway runs outside, on `gateway_host`; what leaves a namespace is masqueraded to a public address of its own.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PRIVATE = "192.168.1.20"
"""The address of every phone, in its own network."""
_BRIDGE = "ptcnat"
_NET = "203.0.113"
_CLONE_NEWNET = 0x40000000


class Nat:
    """One network behind a NAT. `public` is the address that the world sees."""

    def __init__(self, number: int) -> None:
        self.name = f"ptcnat{number}"
        self.public = f"{_NET}.{number + 1}"

    def make(self) -> None:
        outer = f"{self.name}o"
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _run("ip", "link", "set", outer, "master", _BRIDGE, "up")
        inside = ("ip", "-n", self.name)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "addr", "add", f"{PRIVATE}/32", "dev", "lo")
        _run(*inside, "addr", "add", f"{self.public}/24", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "route", "replace", f"{_NET}.1/32", "dev", "eth0", "src", PRIVATE)
        rules = (
            "table ip nat { chain out { type nat hook postrouting priority 100; oifname eth0 masquerade random; }; }\n"
            # As a home router: nothing comes in that was not asked for.
            "table ip filter { chain in { type filter hook input priority 0; policy accept;"
            " iifname eth0 ct state new,invalid meta l4proto udp drop; }; }\n"
        )
        _run("ip", "netns", "exec", self.name, "nft", "-f", "-", text=rules)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread makes its sockets in there."""
        libc = ctypes.CDLL(None, use_errno=True)
        home, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if libc.setns(there, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(home, _CLONE_NEWNET):
                    os._exit(70)  # the rest of the run would be in the wrong network
        finally:
            os.close(home)
            os.close(there)


@contextmanager
def nats(count: int) -> Iterator[tuple[str, list[Nat]]]:
    """The address outside, and the networks. Skips where they cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: {'iproute2' if program == 'ip' else 'nftables'})")
    made = [Nat(number) for number in range(1, count + 1)]
    try:
        try:
            _run("ip", "link", "add", _BRIDGE, "type", "bridge")
            _run("ip", "addr", "add", f"{_NET}.1/24", "dev", _BRIDGE)
            _run("ip", "link", "set", _BRIDGE, "up")
            for nat in made:
                nat.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.cmd[:4]}: {error.stderr.strip()}")
        yield f"{_NET}.1", made
    finally:
        for nat in made:
            nat.remove()
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True, check=False)


def _run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, input=text, capture_output=True, text=True, check=True)
