"""A user's app accounts: made, renamed, linked to users at other sites, ended. Every record that names one changes with it."""

from collections.abc import Iterable
from dataclasses import replace

from admin_api.calls import Call
from admin_api.credentials import account_name, sip_password
from admin_api.roster import Delta, enrol
from admin_api.work import Work
from registry.records import Account, AccountOwner, AppLink, SiteRoster, User
from registry.store import Stored

MAX_APPS = 8
"""App accounts of one user, and links of one app account."""


def new_app(call: Call, site: str, user: str, name: str) -> tuple[Account, str]:
    """An app account that is in no store yet, and its password in the clear."""
    entropy = call.ports.entropy
    username, password = account_name(entropy), sip_password(entropy)
    sealed = call.ports.vault.seal_text(password, f"account:{username}")
    return Account(username, site, AccountOwner.APP, user, name, sealed), password


def with_apps(user: User, names: tuple[str, ...]) -> User:
    """The user with these app accounts of its own, the first one first."""
    return replace(user, app_account=names[0] if names else "", more_apps=names[1:])


async def rename_apps(work: Work, user: User, name: str) -> None:
    """Apps that show their user's old name show the new one; an app with a name of its own keeps it."""
    old = f"{user.first_name} {user.last_name}"
    for username in user.apps:
        account = await work.call.ports.store.get(Account, username)
        if account is not None and account.record.display_name == old:
            work.put(replace(account.record, display_name=name), expect=account.version)


async def remove_apps(work: Work, usernames: Iterable[str]) -> None:
    """End app accounts and their links. The caller rewrites their own user and that user's plan."""
    edits = _Edits()
    for username in usernames:
        account = await work.call.ports.store.get(Account, username)
        if account is not None:
            work.delete(Account, username, expect=account.version)
            for link in account.record.links:
                edits.remove(link, username)
    await edits.write(work)


async def drop_link(work: Work, username: str, user: str) -> None:
    """End the link of an app account to `user`, who is about to go."""
    account = await work.call.ports.store.get(Account, username)
    if account is not None:
        left = tuple(link for link in account.record.links if link.user != user)
        work.put(replace(account.record, links=left), expect=account.version)


async def relink(work: Work, account: Stored[Account], users: list[Stored[User]], keep: tuple[AppLink, ...]) -> Account:
    """The account linked to `users` and, as before, to `keep`. Adds the changes of both sides' users and plans to `work`."""
    links = (*keep, *(AppLink(user.record.site, user.record.id) for user in users))
    edits, name = _Edits(), account.record.username
    for link in account.record.links:
        if link not in links:
            edits.remove(link, name)
    for link in links:
        if link not in account.record.links:
            edits.add(link, name)
    await edits.write(work)
    return replace(account.record, links=tuple(sorted(links, key=lambda link: link.user)))


class _Edits:
    """Changes of users' linked apps, several at once: each site's roster and each user are written once."""

    def __init__(self) -> None:
        self._added: dict[AppLink, set[str]] = {}
        self._removed: dict[AppLink, set[str]] = {}

    def add(self, link: AppLink, username: str) -> None:
        self._added.setdefault(link, set()).add(username)

    def remove(self, link: AppLink, username: str) -> None:
        self._removed.setdefault(link, set()).add(username)

    async def write(self, work: Work) -> None:
        """Add the users, and the plans that follow from them, to `work`. A site or user that is gone has no link to change."""
        links = {*self._added, *self._removed}
        store = work.call.ports.store
        for site in sorted({link.site for link in links}):
            roster = await store.get(SiteRoster, site)
            changed: list[User] = []
            for link in sorted((link for link in links if link.site == site), key=lambda link: link.user):
                stored = await store.get(User, link.user)
                if stored is not None:
                    changed += self._user(work, link, stored)
            if roster is not None and changed:
                await enrol(work, roster, Delta(more_users=tuple(changed)))

    def _user(self, work: Work, link: AppLink, stored: Stored[User]) -> list[User]:
        before = stored.record
        kept = [name for name in before.linked_apps if name not in self._removed.get(link, ())]
        new = sorted(self._added.get(link, set()).difference(kept))
        after = replace(before, linked_apps=(*kept, *new))
        if after == before:
            return []
        path = f"user/{before.id}"
        work.change(stored, after, action="user.changed", object=path, site=before.site, changed=("linked_apps",))
        return [after]
