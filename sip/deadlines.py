"""One heap of deadlines for everything in the core that waits for a time.

The heap needs no removal: an entry that surfaces is compared with its owner's present deadline, and put back or dropped.
An owner whose deadline moves later gets no new entry, so a repeated `arm` costs an attribute and no push.
"""

from heapq import heappop, heappush

from sip.timers import NEVER


class Timed:
    """Something with one deadline. Subclasses do what is due in `fire`, which may arm it again."""

    __slots__ = ("due", "queued")

    def __init__(self) -> None:
        self.due: float = NEVER
        """When it wants to be called."""
        self.queued: float = NEVER
        """The time of its earliest entry in the heap."""

    def fire(self, now: float) -> None:
        """The deadline has passed and was cleared."""
        raise NotImplementedError


class DeadlineHeap:
    """Keeps the deadlines of many Timed objects; knows the next one."""

    __slots__ = ("_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._serial = 0

    def arm(self, owner: Timed, at: float) -> None:
        """Call `owner.fire` at `at` instead of when it was armed for before; NEVER disarms."""
        owner.due = at
        if at < owner.queued:
            self._push(owner, at)

    def arm_late(self, owner: Timed, at: float, look_at: float) -> None:
        """As `arm`, for a distant deadline that will most likely be disarmed: the owner is looked at once before, and let go of
        then, instead of being held until `at`."""
        owner.due = at
        look_at = min(look_at, at)
        if look_at < owner.queued:
            self._push(owner, look_at)

    def next(self) -> float | None:
        """When to call `fire`. An entry that has gone stale may make this too early, never too late."""
        return self._heap[0][0] if self._heap else None

    def fire(self, now: float) -> None:
        """Fire everything that is due at `now`. What arms itself again for the past is left for the next call."""
        heap = self._heap
        due: list[Timed] = []
        while heap and heap[0][0] <= now:
            at, _, owner = heappop(heap)
            if at != owner.queued:
                continue
            owner.queued = NEVER
            if owner.due <= now:
                owner.due = NEVER
                due.append(owner)
            elif owner.due != NEVER:
                self._push(owner, owner.due)
        for owner in due:
            owner.fire(now)

    def _push(self, owner: Timed, at: float) -> None:
        owner.queued = at
        self._serial += 1
        heappush(self._heap, (at, self._serial, owner))

    def __len__(self) -> int:
        return len(self._heap)
