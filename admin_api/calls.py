"""`Call`: one authenticated request on its way through a route, and the lookups that keep it inside its scope."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from admin_api.auth import Caller
from admin_api.conditions import Conditions
from admin_api.ports import AdminPorts
from admin_api.problems import Problem, not_found
from registry.errors import MalformedMac
from registry.mac import MacAddress
from registry.records import Site
from registry.store import Record, Stored

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller has the route's permission. Whether the caller may see a site is asked per thing."""

    request: Request
    ports: AdminPorts
    caller: Caller
    wall: float

    @property
    def conditions(self) -> Conditions:
        """If-Match and If-None-Match. Raises Problem `malformed-etag`."""
        return Conditions.read(self.request.headers)

    async def find(self, kind: type[R], key: str, what: str, site: Callable[[R], str]) -> Stored[R]:
        """The record, if it exists at a site the caller sees. Otherwise the same Problem `not-found`."""
        found = await self.ports.store.get(kind, key)
        if found is None or not self.caller.sees(site(found.record)):
            raise not_found(what, key)
        return found

    async def find_site(self, site: str) -> Stored[Site]:
        """The site, if the caller sees it. Raises Problem `not-found`."""
        return await self.find(Site, site, "site", lambda record: record.id)


async def call_of(request: Request) -> Call:
    """The Call that routing.py made for this request. Async, as every dependency: FastAPI runs others in threads."""
    call = request.state.call
    assert isinstance(call, Call)
    return call


CallOf = Annotated[Call, Depends(call_of)]
"""The type of a route's first parameter."""


def parse_mac(text: str) -> MacAddress:
    """A MAC of the path, in any spelling. Raises Problem `malformed-mac`."""
    try:
        return MacAddress.parse(text)
    except MalformedMac as malformed:
        raise Problem("malformed-mac", f"{malformed}.") from None
