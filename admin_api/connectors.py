"""`/connectors`: the programs on sites' LANs that speak for devices without a channel, and their site tokens (docs/connector.md).

A token is shown once; afterwards only the key that follows from it is kept, sealed. A rotation makes a new token beside the old
one, which is valid until the new one is used: nobody locks himself out of a site that he cannot walk to.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.calls import Call, CallOf
from admin_api.credentials import base62, new_id
from admin_api.models import Body, Flag, Name, Timestamp, optional_timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, page
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented
from admin_api.roster import roster_of
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.connector import (
    MAX_CONNECTORS,
    MAX_KEY_NUMBER,
    Connector,
    ConnectorName,
    ConnectorSeen,
    SiteConnectors,
    SiteKey,
)
from registry.store import MAX_PAGE, Stored
from tunnel.site_token import SECRET_LENGTH, channel_key, write_site_token

routes = router()


class ConnectorBody(Body):
    """A connector to create."""

    name: Annotated[Name, Field(description="Where it stands, for people.", examples=["Cellar, rack 2"])]


class RotateBody(Body):
    """How a new token takes the place of the old one."""

    at_once: Annotated[
        Flag,
        Field(description="Revoke the old token now, not when the new one is first used: the connector is cut off until then."),
    ] = False


class ConnectorView(BaseModel):
    """A connector, without its token."""

    id: str
    site: str
    name: str
    created: Timestamp
    token: int = Field(description="The number of the token that is valid, the newest one where two are. 0 once revoked.")
    rotating: bool = Field(description="A new token was made and not used yet; the old one is valid until then.")
    revoked: str | None
    connected: bool = Field(description="As it last came or went.")
    last_seen: str | None
    address: str = Field(description="From where it last connected.")


class NewSiteToken(ConnectorView):
    """A connector with a token just made: the only time it is shown."""

    site_token: str = Field(description="For the connector's token file. It cannot be shown again.")


def _fields(connector: Connector, seen: ConnectorSeen | None) -> dict[str, object]:
    return {
        "id": connector.id,
        "site": connector.site,
        "name": connector.name,
        "created": timestamp(connector.created),
        "token": connector.keys[-1].number if connector.keys else 0,
        "rotating": len(connector.keys) > 1,
        "revoked": optional_timestamp(connector.revoked),
        "connected": seen is not None and seen.up and connector.revoked is None,
        "last_seen": optional_timestamp(seen.at if seen is not None else None),
        "address": seen.address if seen is not None else "",
    }


async def _find(call: Call, connector: str) -> Stored[Connector]:
    return await call.find(Connector, connector, "connector", lambda record: record.site)


async def _view(call: Call, connector: Connector) -> ConnectorView:
    seen = await call.ports.store.get(ConnectorSeen, connector.id)
    return ConnectorView.model_validate(_fields(connector, seen.record if seen is not None else None))


def _new_key(call: Call, id_: str, number: int) -> tuple[SiteKey, str]:
    """A key to keep, and the token to show."""
    name, secret = ConnectorName.of(id_, number), base62(call.ports.entropy, SECRET_LENGTH)
    sealed = call.ports.vault.seal(channel_key(secret), f"connector-key:{id_}:{number}")
    return SiteKey(number, sealed, call.wall), write_site_token(name, secret)


@routes.post(
    "/sites/{site}/connectors",
    status_code=201,
    tags=["connectors"],
    response_model=NewSiteToken,
    responses=documented("forbidden", "not-found", "invalid-fields", "too-many-connectors"),
)
@needs(Permission.CONNECTORS_WRITE)
async def create_connector(call: CallOf, site: str, body: ConnectorBody) -> Response:
    """Let a connector in at a site. Answers its site token once. The site's doors get a login for it with their next fetch."""

    async def attempt(work: Work) -> Answer:
        await call.find_site(site)
        roster = await roster_of(call.ports.store, site)
        present = await call.ports.store.get(SiteConnectors, site)
        ids = present.record.ids if present is not None else ()
        if len(ids) >= MAX_CONNECTORS:
            raise Problem("too-many-connectors", f"The site has {len(ids)} connectors.")
        id_ = new_id(call.ports.entropy)
        key, token = _new_key(call, id_, 1)
        made = Connector(id_, site, body.name, (key,), call.wall)
        work.create(made, action="connector.created", object=f"connector/{id_}", site=site)
        work.put(SiteConnectors(site, (*ids, id_)), expect=present.version if present is not None else 0)
        work.put(roster.record, expect=roster.version)
        answer = NewSiteToken.model_validate({**_fields(made, None), "site_token": token})
        return Answer(201, answer, of=made, location=f"/api/v1/connectors/{id_}")

    return await run(call, attempt, site=site)


