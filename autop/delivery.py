"""What is known of a device and its configuration: which versions it fetched, and whether it seems to have applied the newest.

Plain HTTP autop has no acknowledgement. 'Applied' is inferred: a device that fetched bytes and then registered, or said by a
conditional GET that it has them, has most likely applied them; the words used here say so. Pure: records in, records out.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from registry.configuration import DeviceFetches, Fetch
from registry.mac import MacAddress

MAX_VERSIONS = 10
"""Versions kept of one device."""
CONFIRM_SECONDS = 600.0
"""A device that polls again and again writes this often at most: what it says is the same."""


class Standing(StrEnum):
    """How a device stands to the configuration it should have."""

    NEVER_FETCHED = "never-fetched"
    PENDING = "pending"
    """It has not fetched the present version yet."""
    FETCHED = "fetched"
    """Every byte of the present version was taken; nothing is known of its effect yet."""
    APPLIED = "applied (inferred)"
    """It fetched the present version, and registered or confirmed it since."""
    DRIFT = "drift"
    """It said that it holds other bytes than those it fetched last."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One request that ended well. `complete`: the device took every byte; else it said (304) that it has them.

    `held`: the one entity tag it named (If-None-Match) where it was sent other bytes, without quotes; empty for none.
    `transport`: "tftp"; empty for HTTPS and HTTP.
    """

    mac: MacAddress
    site: str
    etag: str
    at: float
    peer: str
    complete: bool
    held: str = ""
    bindings_version: int = 0
    transport: str = ""


def note(before: DeviceFetches | None, fetched: Fetched) -> DeviceFetches:
    """What is known after `fetched`: `before` itself where it says nothing new. At most MAX_VERSIONS; the oldest fall out."""
    record = before or DeviceFetches(fetched.mac, fetched.site)
    newest = record.fetches[-1] if record.fetches else None
    known = next((one for one in record.fetches if one.etag == fetched.etag), None)
    if not fetched.complete:
        if newest is not None and newest is known and not record.strange_etag and _is_fresh(newest, fetched.at):
            return record
        present = known or Fetch(fetched.etag, fetched.at, fetched.at, fetched.peer, 0)
        present = replace(present, confirmed=fetched.at, peer=fetched.peer, transport=fetched.transport)
        is_new = newest is None or newest.etag != fetched.etag
        version = fetched.bindings_version if is_new else record.bindings_version
        return _put(replace(record, bindings_version=version, strange_etag="", strange_at=None), present)
    present = known or Fetch(fetched.etag, fetched.at, fetched.at, fetched.peer, 0)
    present = replace(present, last=fetched.at, peer=fetched.peer, times=present.times + 1, confirmed=None)
    present = replace(present, transport=fetched.transport)
    drifted = bool(fetched.held) and newest is not None and fetched.held != newest.etag
    record = replace(record, bindings_version=fetched.bindings_version)
    if drifted:
        record = replace(record, strange_etag=fetched.held, strange_at=fetched.at)
    elif newest is not known:
        record = replace(record, strange_etag="", strange_at=None)
    return _put(record, present)


def _is_fresh(fetch: Fetch, now: float) -> bool:
    return fetch.confirmed is not None and 0 <= now - fetch.confirmed < CONFIRM_SECONDS


def _put(record: DeviceFetches, newest: Fetch) -> DeviceFetches:
    fetches = (*(one for one in record.fetches if one.etag != newest.etag), newest)
    return replace(record, fetches=fetches[-MAX_VERSIONS:])


def standing(record: DeviceFetches | None, present: str, bindings_version: int) -> Standing:
    """How a device stands to the version `present`. `bindings_version`: the store's version of its account's bindings now."""
    if record is None or not record.fetches:
        return Standing.NEVER_FETCHED
    if record.strange_etag:
        return Standing.DRIFT
    newest = record.fetches[-1]
    if newest.etag != present:
        return Standing.PENDING
    if newest.confirmed is not None or bindings_version > record.bindings_version:
        return Standing.APPLIED
    return Standing.FETCHED
