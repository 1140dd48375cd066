"""Whether a client has taken every byte of an answer: what its TCP has acknowledged is as much as a server can know.

On Linux the kernel tells how much of what was written is still unacknowledged or unsent (SIOCOUTQ, tcp(7)).
"""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios

FIRST_LOOK, LAST_LOOK = 0.005, 0.25
"""Seconds between two looks; doubled from the first to the last."""


class Acknowledgement:
    """Watches one connection from the write of an answer on. Holds a descriptor of its own for the socket, until `end`: a client
    that closes as soon as it has all takes the loop's away before the last look."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Raises OSError where no descriptor is left, or the socket is gone already."""
        found = transport.get_extra_info("socket")
        if found is None or transport.is_closing():
            raise OSError("the connection is closed")
        self._transport = transport
        self._socket = os.dup(found.fileno())

    def is_complete(self) -> bool:
        """Whether nothing is on its way any more. Also right once the connection is lost, until `end`."""
        if self._socket < 0 or self._transport.get_write_buffer_size():
            return False
        with contextlib.suppress(OSError):
            (octets,) = struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))
            return int(octets) == 0
        return False

    def end(self) -> None:
        """Let go of the socket."""
        if self._socket >= 0:
            os.close(self._socket)
        self._socket = -1
