"""Taking a device away: everything that let it in ends in one batch (manual L63, L236)."""

from admin_api.autop_scopes import forget_revisions
from admin_api.roster import Delta, enrol, roster_of
from admin_api.work import Work
from registry.command_states import Event, step
from registry.commands import Command
from registry.configuration import AuthorityFetched, DeviceFetches, FetchedFile, OneTimeAutop, device_scope, fetched_file_key
from registry.connector import DeviceAddress
from registry.enrolment import Enrolment, EnrolmentWindow, TokenRotation, device_window
from registry.mac import MacAddress
from registry.records import Account, Device, RemoteSession
from registry.relay_state import RelayState
from registry.store import MAX_PAGE, Stored
from registry.web_certificate import WebCertificate
from tunnel.session import closed


async def remove_device(work: Work, device: Stored[Device]) -> None:
    """Add to `work` the end of a device: its record, SIP account, Remote Control sessions and places in ring plans.

    Its configuration URL and channel key go with the record, as do a rotation of its token and how it enrolled.
    Raises Problem `not-found` where the site is gone.
    """
    store, record = work.call.ports.store, device.record
    roster = await roster_of(store, record.site)
    work.remove(device, action="device.deleted", object=f"device/{record.mac}", site=record.site)
    account = await store.get(Account, record.account)
    if account is not None:
        work.delete(Account, record.account, expect=account.version)
    if await store.get(RelayState, record.mac.text) is not None:
        work.delete(RelayState, record.mac.text)
    await end_sessions(work, record, "device deleted")
    work.delete(WebCertificate, record.mac.text)
    await _end_commands(work, record.mac)
    await _forget_configuration(work, record.mac)
    await enrol(work, roster, Delta(device_before=record))


async def _forget_configuration(work: Work, mac: MacAddress) -> None:
    """Add to `work` the end of what waits for the device, of what it fetched, of its lines' revisions (they hold secrets), and of
    its LAN address."""
    fetches = await work.call.ports.store.get(DeviceFetches, mac.text)
    work.delete(OneTimeAutop, mac.text)
    work.delete(DeviceFetches, mac.text)
    for kind in (AuthorityFetched, TokenRotation, Enrolment):
        work.delete(kind, mac.text)
    work.delete(EnrolmentWindow, device_window(mac))
    work.delete(DeviceAddress, mac.text)
    for fetch in fetches.record.fetches if fetches is not None else ():
        work.delete(FetchedFile, fetched_file_key(mac, fetch.etag))
    await forget_revisions(work, device_scope(mac))


async def _end_commands(work: Work, mac: MacAddress) -> None:
    """Add to `work` the end of the device's commands that wait."""
    found = await work.call.ports.store.list(Command, "queue", mac.text, limit=MAX_PAGE)
    for stored in found.items:
        work.put(step(stored.record, Event.GONE, work.call.wall), expect=stored.version)


async def end_sessions(work: Work, device: Device, reason: str) -> None:
    """Add to `work` the end of the device's Remote Control sessions that still run."""
    after: str | None = None
    while True:
        found = await work.call.ports.store.list(RemoteSession, "mac", device.mac.text, after=after, limit=MAX_PAGE)
        for session in found.items:
            over = closed(session.record, reason, work.call.wall)
            if over is not session.record and session.record.expires > work.call.wall:
                work.put(over, expect=session.version)
        if found.next is None:
            return
        after = found.next
