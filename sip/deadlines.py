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
            owner.queued = at
            self._serial += 1
            heappush(self._heap, (at, self._serial, owner))

    def next(self) -> float | None:
        """The time of the earliest live deadline. May be earlier than needed by an entry that has gone stale, never later."""
        heap = self._heap
        while heap:
            at, _, owner = heap[0]
            if owner.due <= at:
                return at
            heappop(heap)
            self._settle(owner, at)
        return None

    def fire(self, now: float) -> None:
        """Fire everything that is due at `now`. What arms itself again for the past is left for the next call."""
        heap = self._heap
        due: list[Timed] = []
        while heap and heap[0][0] <= now:
            at, _, owner = heappop(heap)
            if at == owner.queued and owner.due <= now:
                owner.queued = NEVER
                owner.due = NEVER
                due.append(owner)
            else:
                self._settle(owner, at)
        for owner in due:
            owner.fire(now)

    def _settle(self, owner: Timed, at: float) -> None:
        """An entry for `at` left the heap without firing: queue its owner for its real deadline, if this was its entry."""
        if at == owner.queued:
            owner.queued = NEVER
            if owner.due != NEVER:
                self.arm(owner, owner.due)

    def __len__(self) -> int:
        return len(self._heap)
