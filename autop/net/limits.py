"""The bounds and deadlines of an autop listener, with DESIGN.md section 6 as the defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Seconds are absolute from the event they follow: trickling bytes does not extend them.

    `refusal_seconds`: every refusal is answered exactly this long after its request, so that a look-up that had to ask the
    store takes no longer than one that had not. It must be above the store's usual read.
    `proven`: connections that got their own device's file. Past it they stay strangers to the node's acceptor, which bounds
    those.
    """

    proven: int = 10_000
    head_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    request_seconds: float = 30.0
    idle_seconds: float = 30.0
    linger_seconds: float = 2.0
    linger_bytes: int = 256 * 1024
    refusal_seconds: float = 0.05
