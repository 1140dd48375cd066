"""The SIP core's bounds, as one value the composition root may fill from the configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SipLimits:
    """Counts are objects, times are seconds. Past a count new work is refused with 503 and Retry-After."""

    transactions: int = 50_000
    parked: int = 2_000
    parked_seconds: float = 5.0
    waiting: int = 10_000
    """Branches that wait for apps to wake up; past it an app is not waited for, and not pushed."""
    waiting_seconds: float = 30.0
    """How long an app that was called by its own number is waited for (a ring plan's stage has its own time)."""
    media_seconds: float = 4.0
    """How long an offer or answer waits for the media engine: longer than the engine itself needs to find out that it is down."""
    live_calls: int = 20_000
    call_seconds: float = 4 * 3600.0
    """After this a call whose BYE was never seen is taken for over."""
    contacts: int = 10
    """Bindings of one AOR; the oldest makes room for a new one."""
    min_expires: int = 60
    max_expires: int = 7200
    default_expires: int = 3600
    flow_timer: int = 120
    """Flow-Timer: a device that uses outbound pings its flow at least this often (RFC 5626 5.4)."""
    branches: int = 60
    """Max-Breadth where the request names none (RFC 5393 5.3)."""
    retry_after: int = 30
    """503 carries a Retry-After between this and twice this, drawn per answer (RFC 3261 20.33)."""
    sources: int = 65_536
    """Sources whose unauthenticated requests are counted, and as many again that have authenticated."""
    guesses: int = 65_536
    """(source, user) pairs whose wrong passwords are counted."""
