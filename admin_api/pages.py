"""Lists in pages: `?limit=&cursor=` in, `{"items": [...], "next": ...}` out.

A cursor names the last thing of its page, so a page neither repeats nor skips what was there while others come and go. It
is opaque and bound to its list and filters, but no secret: what a caller may see is asked anew with every page.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from admin_api.calls import Call
from admin_api.problems import Problem, invalid
from registry.store import MAX_PAGE, Record, Stored

R = TypeVar("R", bound=Record)
V = TypeVar("V", bound=BaseModel)


class ListPage(BaseModel, Generic[V]):
    """Part of a list."""

    items: list[V]
    next: str | None = Field(description="Send it as `cursor` for the following page; null at the end.")


@dataclass(frozen=True, slots=True)
class Paging:
    """How much of a list is asked for, beginning where."""

    limit: int
    cursor: str | None


async def _paging(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The most items of this page.")] = 100,
    cursor: Annotated[str | None, Query(max_length=1024, description="The `next` of the page before.")] = None,
) -> Paging:
    return Paging(limit, cursor)


PagingOf = Annotated[Paging, Depends(_paging)]
SiteFilter = Annotated[str | None, Query(max_length=64, description="Only things of this site.")]
SiteQuery = Annotated[str, Query(max_length=64, description="The site whose things are listed.")]


@dataclass(frozen=True, slots=True)
class Shelf:
    """One value of one index, to be listed."""

    index: str
    value: str


def shelves(call: Call, site: str | None) -> tuple[Shelf, ...]:
    """Where to look for things of `site`, or of all sites in the caller's scope. Raises Problem `not-found`."""
    if site is not None:
        if not call.caller.sees(site):
            return ()
        return (Shelf("site", site),)
    if call.caller.everywhere:
        return (Shelf("all", ""),)
    return tuple(Shelf("site", value) for value in sorted(call.caller.sites))


def log_shelves(call: Call, site: str | None) -> tuple[Shelf, ...]:
    """As `shelves`, for lists in order of time, which cannot be put together from several sites."""
    found = shelves(call, site)
    if len(found) > 1:
        raise invalid(("?site", "required: the token's scope holds several sites"))
    return found


async def page(
    call: Call,
    paging: Paging,
    kind: type[R],
    where: Sequence[Shelf],
    view: Callable[[Stored[R]], V],
    *,
    newest_first: bool = False,
    keep: Callable[[R], bool] = lambda _record: True,
) -> ListPage[V]:
    """One page of the records on the shelves `where`, shelf after shelf.

    `keep` leaves records out; a page may then hold fewer than `limit` items, even none, and still have a `next`.
    Raises Problem `malformed-cursor`.
    """
    binding = _binding(kind, where, newest_first)
    position, after = _read_cursor(paging.cursor, binding, len(where))
    items: list[V] = []
    left = paging.limit
    while position < len(where):
        shelf = where[position]
        found = await call.ports.store.list(kind, shelf.index, shelf.value, after=after, limit=left, newest_first=newest_first)
        items += [view(stored) for stored in found.items if keep(stored.record)]
        left -= len(found.items)
        position, after = (position, found.next) if found.next is not None else (position + 1, None)
        if left <= 0:
            break
    return ListPage(items=items, next=_write_cursor(binding, position, after) if position < len(where) else None)


def _binding(kind: type[Record], where: Sequence[Shelf], newest_first: bool) -> str:
    text = json.dumps([kind.__name__, newest_first, [[shelf.index, shelf.value] for shelf in where]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_cursor(binding: str, position: int, after: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([binding, position, after]).encode()).decode("ascii").rstrip("=")


def _read_cursor(cursor: str | None, binding: str, count: int) -> tuple[int, str | None]:
    if cursor is None:
        return 0, None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        of, position, after = found
    except (ValueError, TypeError, RecursionError):
        raise Problem("malformed-cursor") from None
    if of != binding or type(position) is not int or not 0 <= position < count or not (after is None or isinstance(after, str)):
        raise Problem("malformed-cursor")
    return position, after
