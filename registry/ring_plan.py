"""Who rings, in which order: the ring plan as data (intercom-product.md 1.6, F20, F21).

A ring plan is an ordered list of stages; a stage rings its targets in parallel. The manual's call types are presets of
it. The gateway walks the plan, the panel holds one number per user.
"""

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_RING_SECONDS = 20
"""How long a stage rings before the next one begins, where nobody said otherwise."""
MAX_STAGES = 8
MAX_TARGETS = 32


class TargetKind(StrEnum):
    """What a target of a stage is."""

    ACCOUNT = "account"  # a SIP account of the same site: monitor, guard phone or app
    LANDLINE = "landline"  # a number beyond a trunk


class OnReject(StrEnum):
    """What a rejection by one target does to the call (the manual is silent: intercom-product.md L155)."""

    NEXT_STAGE = "next-stage"
    END = "end"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that can ring: a SIP account's user name, or a landline's number in E.164."""

    kind: TargetKind
    address: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Targets that ring together, and for how many seconds."""

    targets: tuple[Target, ...]
    ring_seconds: int = DEFAULT_RING_SECONDS

    def __post_init__(self) -> None:
        if not 1 <= self.ring_seconds <= 300:
            raise ValueError("a stage rings between 1 and 300 seconds")
        if len(self.targets) > MAX_TARGETS:
            raise ValueError(f"a stage has at most {MAX_TARGETS} targets")


@dataclass(frozen=True, slots=True)
class RingPlan:
    """What dialling `number` does inside `site`. The number may be a room, a user or a department."""

    site: str
    number: str
    stages: tuple[Stage, ...]
    owner: str = ""
    on_reject: OnReject = OnReject.NEXT_STAGE

    def __post_init__(self) -> None:
        if len(self.stages) > MAX_STAGES:
            raise ValueError(f"a ring plan has at most {MAX_STAGES} stages")

    @property
    def key(self) -> str:
        return ring_plan_key(self.site, self.number)

    def indexes(self) -> dict[str, str]:
        return {"site": self.site, "owner": self.owner} if self.owner else {"site": self.site}


def ring_plan_key(site: str, number: str) -> str:
    """The key of the plan that dialling `number` inside `site` runs: numbers are per site, as room 101 is in every house."""
    return f"{site}/{number}"


def together(site: str, number: str, accounts: tuple[str, ...], owner: str = "", seconds: int = DEFAULT_RING_SECONDS) -> RingPlan:
    """The simplest plan: all of `accounts` ring at once."""
    stage = Stage(tuple(Target(TargetKind.ACCOUNT, name) for name in accounts), seconds)
    return RingPlan(site, number, (stage,), owner)
