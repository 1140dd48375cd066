"""What SIP asks: from memory when it is there, loaded when asked, and gone the moment the record changes."""

from dataclasses import replace

from gateway.directory import MemoryDirectory
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, AccountOwner
from registry.ring_plan import RingPlan, together
from registry.store import Change, Put
from registry.vault import Vault
from sip.directory import UNKNOWN, AccountFacts, AccountQuestion, RingPlanQuestion

VAULT = Vault(b"k" * 32, lambda n: b"r" * n)


def account(password: str) -> Account:
    return Account("100", "s1", AccountOwner.DEVICE, "mac", "Gate", VAULT.seal_text(password, "account:100"))


async def test_an_account_is_loaded_once_and_forgotten_when_it_changes() -> None:
    store = MemoryStore()
    model = ReadModel(store)
    directory = MemoryDirectory(model, VAULT)
    assert directory.account("100") is UNKNOWN
    await directory.fetch(AccountQuestion("100"))
    assert directory.account("100") is None
    (version,) = await store.batch([Put(account("one"))])
    model.apply(Change(version, "Account", "100", False))
    await directory.fetch(AccountQuestion("100"))
    facts = directory.account("100")
    assert isinstance(facts, AccountFacts)
    assert (facts.password, facts.site, facts.kind) == (b"one", "s1", "device")
    assert directory.account("100") is facts
    (version,) = await store.batch([Put(account("two"))])
    model.apply(Change(version, "Account", "100", False))
    assert directory.account("100") is UNKNOWN
    await directory.fetch(AccountQuestion("100"))
    changed = directory.account("100")
    assert isinstance(changed, AccountFacts)
    assert changed.password == b"two"


async def test_a_password_under_another_master_key_is_no_account() -> None:
    store = MemoryStore()
    model = ReadModel(store)
    directory = MemoryDirectory(model, Vault(b"x" * 32, lambda n: b"r" * n))
    await store.batch([Put(replace(account("one")))])
    await directory.fetch(AccountQuestion("100"))
    assert directory.account("100") is None


async def test_a_ring_plan_by_site_and_number() -> None:
    store = MemoryStore()
    model = ReadModel(store)
    directory = MemoryDirectory(model, VAULT)
    plan = together("s1", "101", ("100",))
    await store.batch([Put(plan)])
    assert directory.ring_plan("s1", "101") is UNKNOWN
    await directory.fetch(RingPlanQuestion("s1", "101"))
    assert directory.ring_plan("s1", "101") == plan
    await directory.fetch(RingPlanQuestion("s2", "101"))
    assert directory.ring_plan("s2", "101") is None
    assert isinstance(plan, RingPlan)
