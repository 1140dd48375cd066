"""`/devices/{mac}/configuration`: what a device would fetch now, what it fetched before, and what is known of its effect."""

import hashlib
import json
from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel

from admin_api.autop_lines import masked as masked_line
from admin_api.autop_models import ComposedLine, ConfigurationView, FetchedFileView, FetchView, LineChange
from admin_api.calls import Call, CallOf, parse_mac
from admin_api.devices import find_device
from admin_api.models import optional_timestamp, timestamp
from admin_api.pages import ListPage
from admin_api.permissions import Permission
from admin_api.problems import Problem, documented, not_found
from admin_api.routing import needs, router
from autop.cfg_format import masked, read_as_device
from autop.delivery import standing
from autop.errors import AutopError
from autop.net.configurations import Preview
from autop.net.one_time import inflate
from registry.configuration import DeviceFetches, Fetch, FetchedFile, fetched_file_key
from registry.errors import BadSeal
from registry.location import AorBindings
from registry.mac import MacAddress

routes = router()


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[LineChange]:
    """The settings in which two files differ, secrets masked; those of `after` in its order, then what is gone."""
    names = [key for key in after if before.get(key) != after[key]]
    names += [key for key in before if key not in after]
    return [LineChange(key=key, before=_shown(key, before), after=_shown(key, after)) for key in names]


def settings(preview: Preview) -> dict[str, str]:
    """The settings of a file to be, in the clear."""
    return {line.key: line.value for line in preview.lines}


def _shown(key: str, settings: Mapping[str, str]) -> str | None:
    return masked(key, settings[key]) if key in settings else None


def _fetch_fields(fetch: Fetch) -> dict[str, object]:
    return {
        "etag": fetch.etag,
        "first": timestamp(fetch.first),
        "last": timestamp(fetch.last),
        "address": fetch.peer,
        "transport": fetch.transport or "http",
        "times": fetch.times,
        "confirmed": optional_timestamp(fetch.confirmed),
    }


async def _file(call: Call, mac: MacAddress, etag: str) -> bytes | None:
    """The exact bytes of a version that a device fetched; None where they are not kept."""
    stored = await call.ports.store.get(FetchedFile, fetched_file_key(mac, etag))
    if stored is None:
        return None
    try:
        packed = call.ports.vault.open(stored.record.sealed_file, f"fetched:{mac}/{etag}")
        return inflate(packed) if packed else None
    except BadSeal:
        return None


def _hashed(call: Call, body: BaseModel) -> Response:
    """An answer whose ETag is its own hash: it follows from many records, and from none of them alone."""
    text = json.dumps(body.model_dump(mode="json"))
    tag = hashlib.sha256(text.encode()).hexdigest()
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    named = call.conditions.if_none_match
    if named is not None and (tag in named or "*" in named):
        return Response(status_code=304, headers=headers)
    return Response(text, 200, headers, "application/json")


@routes.get(
    "/devices/{mac}/configuration",
    tags=["configurations"],
    response_model=ConfigurationView,
    responses=documented("malformed-mac", "not-found", "not-renderable"),
)
@needs(Permission.DEVICES_READ)
async def get_configuration(call: CallOf, mac: str) -> Response:
    """What the device would fetch now, line by line with the layer of each, and how it stands to it. Secrets are masked.

    `applied (inferred)`: it fetched this version, and registered or confirmed it (a conditional GET) since. No device says more.
    """
    device = (await find_device(call, parse_mac(mac))).record
    try:
        shown = await call.ports.configurations.preview(device.mac)
    except (AutopError, BadSeal) as error:
        raise Problem("not-renderable", f"{device.mac}: {error}.") from None
    if shown is None:
        raise not_found("device", mac)
    record = await _fetches(call, device.mac)
    bindings = await call.ports.store.get(AorBindings, device.account) if device.account else None
    newest = record.fetches[-1] if record is not None and record.fetches else None
    had = await _file(call, device.mac, newest.etag) if newest is not None else None
    lines = [
        ComposedLine(
            key=line.key, value=masked(line.key, line.value), layer=line.layer.label, over=[under.label for under in line.over]
        )
        for line in shown.lines
    ]
    view = ConfigurationView(
        mac=device.mac.text,
        etag=shown.file.hash,
        size=len(shown.file.body),
        standing=standing(record, shown.file.hash, bindings.version if bindings is not None else 0).value,
        one_time=shown.one_time,
        under_way=shown.under_way,
        lines=lines,
        fetched=FetchView.model_validate(_fetch_fields(newest)) if newest is not None else None,
        drift=record.strange_etag or None if record is not None else None,
        difference=None if had is None else differences(read_as_device(had).settings, settings(shown)),
    )
    return _hashed(call, view)


@routes.get("/devices/{mac}/configuration/versions", tags=["configurations"], responses=documented("malformed-mac", "not-found"))
@needs(Permission.DEVICES_READ)
async def list_versions(call: CallOf, mac: str) -> ListPage[FetchView]:
    """The last 10 versions that the device fetched, newest first: when, how often, and from which address."""
    device = (await find_device(call, parse_mac(mac))).record
    record = await _fetches(call, device.mac)
    fetches = reversed(record.fetches) if record is not None else ()
    return ListPage(items=[FetchView.model_validate(_fetch_fields(one)) for one in fetches], next=None)


@routes.get(
    "/devices/{mac}/configuration/versions/{etag}",
    tags=["configurations"],
    response_model=FetchedFileView,
    responses=documented("malformed-mac", "not-found"),
)
@needs(Permission.DEVICES_READ)
async def get_version(call: CallOf, mac: str, etag: str) -> Response:
    """One version that the device fetched, as it got it: kept byte for byte, shown with its secrets masked."""
    device = (await find_device(call, parse_mac(mac))).record
    record = await _fetches(call, device.mac)
    fetch = next((one for one in record.fetches if one.etag == etag), None) if record is not None else None
    if fetch is None:
        raise not_found("version", etag)
    body = await _file(call, device.mac, etag)
    lines = None if body is None else [masked_line(line) for line in body.decode().splitlines()]
    return _hashed(call, FetchedFileView.model_validate({**_fetch_fields(fetch), "mac": device.mac.text, "lines": lines}))


async def _fetches(call: Call, mac: MacAddress) -> DeviceFetches | None:
    stored = await call.ports.store.get(DeviceFetches, mac.text)
    return None if stored is None else stored.record
