"""What SIP asks of the registry, answered from memory: `sip.directory.Directory` over the read model and the vault."""

from registry.errors import BadSeal
from registry.location import AorPush
from registry.read_model import MISSING, ReadModel
from registry.records import Account
from registry.ring_plan import RingPlan, ring_plan_key
from registry.store import Change, Stored
from registry.vault import Vault
from sip.directory import UNKNOWN, Absent, AccountFacts, AccountQuestion, PushQuestion, Question

MAX_OPENED = 200_000
"""Accounts whose password is kept opened in memory; past it all are opened afresh on demand."""

LOADS = 3
"""How often a fact is loaded that changes while it is."""


class MemoryDirectory:
    """Peeks for the SIP core, and the loads that fill what a peek could not answer."""

    def __init__(self, read_model: ReadModel, vault: Vault) -> None:
        self._read_model = read_model
        self._vault = vault
        self._opened: dict[str, AccountFacts] = {}
        read_model.subscribe(self._on_change)

    def account(self, username: str) -> AccountFacts | Absent | None:
        found = self._opened.get(username)
        if found is not None:
            return found
        stored = self._read_model.peek(Account, username)
        if stored is MISSING:
            return UNKNOWN
        return None if stored is None else self._open(stored)

    def ring_plan(self, site: str, number: str) -> RingPlan | Absent | None:
        stored = self._read_model.peek(RingPlan, ring_plan_key(site, number))
        if stored is MISSING:
            return UNKNOWN
        return None if stored is None else stored.record

    async def fetch(self, question: Question) -> None:
        """Load what was asked. Raises StoreUnavailable."""
        if isinstance(question, AccountQuestion):
            await self._read_model.get(Account, question.username)
        elif isinstance(question, PushQuestion):
            # A change that comes during a load makes its result unfit for memory, where the answer is looked for.
            for _ in range(LOADS):
                await self._read_model.get(AorPush, question.username)
                if self._read_model.peek(AorPush, question.username) is not MISSING:
                    return
        else:
            await self._read_model.get(RingPlan, ring_plan_key(question.site, question.number))

    def _open(self, stored: Stored[Account]) -> AccountFacts | None:
        account = stored.record
        try:
            password = self._vault.open(account.sealed_password, f"account:{account.username}")
        except BadSeal:
            return None  # a record that this master key does not open is no account; the vault's observer counts it
        if len(self._opened) >= MAX_OPENED:
            self._opened.clear()
        facts = AccountFacts(
            username=account.username,
            site=account.site,
            password=password,
            enabled=account.enabled,
            display_name=account.display_name,
            kind=account.owner_kind.value,
        )
        self._opened[account.username] = facts
        return facts

    def _on_change(self, change: Change) -> None:
        if change.kind == Account.__name__:
            self._opened.pop(change.key, None)
