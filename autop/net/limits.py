"""The bounds and deadlines of an autop listener, with DESIGN.md section 6 as the defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Seconds are absolute from the event they follow: trickling bytes does not extend them.

    `refusal_seconds`: every refusal is answered exactly this long after its request, so that a look-up that had to ask the
    store takes no longer than one that had not. It must be above the store's usual read.
    `late_seconds`: the same for who guesses (`Sweeps`).
    `request_seconds` is also how long a piece of a firmware download may wait for its reader; all of it has `download_seconds`.
    `downloads`: firmware downloads at a time; while more than `busy_connections` clients are connected none begins.
    `retry_seconds`: how long a device is sent away, at least; twice as long at most.
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
    late_seconds: float = 1.0
    downloads: int = 32
    downloads_per_device: int = 2
    busy_connections: int = 1000
    retry_seconds: float = 60.0
    download_seconds: float = 1800.0
    download_piece: int = 64 * 1024
