"""`/firmware`: the images that devices can be upgraded to. They belong to no site, so only a token for every site changes them.

An image is named first (model, version, SHA-256, size) and uploaded then: the bytes are streamed to disk, and count only once
they have proven to be the ones that were named.
"""

import asyncio
import errno
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Response
from pydantic import AfterValidator, BaseModel, Field
from starlette.requests import ClientDisconnect

from admin_api.calls import Call, CallOf
from admin_api.models import Body, Timestamp, Whole, ascii_matching, merged, optional_timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, page
from admin_api.permissions import Permission
from admin_api.ports import FirmwareDraft
from admin_api.problems import Problem, documented, invalid, not_found
from admin_api.routing import needs, router, streamed
from admin_api.work import Answer, Work, run, show
from autop.catalogue import model as catalogue_model
from autop.firmware import fault, image_id
from registry.firmware import FirmwareImage, FirmwareUpgrade
from registry.store import Stored

routes = router()
_CONTROL = frozenset(map(chr, [*range(32), 127])) - {"\n", "\t"}


def _log(text: str) -> str:
    if any(mark in _CONTROL for mark in text):
        raise ValueError("control characters other than line ends and tabs are not allowed")
    return text


LogText = Annotated[str, Field(max_length=4096, description="What is new (manual: Upgrade Log)."), AfterValidator(_log)]


