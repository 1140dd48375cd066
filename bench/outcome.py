"""What a benchmark gives back, and the arithmetic over its rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark's run: tables to print, figures to keep as JSON, and whether every peer has a round that counts."""

    name: str
    tables: Sequence[Table]
    figures: dict[str, Any]
    usable: bool


@dataclass(frozen=True, slots=True)
class Round:
    """CPU time that one server spent on `done` pieces of work in `wall` seconds. With a failure the round is void."""

    server: str
    work: str
    cpu: float
    idle: float
    """CPU seconds the idle server would have spent in the same time."""
    wall: float
    done: int
    failed: int
    retransmissions: int
    said: str = field(default="", repr=False)

    @property
    def void(self) -> bool:
        """Failures make work cheaper or dearer in ways nobody can weigh: such a round does not count."""
        return self.failed > 0 or self.done == 0

    @property
    def each(self) -> float:
        """CPU seconds for one piece of work, the idle share taken off. Raises ZeroDivisionError for a round that did nothing."""
        return (self.cpu - self.idle) / self.done


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of the rounds that count, and how many there were."""

    median: float
    least: float
    greatest: float
    rounds: int


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of some values, or None without any."""
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def each(rounds: Sequence[Round], server: str, work: str) -> Spread | None:
    """CPU seconds for one piece of work by one server, over the rounds that count."""
    return spread([one.each for one in rounds if (one.server, one.work) == (server, work) and not one.void])


def ratio(rounds: Sequence[Round], server: str, peer: str, work: str) -> Spread | None:
    """How many times `peer`'s CPU time `server` spent, round by round: the n-th round of the one over the n-th of the other.

    Neighbours in time share the machine's mood, so this varies less than a ratio of medians. A pair with a void
    round is left out.
    """
    mine = [one for one in rounds if (one.server, one.work) == (server, work)]
    theirs = [one for one in rounds if (one.server, one.work) == (peer, work)]
    return spread([a.each / b.each for a, b in zip(mine, theirs, strict=True) if not (a.void or b.void)])
