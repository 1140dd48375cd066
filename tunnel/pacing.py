"""How large the windows of a link's receiving streams should be together: the path full, its queue short.

A window lets the peer have that many bytes on their way. Fewer than rate x round trip, and the path idles; more, and the rest
stands in a queue in front of everything else, which is what a visitor feels (a download through `ssh -R` over 8 Mbit/s delays
a click by two seconds). Only the round trip tells the two apart, so PINGs measure it while data flows: its least value is the
path, what is above it is queue. Every answer moves the sum of the windows towards

    sum x (least + allowed) / measured

which is at rest when the queue is `allowed` long (the rule of FAST TCP, Wei et al. 2006, with the delay instead of the
number of packets). `allowed` is five eighths of the least round trip, within bounds: credit that comes back in quarters leaves
a quarter of the windows idle now and then. A path whose queue never empties hides its least round
trip, and one that got longer has a new one: so every PROBE_EVERY seconds without a value near the least the windows are quartered
for a moment, and what is measured then is the least. (The first value is measured before there is any data: `Mux` asks at once.)
"""

from tunnel.frames import Limits

LEAST_QUEUE = 0.005
"""Seconds of queue that are allowed on the shortest path: below it a busy process is measured, not a path."""
QUEUE_SHARE = 0.625
"""Of the least round trip, that is allowed as queue."""
RECENT = 4
"""Answers in a row that must be late for a queue to be believed (a few are a busy process); two in time for a path without."""
PROBE_EVERY = 10.0
PROBE_SECONDS = 0.3
NEAR = 1.1
"""A round trip within so many times the least says that the least still holds."""


class Pacing:
    """Of one end of one link. `together` is the sum in bytes, `spell` counts the spells between two answers.

    The sum is divided by how many streams receive, weighed by what each receives: (sum of bytes)^2 / (sum of bytes^2), which is n
    for n alike, and hardly more than 1 for a download beside small answers.
    """

    __slots__ = (
        "_bytes",
        "_fresh",
        "_held",
        "_least",
        "_limits",
        "_near_at",
        "_probe_until",
        "_recent",
        "_since",
        "_squares",
        "receiving",
        "spell",
        "together",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.together = limits.initial_window
        self.receiving = 1.0
        self.spell = 1
        self._held = False  # whether the path has queued, so that windows may be smaller than at first
        self._bytes = 0.0
        self._squares = 0.0
        self._since = now
        self._least = 0.0  # none yet
        self._recent = [0.0] * RECENT
        self._near_at = now
        self._probe_until = 0.0  # not probing
        self._fresh = 0.0

    def received(self, size: int, before: int) -> None:
        """DATA arrived on a stream on which `before` bytes arrived in this spell."""
        self._bytes += size
        self._squares += size * (2.0 * before + size)

    @property
    def window(self) -> int:
        """Bytes that the window of one stream should have now."""
        together = self.together // 4 if self._probe_until else self.together
        least = self._limits.least_window if self._held or self._probe_until else self._limits.initial_window
        return max(min(int(together / self.receiving), self._limits.max_window), least)

    def answered(self, trip: float, now: float) -> None:
        """A PING was answered after `trip` seconds."""
        if not self._least:
            self._least, self._near_at, self._since = trip, now, now
        self._learn(trip, now)
        self._recent = [*self._recent[1:], trip]
        if not self._probe_until:
            self._move(trip, now)
        self.receiving = self._bytes * self._bytes / self._squares if self._squares else 1.0
        self._since, self._bytes, self._squares = now, 0.0, 0.0
        self.spell += 1

    def _learn(self, trip: float, now: float) -> None:
        """What the round trip of the empty path is."""
        if trip <= self._least * NEAR + LEAST_QUEUE / 5:
            self._least, self._near_at = min(self._least, trip), now
        if self._probe_until:
            self._fresh = min(self._fresh, trip)
            if now >= self._probe_until:
                self._least, self._near_at, self._probe_until = self._fresh, now, 0.0
        elif now - self._near_at >= PROBE_EVERY:
            self._probe_until, self._fresh = now + max(PROBE_SECONDS, 4 * trip), trip

    def _move(self, trip: float, now: float) -> None:
        limits = self._limits
        allowed = min(max(self._least * QUEUE_SHARE, LEAST_QUEUE), limits.queue_delay)
        goal = self._least + allowed
        highest = max(trip, self._recent[-2])
        if highest <= goal:
            elapsed = now - self._since
            used = self._bytes / elapsed * trip if elapsed > 0 else 0.0
            if used * 2 < self.together:
                return  # the peer has not so much to send
            self.together = int(min(self.together * min(goal / highest, 2.0), limits.most_together))
            self._held = self._held and self.together < self.receiving * limits.initial_window
        elif (lowest := min(self._recent)) > goal:
            if not self._held:
                self._held = True
                self.together = int(max(self.together, self.receiving * limits.initial_window))
            factor = max(goal / lowest, 0.5)
            self.together = int(max(self.together * factor, limits.least_together))
