"""What SIP asks: from memory when it is there, loaded when asked, gone the moment a record changes, right at every instant."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.directory import MemoryDirectory
from registry.mac import MacAddress
from registry.memory import MemoryStore
from registry.read_model import ReadModel
from registry.records import Account, AccountOwner, AppLink, Device, DeviceKind, Site, User
from registry.ring_plan import RingPlan, together
from registry.schedule import Schedule, Window
from registry.store import Change, Delete, Put
from registry.trunk import SiteLandlines
from registry.vault import Vault
from sip.directory import (
    APP,
    DOOR,
    GUARD,
    MONITOR,
    UNKNOWN,
    AccountFacts,
    AccountQuestion,
    AppSite,
    LandlinesQuestion,
    RingPlanQuestion,
)

VAULT = Vault(b"k" * 32, lambda n: b"r" * n)


def account(password: str = "one", name: str = "100", **changes: Any) -> Account:
    sealed = VAULT.seal_text(password, f"account:{name}")
    return replace(Account(name, "s1", AccountOwner.DEVICE, "d", "Gate", sealed), **changes)


def app(name: str = "900", owner: str = "u1", **changes: Any) -> Account:
    return account("app", name, owner_kind=AccountOwner.APP, owner=owner, **changes)


def device(kind: DeviceKind = DeviceKind.MULTI_TENANT_DOOR_PHONE, name: str = "100", **changes: Any) -> Device:
    full = Device(MacAddress("0C1105000001"), "d", "s1", kind, "R29", "Gate", name, b"", b"", b"")
    return replace(full, **changes)


def user(key: str = "u1", site: str = "s1", **changes: Any) -> User:
    return replace(User(key, site, "Ada", "Lovelace", "101", app_account="900"), **changes)


class Node:
    """A store, its read model and the directory over them, with a clock that is set by hand."""

    def __init__(self, vault: Vault = VAULT) -> None:
        self.store = MemoryStore()
        self.model = ReadModel(self.store)
        self.wall = 1_790_000_000.0
        self.directory = MemoryDirectory(self.model, vault, lambda: self.wall)

    async def write(self, *writes: Any) -> None:
        writes = tuple(one if isinstance(one, Delete) else Put(one) for one in writes)
        versions = await self.store.batch(writes)
        for version, write in zip(versions, writes, strict=True):
            deleted = isinstance(write, Delete)
            kind = write.kind if isinstance(write, Delete) else type(write.record)
            key = write.key if isinstance(write, Delete) else write.record.key
            self.model.apply(Change(version, kind.__name__, key, deleted))

    async def account(self, name: str) -> AccountFacts:
        assert self.directory.account(name) is UNKNOWN
        await self.directory.fetch(AccountQuestion(name))
        return self.known(name)

    def known(self, name: str) -> AccountFacts:
        facts = self.directory.account(name)
        assert isinstance(facts, AccountFacts)
        return facts


async def test_an_account_is_loaded_once_and_forgotten_when_it_changes() -> None:
    node = Node()
    assert node.directory.account("100") is UNKNOWN
    await node.directory.fetch(AccountQuestion("100"))
    assert node.directory.account("100") is None
    await node.write(account("one"), device())
    facts = await node.account("100")
    assert (facts.password, facts.site, facts.kind, facts.enabled) == (b"one", "s1", DOOR, True)
    assert node.directory.account("100") is facts
    await node.write(account("two"))
    assert (await node.account("100")).password == b"two"
    await node.write(account("two", enabled=False))
    assert not (await node.account("100")).enabled
    node.model.clear()
    assert node.directory.account("100") is UNKNOWN


async def test_a_password_under_another_master_key_is_no_account() -> None:
    node = Node(Vault(b"x" * 32, lambda n: b"r" * n))
    await node.write(account(), device())
    await node.directory.fetch(AccountQuestion("100"))
    assert node.directory.account("100") is None


async def test_a_ring_plan_by_site_and_number() -> None:
    node = Node()
    plan = together("s1", "101", ("100",))
    await node.write(plan)
    assert node.directory.ring_plan("s1", "101") is UNKNOWN
    await node.directory.fetch(RingPlanQuestion("s1", "101"))
    assert node.directory.ring_plan("s1", "101") == plan
    await node.directory.fetch(RingPlanQuestion("s2", "101"))
    assert node.directory.ring_plan("s2", "101") is None
    assert isinstance(plan, RingPlan)


async def test_what_a_site_may_spend_on_landlines() -> None:
    node = Node()
    assert node.directory.landlines("s1") is UNKNOWN
    await node.directory.fetch(LandlinesQuestion("s1"))
    assert node.directory.landlines("s1") is None, "nobody said: the defaults hold"
    await node.write(SiteLandlines("s1", ("+49",), 3))
    assert node.directory.landlines("s1") is UNKNOWN
    await node.directory.fetch(LandlinesQuestion("s1"))
    assert node.directory.landlines("s1") == SiteLandlines("s1", ("+49",), 3)


async def test_a_devices_facts_follow_the_device() -> None:
    node = Node()
    await node.write(account(), device(users_may_monitor=True, department="east", owner="u1"))
    facts = await node.account("100")
    assert (facts.kind, facts.monitored, facts.department, facts.owner) == (DOOR, True, "east", "u1")
    await node.write(device(users_may_monitor=False))
    assert not (await node.account("100")).monitored
    for kind, word in ((DeviceKind.INDOOR_MONITOR, MONITOR), (DeviceKind.GUARD_PHONE, GUARD), (DeviceKind.ACCESS_CONTROL, DOOR)):
        await node.write(device(kind))
        assert (await node.account("100")).kind == word


async def test_an_account_whose_owner_is_gone_is_disabled_and_comes_back_with_it() -> None:
    node = Node()
    await node.write(account(), app())
    assert not (await node.account("100")).enabled
    assert not (await node.account("900")).enabled
    await node.write(device(), user())
    assert (await node.account("100")).enabled
    assert (await node.account("900")).enabled
    await node.write(Delete(Device, device().key), Delete(User, "u1"))
    assert not (await node.account("100")).enabled
    assert not (await node.account("900")).enabled


async def test_an_app_follows_its_user() -> None:
    node = Node()
    await node.write(app(), user(department="east", advanced=True))
    facts = await node.account("900")
    assert (facts.kind, facts.owner, facts.department, facts.advanced) == (APP, "u1", "east", True)
    await node.write(user(intercom_feature=False))
    assert not (await node.account("900")).enabled


async def test_an_app_ends_with_its_subscription_and_grace_without_a_write() -> None:
    node = Node()
    until = node.wall + 1000
    await node.write(app(), user(app_until=until), Site("s1", "House", app_grace_hours=2))
    assert (await node.account("900")).enabled
    node.wall = until + 7199
    assert node.known("900").enabled
    node.wall = until + 7200
    assert not node.known("900").enabled
    await node.write(Site("s1", "House", app_grace_hours=3))
    assert node.directory.account("900") is UNKNOWN
    await node.directory.fetch(AccountQuestion("900"))
    assert node.known("900").enabled
    await node.write(user(app_until=None))
    node.wall += 1e9
    assert (await node.account("900")).enabled


async def test_schedules_are_the_sites_time_also_when_its_clock_jumps() -> None:
    node = Node()
    night = Schedule((Window(frozenset(range(7)), 3 * 60, 4 * 60),))
    await node.write(account(), device(DeviceKind.INDOOR_MONITOR, schedule=night), Site("s1", "House", "Europe/Berlin"))
    await node.account("100")

    def rings(month: int, day: int, hour: int) -> bool:
        node.wall = datetime(2026, month, day, hour, 30, tzinfo=UTC).timestamp()
        return node.known("100").rings

    assert [rings(3, 28, hour) for hour in (1, 2, 3)] == [False, True, False]  # winter: 03:30 is 02:30 UTC
    assert [rings(3, 29, hour) for hour in (0, 1, 2)] == [False, True, False]  # that night 02:00 became 03:00
    assert [rings(10, 25, hour) for hour in (0, 1, 2)] == [False, False, True]
    await node.write(Site("s1", "House", "No/Such_Zone"))
    await node.directory.fetch(AccountQuestion("100"))
    assert [rings(3, 28, hour) for hour in (2, 3, 4)] == [False, True, False]
    await node.write(device(DeviceKind.INDOOR_MONITOR, schedule=Schedule(do_not_disturb=True)))
    assert not (await node.account("100")).rings
    assert node.known("100").enabled


async def test_an_app_is_linked_only_where_both_records_say_so() -> None:
    node = Node()
    links = (AppLink("s2", "u2"), AppLink("s3", "u3"), AppLink("s4", "gone"))
    there = user("u2", "s2", linked_apps=("900",), department="west", app_account="")
    await node.write(app(links=links), user(), there, user("u3", "s3", app_account=""))
    assert (await node.account("900")).links == (AppSite("s2", "u2", "west", False),)
    await node.write(replace(there, intercom_feature=False))
    assert (await node.account("900")).links == ()
    await node.write(replace(there, advanced=True))
    assert (await node.account("900")).links == (AppSite("s2", "u2", "west", True),)
    await node.write(replace(there, linked_apps=()))
    assert (await node.account("900")).links == ()


async def test_a_fetch_outlives_changes_of_other_devices_meanwhile() -> None:
    class Busy(MemoryStore):
        """Another device is written while one is looked up by its account, the first three times."""

        async def get_unique(self, kind: type[Any], index: str, value: str) -> Any:
            found = await super().get_unique(kind, index, value)
            if len(disturbed) < 3:
                disturbed.append(value)
                node.model.apply(Change(100 + len(disturbed), "Device", "0C11050000FF", False))
            return found

    disturbed: list[str] = []
    node = Node()
    node.store = Busy()
    node.model = ReadModel(node.store)
    node.directory = MemoryDirectory(node.model, VAULT, lambda: node.wall)
    await node.write(account(), device())
    assert (await node.account("100")).enabled
    assert len(disturbed) == 3
