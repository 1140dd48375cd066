"""A network namespace of the test's own, with a loopback that loses datagrams. Needs root and Debian's nftables and iproute2."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.system.peers import program

_CLONE_NEWNET = 0x40000000


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and every process it starts, are in a network of their own with nothing but loopback. PermissionError if we
    may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise PermissionError(ctypes.get_errno(), "a network namespace")
        try:
            subprocess.run([str(program("ip")), "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(home)


def lose(percent: int, port: int) -> None:
    """From now on lose so many datagrams in a hundred to this UDP port, and as many from it."""
    rules = "".join(f"udp {way} {port} numgen random mod 100 < {percent} counter name {way} drop\n" for way in ("dport", "sport"))
    counters = "counter dport { }\ncounter sport { }\n"
    table = f"table inet chaos {{\n{counters}chain in {{\ntype filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
    subprocess.run([str(program("nft")), "-f", "-"], input=table.encode(), check=True)


def lost() -> dict[str, int]:
    """How many datagrams were lost to the port ("dport") and from it ("sport")."""
    listed = subprocess.run([str(program("nft")), "list", "counters"], capture_output=True, text=True, check=True).stdout
    words = listed.split()
    return {words[at + 1]: int(words[at + 4]) for at, word in enumerate(words) if word == "counter"}


def add_address(address: str, interface: str) -> None:
    """Give an interface of this network one more address ("fe80::5/64")."""
    subprocess.run([str(program("ip")), "address", "add", address, "dev", interface, "nodad"], check=True)
