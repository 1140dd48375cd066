"""One TFTP transfer to one client: RFC 1350's sender with options (RFC 2347 to 2349) and windows (RFC 7440).

Rules of this file:
1. Everything that changes `state` is a row of the table below. A row is (state, input) -> (next state, effects).
2. An input without a row does nothing. So a repeated ACK sends nothing again (the Sorcerer's Apprentice): what is lost comes
   again by the timer alone, which doubles each time.
3. Until the client has acknowledged anything it may not exist: it gets the OACK or the first block, and that again a few
   times, and nothing more.

      (offer) --> OFFERED --ACK 0--+                     ERROR, too many repeats, out of time --> FAILED
                                   v                     (from OFFERED, FIRST and SENDING)
      (no offer) -> FIRST -ACK-> SENDING --ACK of the last block--> DONE
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from autop.tftp_packets import MAX_BLOCK, Mode, PeerError, ReadRequest, data, netascii, oack, parse_reply

DEFAULT_BLOCK: Final = 512
LEAST_BLOCK: Final = 8
FIRST_WAIT: Final = 1.0
"""Seconds until a repeat where the client asked for no other time."""
LONGEST_WAIT: Final = 8.0
"""Doubling goes no further than this, or than what the client asked for."""
UNPROVEN_REPEATS: Final = 3
"""Repeats for a client that has acknowledged nothing: its address may be somebody else's."""
REPEATS: Final = 5
"""Repeats without progress for one that has."""
TOTAL_SECONDS: Final = 300.0
"""All of a transfer, whatever progress it makes."""

OFFERED: Final = "Offered"
FIRST: Final = "First block"
SENDING: Final = "Sending"
DONE: Final = "Done"
FAILED: Final = "Failed"

ACK: Final = "ACK of something new"
LAST_ACK: Final = "ACK of the last block"
GIVEN_UP: Final = "ERROR"
REPEAT: Final = "repeat timer"
TOO_LONG: Final = "no progress, or out of time"


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """`block`: octets of one DATA that we agree to. 1428 with its headers fits a path of 1480 octets over IPv4 and IPv6: an
    Ethernet, with a PPPoE or small tunnel header to spare. `window`: blocks sent before an ACK (RFC 7440)."""

    block: int = 1428
    window: int = 16


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a transfer runs by. `accepted` is what the OACK says; empty: there is none, and the first block answers."""

    block: int = DEFAULT_BLOCK
    window: int = 1
    wait: float = FIRST_WAIT
    accepted: tuple[tuple[bytes, int], ...] = ()


def agree(request: ReadRequest, size: int, limits: TransferLimits) -> Agreed:
    """What becomes of a request's options for a file of `size` octets: too large is clamped, what makes no sense left out."""
    block, window, wait = DEFAULT_BLOCK, 1, FIRST_WAIT
    accepted: list[tuple[bytes, int]] = []
    for name, value in request.options:
        if name == b"blksize" and value >= LEAST_BLOCK:
            block = min(value, limits.block, MAX_BLOCK)
            accepted.append((name, block))
        elif name == b"timeout" and 1 <= value <= 255:
            wait = float(value)
            accepted.append((name, value))
        elif name == b"tsize" and request.mode is Mode.OCTET:  # in netascii the sizes on the two sides differ
            accepted.append((name, size))
        elif name == b"windowsize" and 1 <= value <= 65535:
            window = min(value, limits.window)
            accepted.append((name, window))
    return Agreed(block, window, wait, tuple(accepted))


