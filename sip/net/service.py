"""The SIP service: sockets, the core between them, and what its outputs mean outside."""

from collections.abc import Callable
from typing import Protocol

from registry.location import Binding
from sip.core import SipCore
from sip.directory import Question
from sip.events import CallEnded, Output


class FactsSource(Protocol):
    """Where facts come from that are not in memory yet."""

    async def fetch(self, question: Question) -> None:
        """Bring the answer into the memory that the core's Directory peeks into. Raises when it cannot."""
        ...


class SipService:
    """Runs one SipCore on UDP sockets.

    `on_bindings(aor, bindings)` gets wall-clock expiry times; `on_call(ended, wall)` the wall time of the end;
    `observe` every output, in order. All three are called in the loop and must not block or raise.
    """

    def __init__(
        self,
        core: SipCore,
        *,
        facts: FactsSource,
        on_bindings: Callable[[str, tuple[Binding, ...]], None],
        on_call: Callable[[CallEnded, float], None],
        observe: Callable[[Output], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        raise NotImplementedError

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Open a UDP socket (port 0 picks a free one). May be called for several addresses. Raises OSError."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Close the sockets and end the timer and the fetches."""
        raise NotImplementedError

    def load_bindings(self, aor: str, bindings: tuple[Binding, ...]) -> None:
        """Take over stored bindings (wall-clock expiry) at start, before `start`."""
        raise NotImplementedError
