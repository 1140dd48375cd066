"""What the location service holds: the bindings of an address of record (RFC 3261 section 10, RFC 5626), and how to wake its
apps (RFC 8599)."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact of an AOR and the flow it was registered over.

    `expires` is wall-clock seconds (bindings outlive a restart of the node). `flow` names the flow the way the node's
    shell understands it (for UDP "udp:<local>:<remote host>:<remote port>"); requests go back over it, never to the
    host that the Contact claims (RFC 5626 section 5.3, NAT). `gruu_since` is the CSeq from which on its Call-ID has given valid
    temporary GRUUs, -1: none (`sip/gruu.py`).
    """

    contact: str
    flow: str
    call_id: str
    cseq: int
    expires: float
    q: int = 1000
    instance_id: str = ""
    reg_id: int = 0
    path: tuple[str, ...] = ()
    user_agent: str = ""
    gruu_since: int = -1


@dataclass(frozen=True, slots=True)
class AorBindings:
    """All bindings of one AOR, the unit that is replaced atomically (RFC 3261 10.3 step 7). Soft state, written behind."""

    aor: str
    node: str
    bindings: tuple[Binding, ...]

    @property
    def key(self) -> str:
        return self.aor

    def indexes(self) -> dict[str, str]:
        return {"node": self.node}


@dataclass(frozen=True, slots=True)
class PushParameters:
    """How one app asked to be woken (RFC 8599 section 4.1): push service, its name for the app's installation, and more of its.

    `sealed_prid` is the PRID sealed with context "push:<aor>" (vault.py): whoever knows it can bother its owner. `instance_id`
    is the app's +sip.instance, "" where it has none.
    """

    provider: str
    sealed_prid: bytes = field(repr=False)
    param: str = ""
    instance_id: str = ""


@dataclass(frozen=True, slots=True)
class AorPush:
    """The push parameters of all apps of one AOR, oldest first. Soft state that outlives the bindings: apps sleep."""

    aor: str
    apps: tuple[PushParameters, ...]

    @property
    def key(self) -> str:
        return self.aor

    def indexes(self) -> dict[str, str]:
        return {}