class TftpTransfer:
    """One transfer. Give it what the client sends and the time; take the datagrams that go out after each call.

    Blocks are counted from 1 without wrapping; the last one is shorter than the block size, empty where the size is a multiple.
    """

    __slots__ = (
        "_acked",
        "_agreed",
        "_body",
        "_ends_at",
        "_last",
        "_out",
        "_repeat_at",
        "_repeats",
        "_sent",
        "state",
    )

    def __init__(self, request: ReadRequest, body: bytes, now: float, limits: TransferLimits | None = None) -> None:
        """`body` is the file; `now` in monotonic seconds."""
        self._agreed = agree(request, len(body), limits or TransferLimits())
        self._body = body if request.mode is Mode.OCTET else netascii(body)
        self._last = len(self._body) // self._agreed.block + 1
        self._acked = 0
        self._sent = 0
        self._repeats = 0
        self._out: list[bytes] = []
        self._ends_at = now + TOTAL_SECONDS
        self._repeat_at = now
        self.state = OFFERED if self._agreed.accepted else FIRST
        (send_offer if self._agreed.accepted else send_window)(self, now)

    @property
    def is_over(self) -> bool:
        """Whether nothing will come of it any more."""
        return self.state is DONE or self.state is FAILED

    @property
    def is_complete(self) -> bool:
        """Whether the client has acknowledged every octet."""
        return self.state is DONE

    @property
    def is_proven(self) -> bool:
        """Whether the client has acknowledged anything, so that its address is its own."""
        return self.state is SENDING or self.state is DONE

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram came from the client's own port. Anything unfit is ignored."""
        packet = parse_reply(datagram)
        if packet is None:
            return
        if isinstance(packet, PeerError):
            self._step(GIVEN_UP, now)
            return
        # How far this ACK reaches beyond the last one, modulo 65536: an old one seems to lie far ahead.
        new = (packet.block - self._acked) & 0xFFFF
        if self.state is OFFERED:
            if packet.block == 0:
                self._step(ACK, now)
        elif 0 < new <= self._sent - self._acked:
            self._acked += new
            self._step(LAST_ACK if self._acked == self._last else ACK, now)

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`; None once it is over."""
        return None if self.is_over else min(self._repeat_at, self._ends_at)

    def on_deadline(self, now: float) -> None:
        """Nothing came in time: send again, or give up."""
        if self.is_over:
            return
        if now >= self._ends_at:
            self._step(TOO_LONG, now)
        elif now >= self._repeat_at:
            allowed = REPEATS if self.is_proven else UNPROVEN_REPEATS
            self._step(REPEAT if self._repeats < allowed else TOO_LONG, now)

    def take(self) -> list[bytes]:
        """The datagrams to send to the client, in order."""
        out, self._out = self._out, []
        return out

    def _step(self, what: str, now: float) -> None:
        row = TRANSFER[self.state].get(what)
        if row is None:
            return
        self.state = row[0]
        for effect in row[1]:
            effect(self, now)

    def _wait(self, now: float) -> None:
        """Arm the repeat timer: longer with each repeat."""
        longest = max(self._agreed.wait, LONGEST_WAIT)
        self._repeat_at = now + min(self._agreed.wait * 2**self._repeats, longest)


def send_offer(transfer: TftpTransfer, now: float) -> None:
    """Say which options are accepted."""
    transfer._out.append(oack(transfer._agreed.accepted))
    transfer._wait(now)


def send_window(transfer: TftpTransfer, now: float) -> None:
    """Send the blocks after the last one acknowledged, as many as the window holds."""
    size = transfer._agreed.block
    transfer._sent = min(transfer._acked + transfer._agreed.window, transfer._last)
    for block in range(transfer._acked + 1, transfer._sent + 1):
        transfer._out.append(data(block, transfer._body[(block - 1) * size : block * size]))
    transfer._wait(now)


def progress(transfer: TftpTransfer, now: float) -> None:
    """The client is there: repeats count anew."""
    transfer._repeats = 0


def count_repeat(transfer: TftpTransfer, now: float) -> None:
    """One more repeat without progress."""
    transfer._repeats += 1


def forget(transfer: TftpTransfer, now: float) -> None:
    """The file is not needed any more, nor is what was about to be sent."""
    transfer._body = b""
    transfer._out.clear()


Effect = Callable[[TftpTransfer, float], None]

TRANSFER: Final[dict[str, dict[str, tuple[str, tuple[Effect, ...]]]]] = {
    OFFERED: {
        ACK: (SENDING, (progress, send_window)),
        REPEAT: (OFFERED, (count_repeat, send_offer)),
        GIVEN_UP: (FAILED, (forget,)),
        TOO_LONG: (FAILED, (forget,)),
    },
    FIRST: {
        ACK: (SENDING, (progress, send_window)),
        LAST_ACK: (DONE, (forget,)),
        REPEAT: (FIRST, (count_repeat, send_window)),
        GIVEN_UP: (FAILED, (forget,)),
        TOO_LONG: (FAILED, (forget,)),
    },
    SENDING: {
        ACK: (SENDING, (progress, send_window)),
        LAST_ACK: (DONE, (forget,)),
        REPEAT: (SENDING, (count_repeat, send_window)),
        GIVEN_UP: (FAILED, (forget,)),
        TOO_LONG: (FAILED, (forget,)),
    },
    DONE: {},
    FAILED: {},
}
