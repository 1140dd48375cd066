"""Who is on this machine's LAN, as its kernel knows: the neighbour table, and which addresses are its own. IPv4."""

import socket
from pathlib import Path

from registry.connector import private_address
from registry.errors import MalformedMac
from registry.mac import MacAddress

ARP = Path("/proc/net/arp")
MAX_TABLE = 4 * 1024 * 1024
_COMPLETE = 0x2
"""ATF_COM: the entry has been answered."""


class Neighbours:
    """Reads the table anew on each question: a kernel keeps some hundred entries, and they change under us."""

    def __init__(self, table: Path = ARP) -> None:
        self._table = table

    def mac_of(self, address: str) -> MacAddress | None:
        """Who has this address, None if the kernel does not know: nobody answered, or it is behind a router."""
        return next((mac for ip, mac in self._entries() if ip == address), None)

    def address_of(self, mac: MacAddress) -> str:
        """The private address at which this MAC was heard last, "" if it was not or at more than one."""
        found = [ip for ip, heard in self._entries() if heard == mac and private_address(ip)]
        return found[0] if len(found) == 1 else ""

    def is_own(self, address: str) -> bool:
        """Whether the address is this machine's: only then can a socket be bound to it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
            return True

    def _entries(self) -> list[tuple[str, MacAddress]]:
        try:
            with self._table.open(encoding="ascii", errors="replace") as table:
                return read_table(table.read(MAX_TABLE))
        except OSError:
            return []


def read_table(text: str) -> list[tuple[str, MacAddress]]:
    """The complete entries of /proc/net/arp: address and MAC. Lines that are none are skipped."""
    found = []
    for line in text.split("\n")[1:]:
        words = line.split()
        if len(words) < 4 or not words[2].startswith("0x"):
            continue
        try:
            if int(words[2], 16) & _COMPLETE:
                found.append((words[0], MacAddress.parse(words[3])))
        except (ValueError, MalformedMac):
            continue
    return found
