"""What SIP asks of the registry, answered from memory: `sip.directory.Directory` over the read model and the vault.

An account's facts come from its own record and from its owner's: the device at a door or in a flat, or the user of an app. They
are opened once and kept until one of those records changes. What depends on the time (a schedule, a subscription) is worked out
at each peek, so that nothing has to be written, and nobody has to wake up, at the instant it changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from registry.errors import BadSeal
from registry.location import AorPush
from registry.read_model import MISSING, Missing, ReadModel
from registry.records import Account, AccountOwner, Device, DeviceKind, Site, User
from registry.ring_plan import RingPlan, ring_plan_key
from registry.schedule import ALWAYS, Schedule, is_open
from registry.store import Change, Stored
from registry.trunk import SiteLandlines
from registry.vault import Vault
from sip.directory import (
    APP,
    DOOR,
    GUARD,
    MONITOR,
    UNKNOWN,
    Absent,
    AccountFacts,
    AccountQuestion,
    AppSite,
    DoorQuestion,
    LandlinesQuestion,
    PushQuestion,
    Question,
)

MAX_OPENED = 200_000
"""Accounts whose password is kept opened in memory; past it all are opened afresh on demand."""
FETCH_ATTEMPTS = 8
_KINDS = {
    DeviceKind.MULTI_TENANT_DOOR_PHONE: DOOR,
    DeviceKind.SINGLE_TENANT_DOOR_PHONE: DOOR,
    DeviceKind.ACCESS_CONTROL: DOOR,
    DeviceKind.INDOOR_MONITOR: MONITOR,
    DeviceKind.GUARD_PHONE: GUARD,
}


@dataclass(frozen=True, slots=True)
class _Timed:
    """Facts that the time decides on: `facts` as they are while the schedule is open and the subscription runs."""

    facts: AccountFacts
    schedule: Schedule
    until: float | None


class MemoryDirectory:
    """Peeks for the SIP core, and the loads that fill what a peek could not answer. `wall()`: wall-clock seconds."""

    def __init__(self, read_model: ReadModel, vault: Vault, wall: Callable[[], float]) -> None:
        self._read_model = read_model
        self._vault = vault
        self._wall = wall
        self._opened: dict[str, AccountFacts] = {}
        self._timed: dict[str, _Timed] = {}
        self._made_from: dict[tuple[str, str], set[str]] = {}
        read_model.subscribe(self._on_change, self._forget_all)

    def account(self, username: str) -> AccountFacts | Absent | None:
        found = self._opened.get(username)
        if found is not None:
            return found
        timed = self._timed.get(username)
        if timed is not None:
            return self._now(timed)
        stored = self._read_model.peek(Account, username)
        if stored is MISSING:
            return UNKNOWN
        return None if stored is None else self._open(stored)

    def ring_plan(self, site: str, number: str) -> RingPlan | Absent | None:
        stored = self._read_model.peek(RingPlan, ring_plan_key(site, number))
        if stored is MISSING:
            return UNKNOWN
        return None if stored is None else stored.record

    def landlines(self, site: str) -> SiteLandlines | Absent | None:
        stored = self._read_model.peek(SiteLandlines, site)
        if stored is MISSING:
            return UNKNOWN
        return None if stored is None else stored.record

    async def fetch(self, question: Question) -> None:
        """Load what was asked, and what the answer is made of. Raises StoreUnavailable."""
        if isinstance(question, PushQuestion):
            # A change that comes during a load makes its result unfit for memory, where the answer is looked for.
            for _ in range(FETCH_ATTEMPTS):
                await self._read_model.get(AorPush, question.username)
                if self._read_model.peek(AorPush, question.username) is not MISSING:
                    return
            return
        if isinstance(question, DoorQuestion):
            for _ in range(FETCH_ATTEMPTS):
                await self._read_model.get_unique(Device, "account", question.username)
                if self._read_model.peek_unique(Device, "account", question.username) is not MISSING:
                    return
            return
        if isinstance(question, LandlinesQuestion):
            await self._read_model.get(SiteLandlines, question.site)
            return
        if not isinstance(question, AccountQuestion):
            await self._read_model.get(RingPlan, ring_plan_key(question.site, question.number))
            return
        # What changes while it is loaded is not kept (read_model.py), and any new device ends the look-up of another by its
        # account: while many are written at once the first answer may be lost, and a device must not be told 503 for that.
        for _ in range(FETCH_ATTEMPTS):
            await self._load(question.username)
            if self.account(question.username) is not UNKNOWN:
                return

    async def _load(self, username: str) -> None:
        model = self._read_model
        stored = await model.get(Account, username)
        if stored is None:
            return
        account = stored.record
        timed = account.schedule != ALWAYS
        if account.owner_kind is AccountOwner.DEVICE:
            device = await model.get_unique(Device, "account", account.username)
            timed = device is not None and device.record.schedule != ALWAYS
        for key in _users_of(account):
            user = await model.get(User, key)
            timed = timed or (user is not None and user.record.app_until is not None)
        if timed:
            await model.get(Site, account.site)

    def _open(self, stored: Stored[Account]) -> AccountFacts | Absent | None:
        account = stored.record
        owned = self._device_facts(account) if account.owner_kind is AccountOwner.DEVICE else self._app_facts(account)
        if owned is UNKNOWN:
            return UNKNOWN
        try:
            password = self._vault.open(account.sealed_password, f"account:{account.username}")
        except BadSeal:
            return None  # a record that this master key does not open is no account; the vault's observer counts it
        base = AccountFacts(
            username=account.username,
            site=account.site,
            password=password,
            enabled=account.enabled,
            display_name=account.display_name,
        )
        if not isinstance(owned, _Timed):
            return replace(base, enabled=False)  # an account that nobody owns any more; not kept, for its owner may just come
        facts = replace(owned.facts, username=base.username, password=password, enabled=base.enabled and owned.facts.enabled)
        if len(self._opened) + len(self._timed) >= MAX_OPENED:
            self._forget_all()
        if owned.schedule == ALWAYS and owned.until is None:
            self._opened[account.username] = facts
            return facts
        timed = self._timed[account.username] = replace(owned, facts=facts)
        return self._now(timed)

    def _device_facts(self, account: Account) -> _Timed | Absent | None:
        stored = self._read_model.peek_unique(Device, "account", account.username)
        if isinstance(stored, Missing):
            return UNKNOWN
        if stored is None:
            return None
        device = stored.record
        self._depends(account, Device, device.key)
        facts = AccountFacts(
            username=account.username,
            site=account.site,
            password=b"",
            display_name=account.display_name,
            kind=_KINDS[device.kind],
            owner=device.owner,
            department=device.department,
            monitored=device.users_may_monitor,
            after_ring=device.monitor_after_ring,
        )
        return _Timed(facts, device.schedule, None)

    def _app_facts(self, account: Account) -> _Timed | Absent | None:
        users: dict[str, User] = {}
        for key in _users_of(account):
            stored = self._read_model.peek(User, key)
            if isinstance(stored, Missing):
                return UNKNOWN
            if stored is not None:
                users[key] = stored.record
            self._depends(account, User, key)
        user = users.get(account.owner)
        if user is None:
            return None
        facts = AccountFacts(
            username=account.username,
            site=account.site,
            password=b"",
            enabled=user.intercom_feature,
            display_name=account.display_name,
            kind=APP,
            owner=user.id,
            department=user.department,
            advanced=user.advanced,
            links=tuple([_app_site(users[link.user]) for link in account.links if _is_linked(account, users.get(link.user))]),
        )
        return _Timed(facts, account.schedule, user.app_until)

    def _now(self, timed: _Timed) -> AccountFacts | Absent:
        """The facts as they are at this instant, by the site's clock and terms."""
        stored = self._read_model.peek(Site, timed.facts.site)
        if isinstance(stored, Missing):
            return UNKNOWN
        wall, facts = self._wall(), timed.facts
        grace = stored.record.app_grace_hours * 3600 if stored is not None else 0
        if timed.until is not None and wall >= timed.until + grace:
            return replace(facts, enabled=False)
        if is_open(timed.schedule, local_time(wall, stored.record.time_zone if stored is not None else "UTC")):
            return facts
        return replace(facts, rings=False)

    def _depends(self, account: Account, kind: type[Device] | type[User], key: str) -> None:
        self._made_from.setdefault((kind.__name__, key), set()).add(account.username)

    def _on_change(self, change: Change) -> None:
        if change.kind == Account.__name__:
            self._forget(change.key)
        for username in self._made_from.pop((change.kind, change.key), ()):
            self._forget(username)

    def _forget(self, username: str) -> None:
        self._opened.pop(username, None)
        self._timed.pop(username, None)

    def _forget_all(self) -> None:
        self._opened.clear()
        self._timed.clear()
        self._made_from.clear()


def local_time(wall: float, time_zone: str) -> datetime:
    """The local time in a zone of the IANA database; UTC for a name that it does not have."""
    return datetime.fromtimestamp(wall, UTC).astimezone(_zone(time_zone))


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _users_of(account: Account) -> tuple[str, ...]:
    """The users whose records an app's facts are made of: its own and those it is linked to."""
    if account.owner_kind is AccountOwner.DEVICE:
        return ()
    return (account.owner, *(link.user for link in account.links))


def _is_linked(account: Account, user: User | None) -> bool:
    """A link counts only where both records say so, and the other user may have apps at all."""
    return user is not None and account.username in user.linked_apps and user.intercom_feature


def _app_site(user: User) -> AppSite:
    return AppSite(user.site, user.id, user.department, user.advanced)
