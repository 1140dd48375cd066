"""The scopes of autop commands, as paths name them: `{level}/{of}`, a network group by its site and `?group=`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from admin_api.calls import Call, parse_mac
from admin_api.problems import Problem, invalid, not_found
from admin_api.work import Work
from autop.net.operator_lines import open_lines, seal_lines
from registry.configuration import (
    PLATFORM_SCOPE,
    AutopCommands,
    AutopRevision,
    department_scope,
    device_scope,
    group_scope,
    model_scope,
    site_scope,
)
from registry.records import Department, Device
from registry.store import MAX_PAGE, Stored

MAX_REVISIONS = 20
"""Revisions kept of one scope."""
MAX_SCOPES = 40
"""Scopes of a site that a deletion takes away in its batch; departments go with their own."""


class Level(StrEnum):
    """For whom autop commands are entered."""

    PLATFORM = "platform"
    MODEL = "model"
    SITE = "site"
    NETWORK_GROUP = "network-group"
    DEPARTMENT = "department"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope that the caller may see. `site` is empty for the platform and for models. `device`: at level device only."""

    level: Level
    of: str
    group: str
    key: str
    site: str
    device: Stored[Device] | None = None

    def holds(self, device: Device) -> bool:
        """Whether the device belongs to it."""
        match self.level:
            case Level.PLATFORM:
                return True
            case Level.MODEL:
                return device.model == self.of
            case Level.SITE:
                return device.site == self.of
            case Level.NETWORK_GROUP:
                return device.site == self.of and device.network_group == self.group
            case Level.DEPARTMENT:
                return device.department == self.of
        return device.mac.text == self.of


async def find_scope(call: Call, level: Level, of: str, group: str | None) -> Scope:
    """The scope, if there is such a thing and the caller sees it. Raises Problems `not-found`, `invalid-fields`, `forbidden`."""
    if (group is not None) is not (level is Level.NETWORK_GROUP):
        raise invalid(("?group", "required for a network group, and only there"))
    match level:
        case Level.PLATFORM | Level.MODEL:
            if not call.caller.everywhere:
                raise Problem("forbidden", "A token that is limited to some sites has no part in what holds for all.")
            if level is Level.PLATFORM:
                if of != "all":
                    raise not_found("platform (its one name is all)", of)
                return Scope(level, of, "", PLATFORM_SCOPE, "")
            if of.upper() not in call.ports.known_models():
                raise not_found("model", of)
            return Scope(level, of.upper(), "", model_scope(of), "")
        case Level.SITE:
            site = (await call.find_site(of)).record.id
            return Scope(level, site, "", site_scope(site), site)
        case Level.NETWORK_GROUP:
            site, group = (await call.find_site(of)).record.id, group or ""
            if not group or len(group) > 64:
                raise invalid(("?group", "1 to 64 characters"))
            return Scope(level, site, group, group_scope(site, group), site)
        case Level.DEPARTMENT:
            found = await call.find(Department, of, "department", lambda record: record.site)
            return Scope(level, of, "", department_scope(of), found.record.site)
    mac = parse_mac(of)
    device = await call.find(Device, mac.text, "device", lambda record: record.site)
    return Scope(level, mac.text, "", device_scope(mac), device.record.site, device)


async def present_lines(call: Call, scope: Scope) -> tuple[tuple[str, ...], int]:
    """The lines of a scope and their version: that of the device's record for a device, 0 where none were ever entered."""
    if scope.device is not None:
        return scope.device.record.autop_commands, scope.device.version
    stored = await call.ports.store.get(AutopCommands, scope.key)
    if stored is None:
        return (), 0
    return open_lines(call.ports.vault, scope.key, stored.record.sealed_lines), stored.version


async def keep_revision(work: Work, scope: str, lines: tuple[str, ...], before: tuple[str, ...] = ()) -> None:
    """Add to `work` a revision of these lines; the oldest beyond MAX_REVISIONS goes.

    `before`: what stood there, kept as the first revision where none was kept yet.
    """
    call = work.call
    newest = await call.ports.store.list(AutopRevision, "scope", scope, limit=1, newest_first=True)
    number = newest.items[0].record.number if newest.items else 0
    entries = [lines] if number or not before else [before, lines]
    for place, entry in enumerate(entries, number + 1):
        sealed = seal_lines(call.ports.vault, scope, entry)
        work.put(AutopRevision(scope, place, call.wall, call.caller.actor, sealed), expect=0)
        if place > MAX_REVISIONS:
            oldest = AutopRevision(scope, place - MAX_REVISIONS, 0.0, "", b"")
            work.delete(AutopRevision, oldest.key)


async def forget_revisions(work: Work, scope: str) -> None:
    """Add to `work` the end of a scope's revisions."""
    found = await work.call.ports.store.list(AutopRevision, "scope", scope, limit=2 * MAX_REVISIONS)
    for stored in found.items:
        work.delete(AutopRevision, stored.record.key)


async def forget_scope(work: Work, scope: str) -> None:
    """Add to `work` the end of a scope: its lines and revisions."""
    work.delete(AutopCommands, scope)
    await forget_revisions(work, scope)


async def devices_of(call: Call, scope: Scope, site: str) -> AsyncIterator[Stored[Device]]:
    """The devices of a scope at this site."""
    after: str | None = None
    while True:
        page = await call.ports.store.list(Device, "site", site, after=after, limit=MAX_PAGE)
        for stored in page.items:
            if scope.holds(stored.record):
                yield stored
        if page.next is None:
            return
        after = page.next