class ImageBody(Body):
    """An image that is to be uploaded."""

    model: Annotated[str, Field(min_length=1, max_length=32, description="The model of the table it is for.", examples=["R29"])]
    version: Annotated[str, Field(max_length=32, description="As devices tell it.", examples=["29.30.10.465"])]
    sha256: Annotated[str, ascii_matching(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case")]
    size: Annotated[Whole, Field(ge=1, description="Bytes.")]
    log: LogText = ""


class ImageLog(Body):
    """What can be changed of an image."""

    log: LogText = ""


class ImageView(BaseModel):
    """A firmware image."""

    id: str
    model: str
    version: str
    log: str
    sha256: str
    size: int
    created: Timestamp
    stored: str | None = Field(description="When its bytes had come; null until then.")
    available: bool = Field(description="Whether this node has the bytes; not after a restore, until they are uploaded again.")


def is_available(call: Call, image: FirmwareImage) -> bool:
    """Whether devices can get the image."""
    return image.stored is not None and call.ports.firmware.has(image.id)


def view_of(call: Call, image: FirmwareImage) -> ImageView:
    """An image as the API shows it."""
    return ImageView(
        id=image.id,
        model=image.model,
        version=image.version,
        log=image.log,
        sha256=image.sha256,
        size=image.size,
        created=timestamp(image.created),
        stored=optional_timestamp(image.stored),
        available=is_available(call, image),
    )


async def find_image(call: Call, image: str) -> Stored[FirmwareImage]:
    """The image. Raises Problem `not-found`."""
    found = await call.ports.store.get(FirmwareImage, image)
    if found is None:
        raise not_found("firmware image", image)
    return found


def _check_scope(call: Call) -> None:
    if not call.caller.everywhere:
        raise Problem("forbidden", "Firmware is for every site; a token that is limited to some cannot change it.")


@routes.post(
    "/firmware",
    status_code=201,
    tags=["firmware"],
    response_model=ImageView,
    responses=documented("forbidden", "invalid-fields", "already-exists"),
)
@needs(Permission.FIRMWARE_WRITE)
async def create_image(call: CallOf, body: ImageBody) -> Response:
    """Name an image: a model of the table and a version that is for this model. Then PUT its content."""
    _check_scope(call)

    async def attempt(work: Work) -> Answer:
        faults = []
        if why := fault(body.model, body.version):
            faults.append(("/version" if "version" in why else "/model", why))
        if body.size > call.ports.limits.firmware:
            faults.append(("/size", f"an image has at most {call.ports.limits.firmware} bytes"))
        if faults:
            raise invalid(*faults)
        model = catalogue_model(body.model).name
        image = FirmwareImage(image_id(body.sha256), body.sha256, body.size, model, body.version, body.log, call.wall)
        exists = Problem("already-exists", f"There is an image of {model} {body.version}, or one with this content.")
        if await call.ports.store.get(FirmwareImage, image.id) is not None:
            raise exists
        work.create(image, action="firmware.created", object=f"firmware/{image.id}", note=f"{model} {body.version}")
        location = f"/api/v1/firmware/{image.id}"
        return Answer(201, view_of(call, image), of=image, location=location, taken={"model-version": exists})

    return await run(call, attempt)


@routes.put(
    "/firmware/{image}/content",
    tags=["firmware"],
    response_model=ImageView,
    responses=documented(
        "forbidden",
        "not-found",
        "invalid-fields",
        "no-room",
        "busy",
        "body-too-large",
        "request-timeout",
        "unsupported-media-type",
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@needs(Permission.FIRMWARE_WRITE)
@streamed
async def put_content(call: CallOf, image: str) -> Response:
    """Upload an image's bytes. They must have the size and SHA-256 that were named; the same upload twice is as once."""
    _check_scope(call)
    named = (await find_image(call, image)).record
    try:
        draft = call.ports.firmware.begin(named.size)
        try:
            await _receive(call, draft, named)
            await draft.keep(named.id)
        finally:
            draft.discard()
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Problem("busy", headers={"Retry-After": "30"}) from None
        raise Problem("no-room" if error.errno == errno.ENOSPC else "store-unavailable") from None
    call.request.state.content_digest = named.sha256.encode()

    async def attempt(work: Work) -> Answer:
        found = await find_image(call, image)
        if found.record.stored is not None:
            return Answer(200, view_of(call, found.record), version=found.version)
        after = replace(found.record, stored=call.wall)
        work.change(found, after, action="firmware.uploaded", object=f"firmware/{image}", changed=("stored",))
        return Answer(200, view_of(call, after), of=after)

    try:
        return await run(call, attempt)
    except Problem as problem:
        if problem.code == "not-found":  # deleted while it came
            call.ports.firmware.remove(image)
        raise


async def _receive(call: Call, draft: FirmwareDraft, named: FirmwareImage) -> None:
    """All bytes of the request into the draft, each piece within a deadline. Raises Problem, and OSError of the disk."""
    try:
        stream = aiter(call.request.stream())
        while True:
            async with asyncio.timeout(call.ports.limits.request_seconds):
                content = await anext(stream, None)
            if content is None:
                break
            if draft.size + len(content) > named.size:
                raise _other_content(f"more than the {named.size} bytes that were named")
            await draft.write(content)
    except TimeoutError:
        raise Problem("request-timeout") from None
    except ClientDisconnect:
        raise Problem("malformed-request", "The connection ended before the content did.") from None
    if draft.size != named.size:
        raise _other_content(f"{draft.size} bytes, not the {named.size} that were named")
    if (digest := await draft.digest()) != named.sha256:
        raise _other_content(f"its SHA-256 is {digest}, not the one that was named")


def _other_content(why: str) -> Problem:
    return invalid(("", f"not the named content: {why}"))


@routes.get("/firmware", tags=["firmware"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.FIRMWARE_READ)
async def list_images(call: CallOf, paging: PagingOf) -> ListPage[ImageView]:
    """Every image."""
    return await page(call, paging, FirmwareImage, (Shelf("all", ""),), lambda found: view_of(call, found.record))


@routes.get("/firmware/{image}", tags=["firmware"], response_model=ImageView, responses=documented("forbidden", "not-found"))
@needs(Permission.FIRMWARE_READ)
async def get_image(call: CallOf, image: str) -> Response:
    """One image."""
    found = await find_image(call, image)
    return show(call, view_of(call, found.record), found.version)


@routes.patch(
    "/firmware/{image}",
    tags=["firmware"],
    response_model=ImageView,
    responses=documented("forbidden", "not-found", "invalid-fields", "precondition-failed", "precondition-required"),
)
@needs(Permission.FIRMWARE_WRITE)
async def change_image(call: CallOf, image: str, patch: dict[str, Any]) -> Response:
    """Change an image's log. What it is stays."""
    _check_scope(call)

    async def attempt(work: Work) -> Answer:
        found = await find_image(call, image)
        call.conditions.check_change(found.version)
        after = replace(found.record, log=merged(ImageLog, ImageLog(log=found.record.log), patch).log)
        if after == found.record:
            return Answer(200, view_of(call, after), version=found.version)
        work.change(found, after, action="firmware.changed", object=f"firmware/{image}", changed=("log",))
        return Answer(200, view_of(call, after), of=after)

    return await run(call, attempt)


@routes.delete(
    "/firmware/{image}",
    status_code=204,
    tags=["firmware"],
    responses=documented("forbidden", "not-found", "firmware-in-use", "precondition-failed", "precondition-required"),
)
@needs(Permission.FIRMWARE_WRITE)
async def delete_image(call: CallOf, image: str) -> Response:
    """Delete an image and its bytes. Refused while an upgrade that is not over needs it."""
    _check_scope(call)

    async def attempt(work: Work) -> Answer:
        found = await find_image(call, image)
        call.conditions.check_change(found.version)
        if await _in_use(call, image):
            raise Problem("firmware-in-use")
        work.remove(found, action="firmware.deleted", object=f"firmware/{image}")
        work.afterwards = forget
        return Answer(204)

    async def forget() -> None:
        call.ports.firmware.remove(image)

    return await run(call, attempt)


async def _in_use(call: Call, image: str) -> bool:
    """Whoever creates an upgrade writes its image too, so that an upgrade made meanwhile fails this deletion's version."""
    after: str | None = None
    while True:
        found = await call.ports.store.list(FirmwareUpgrade, "image", image, after=after)
        if any(not stored.record.state.is_over for stored in found.items):
            return True
        after = found.next
        if after is None:
            return False