@routes.get(
    "/sites/{site}/connectors",
    tags=["connectors"],
    responses=documented("forbidden", "not-found", "invalid-fields", "malformed-cursor"),
)
@needs(Permission.CONNECTORS_READ)
async def list_connectors(call: CallOf, site: str, paging: PagingOf) -> ListPage[ConnectorView]:
    """The connectors of a site, revoked ones included."""
    await call.find_site(site)
    seen = await _seen(call, site)
    return await page(
        call,
        paging,
        Connector,
        (Shelf("site", site),),
        lambda stored: ConnectorView.model_validate(_fields(stored.record, seen.get(stored.record.id))),
    )


async def _seen(call: Call, site: str) -> Mapping[str, ConnectorSeen]:
    found: dict[str, ConnectorSeen] = {}
    after: str | None = None
    while True:
        part = await call.ports.store.list(ConnectorSeen, "site", site, after=after, limit=MAX_PAGE)
        found |= {stored.record.id: stored.record for stored in part.items}
        if part.next is None:
            return found
        after = part.next


@routes.get(
    "/connectors/{connector}", tags=["connectors"], response_model=ConnectorView, responses=documented("forbidden", "not-found")
)
@needs(Permission.CONNECTORS_READ)
async def get_connector(call: CallOf, connector: str) -> Response:
    """One connector. When it was last seen is no part of its version, so it has no 304."""
    found = await _find(call, connector)
    return show(call, await _view(call, found.record), found.version, may_be_unmodified=False)


@routes.post(
    "/connectors/{connector}/rotate",
    status_code=201,
    tags=["connectors"],
    response_model=NewSiteToken,
    responses=documented("forbidden", "not-found", "invalid-fields", "connector-revoked"),
)
@needs(Permission.CONNECTORS_WRITE)
async def rotate_token(call: CallOf, connector: str, body: RotateBody | None = None) -> Response:
    """Make a new site token. The old one is valid until the new one is used, or ends `at_once`; an unused newer one ends now."""
    at_once = body is not None and body.at_once

    async def attempt(work: Work) -> Answer:
        found = await _find(call, connector)
        before = found.record
        if before.revoked is not None or before.keys[-1].number >= MAX_KEY_NUMBER:
            raise Problem("connector-revoked")
        key, token = _new_key(call, before.id, before.keys[-1].number + 1)
        after = replace(before, keys=(key,) if at_once else (before.keys[0], key))
        path = f"connector/{connector}"
        work.change(found, after, action="connector.token-rotated", object=path, site=before.site, changed=("keys",))
        answer = NewSiteToken.model_validate({**(await _view(call, after)).model_dump(), "site_token": token})
        return Answer(201, answer, of=after)

    return await run(call, attempt)


@routes.delete(
    "/connectors/{connector}",
    status_code=204,
    tags=["connectors"],
    responses=documented("forbidden", "not-found", "precondition-failed"),
)
@needs(Permission.CONNECTORS_WRITE)
async def revoke_connector(call: CallOf, connector: str) -> Response:
    """Revoke a connector: its tokens end, and its link within a second. It stays in the list. Twice is no error.

    Needs no If-Match: whoever revokes it means it, whatever was rotated meanwhile. If sent, it counts.
    """
    site = (await _find(call, connector)).record.site

    async def attempt(work: Work) -> Answer:
        found = await _find(call, connector)
        if call.conditions.if_match is not None:
            call.conditions.check_change(found.version)
        before = found.record
        if before.revoked is None:
            after = replace(before, keys=(), revoked=call.wall)
            path = f"connector/{connector}"
            work.change(found, after, action="connector.revoked", object=path, site=site, changed=("keys", "revoked"))
            await _unlist(work, before)
        return Answer(204)

    return await run(call, attempt, site=site)


async def _unlist(work: Work, connector: Connector) -> None:
    present = await work.call.ports.store.get(SiteConnectors, connector.site)
    if present is not None:
        ids = tuple(id_ for id_ in present.record.ids if id_ != connector.id)
        work.put(replace(present.record, ids=ids), expect=present.version)


async def remove_connectors(work: Work, site: str) -> None:
    """Add to `work` the end of everything a site that is deleted had here; links end with it."""
    store = work.call.ports.store
    for kind in (Connector, ConnectorSeen):
        after: str | None = None
        while True:
            part = await store.list(kind, "site", site, after=after, limit=MAX_PAGE)
            for stored in part.items:
                work.delete(kind, stored.record.key)
            if part.next is None:
                break
            after = part.next
    work.delete(SiteConnectors, site)
