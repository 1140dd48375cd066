"""`/mac-library`: the MACs that devices may be added with. A distributor's word; nothing boots here without it."""

from typing import Annotated

from fastapi import Query, Response
from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from admin_api.calls import Call, CallOf, parse_mac
from admin_api.device_removal import remove_device
from admin_api.models import Body, MacText, OptionalName, Reference, Timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, SiteFilter, page, shelves
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, invalid
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.mac import MacAddress
from registry.records import Device, LibraryMac, Site
from registry.store import Stored

routes = router()
MAX_AT_ONCE = 250


class LibraryEntry(Body):
    """A MAC to add."""

    mac: MacText
    site: Annotated[Reference, Field(description="The only site it may be added to; empty for any.")] = ""
    distributor: OptionalName = ""


class LibraryEntries(Body):
    """Several MACs to add: all, or none if one is refused."""

    items: Annotated[list[LibraryEntry], Field(min_length=1, max_length=MAX_AT_ONCE)]

    @model_validator(mode="after")
    def _no_mac_twice(self) -> "LibraryEntries":
        if len({item.mac for item in self.items}) != len(self.items):
            raise ValueError("holds a MAC twice")
        return self


def _form(body: object) -> str:
    """Which of the two forms a body has; the tag is left out of the paths of field errors."""
    return "<list>" if (isinstance(body, dict) and "items" in body) or isinstance(body, LibraryEntries) else "<one>"


OneOrList = Annotated[
    Annotated[LibraryEntry, Tag("<one>")] | Annotated[LibraryEntries, Tag("<list>")],
    Discriminator(_form),
]


class LibraryView(BaseModel):
    """An entry of the MAC library."""

    mac: str
    site: str
    distributor: str
    added: Timestamp


class LibraryAdded(BaseModel):
    """What a list added."""

    items: list[LibraryView]


def _view(stored: Stored[LibraryMac]) -> LibraryView:
    entry = stored.record
    return LibraryView(mac=entry.mac.text, site=entry.site, distributor=entry.distributor, added=timestamp(entry.added))


async def _find(call: Call, mac: MacAddress) -> Stored[LibraryMac]:
    """A caller limited to some sites sees the entries reserved for those."""
    return await call.find(LibraryMac, mac.text, "MAC in the library", lambda entry: entry.site)


async def _add(call: Call, work: Work, entries: list[LibraryEntry], pointer: str) -> list[LibraryMac]:
    """Add the entries to `work`, all faults told at once. `pointer` with {} for the place gives a fault's path."""
    faults: list[tuple[str, str]] = []
    found: list[LibraryMac] = []
    sites = {site: await call.ports.store.get(Site, site) for site in {entry.site for entry in entries} if site}
    for place, item in enumerate(entries):
        if item.site and (sites[item.site] is None or not call.caller.sees(item.site)):
            faults.append((pointer.format(place) + "/site", "there is no such site"))
        elif not item.site and not call.caller.everywhere:
            faults.append((pointer.format(place) + "/site", "required: your token is limited to some sites"))
        if (await call.ports.store.get(LibraryMac, item.mac)) is not None:
            faults.append((pointer.format(place) + "/mac", f"{item.mac} is in the library already"))
        found.append(LibraryMac(MacAddress(item.mac), item.distributor, item.site, call.wall))
    if faults and all(path.endswith("/mac") for path, _ in faults):
        raise Problem("already-exists", "MACs of this request are in the library already; nothing was added.", errors=faults)
    if faults:
        raise invalid(*faults)
    for site in sites:
        work.require(Site, site)
    for entry in found:
        work.create(entry, action="mac-library.added", object=f"mac-library/{entry.mac}", site=entry.site)
    return found


@routes.post(
    "/mac-library",
    status_code=201,
    tags=["mac-library"],
    response_model=LibraryView | LibraryAdded,
    responses=documented("forbidden", "already-exists", "invalid-fields"),
)
@needs(Permission.MAC_LIBRARY_WRITE)
async def add_macs(call: CallOf, body: OneOrList) -> Response:
    """Add one MAC, or a list of up to 250 as `{"items": [...]}`: all or none, every fault told."""

    async def attempt(work: Work) -> Answer:
        if isinstance(body, LibraryEntry):
            (entry,) = await _add(call, work, [body], "")
            return Answer(201, _view(Stored(entry, 0)), of=entry, location=f"/api/v1/mac-library/{entry.mac}")
        entries = await _add(call, work, body.items, "/items/{}")
        return Answer(201, LibraryAdded(items=[_view(Stored(entry, 0)) for entry in entries]))

    return await run(call, attempt)


@routes.get("/mac-library", tags=["mac-library"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.MAC_LIBRARY_READ)
async def list_macs(call: CallOf, paging: PagingOf, site: SiteFilter = None) -> ListPage[LibraryView]:
    """The MAC library. A token limited to some sites sees the entries reserved for those."""
    return await page(call, paging, LibraryMac, shelves(call, site), _view)


@routes.get(
    "/mac-library/{mac}",
    tags=["mac-library"],
    response_model=LibraryView,
    responses=documented("forbidden", "malformed-mac", "not-found"),
)
@needs(Permission.MAC_LIBRARY_READ)
async def get_mac(call: CallOf, mac: str) -> Response:
    """One entry of the MAC library."""
    found = await _find(call, parse_mac(mac))
    return show(call, _view(found), found.version)


@routes.delete(
    "/mac-library/{mac}",
    status_code=204,
    tags=["mac-library"],
    responses=documented(
        "forbidden", "malformed-mac", "not-found", "mac-in-use", "invalid-fields", "precondition-failed", "precondition-required"
    ),
)
@needs(Permission.MAC_LIBRARY_WRITE)
async def remove_mac(
    call: CallOf,
    mac: str,
    revoke: Annotated[
        bool, Query(description="Also delete the device that uses it: account, channel and configuration end at once.")
    ] = False,
) -> Response:
    """Remove a MAC from the library. Refused while a device uses it, unless `?revoke=true` deletes that too, in one batch."""
    address = parse_mac(mac)
    device = await call.ports.store.get(Device, address.text)

    async def attempt(work: Work) -> Answer:
        entry = await _find(call, address)
        call.conditions.check_change(entry.version)
        present = await call.ports.store.get(Device, address.text)
        if present is not None and (not revoke or not call.caller.sees(present.record.site)):
            raise Problem("mac-in-use", f"The device {address} uses it. Delete the device first, or repeat with ?revoke=true.")
        if present is not None:
            await remove_device(work, present)
        work.remove(entry, action="mac-library.removed", object=f"mac-library/{address}", site=entry.record.site)
        return Answer(204)

    return await run(call, attempt, site=device.record.site if device is not None else None)
