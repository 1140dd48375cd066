"""The SIP core: message -> transaction -> transaction user. Skeleton with its final signatures."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from registry.location import Binding
from sip.directory import Directory, Question
from sip.events import Flow, Output
from sip.limits import SipLimits
from sip.timers import Timers


class Census(NamedTuple):
    """How much the core holds now, for gauges."""

    server_transactions: int
    client_transactions: int
    calls: int
    parked: int
    aors: int
    bindings: int


class SipCore:
    """Registrar and record-routing stateful proxy, without I/O, clock or chance."""

    def __init__(
        self,
        *,
        directory: Directory,
        entropy: Callable[[int], bytes],
        secret: bytes,
        realm: str,
        domains: frozenset[bytes],
        advertised: Mapping[str, tuple[str, int]],
        limits: SipLimits | None = None,
        timers: Timers | None = None,
    ) -> None:
        raise NotImplementedError

    def advertise(self, transport: str, host: str, port: int) -> None:
        """Name the address that peers reach this transport at (Via, Record-Route): known only once a port 0 is bound."""
        raise NotImplementedError

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """A datagram, or one framed message of a stream, arrived."""
        raise NotImplementedError

    def flow_closed(self, flow: Flow, now: float) -> None:
        """A stream connection is gone: its bindings and transactions are too."""
        raise NotImplementedError

    def answered(self, question: Question, now: float) -> None:
        """The shell has done what `Fetch(question)` asked, or has given up: go on with what waited for it."""
        raise NotImplementedError

    def load_bindings(self, aor: str, bindings: Iterable[Binding], now: float) -> None:
        """Take over bindings from before a restart. `Binding.expires` holds seconds to live."""
        raise NotImplementedError

    def bindings(self, aor: str, now: float) -> tuple[Binding, ...]:
        """The live bindings of an AOR (user name); `expires` in seconds to live."""
        raise NotImplementedError

    def forget_account(self, username: str, now: float) -> None:
        """The account was removed, disabled or got a new password: drop its bindings and what was cached of it."""
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """When to call `on_deadline`, if ever."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> None:
        """Do what is due. The deadline is cleared or moved."""
        raise NotImplementedError

    def take(self) -> list[Output]:
        """The outputs since the last take, in order."""
        raise NotImplementedError

    def census(self) -> Census:
        """How much is held now."""
        raise NotImplementedError
