"""What the API says when it refuses: RFC 9457 problems, in one place.

Every problem has a stable `code`; its `type` is the page under /api/v1/problems/ that explains it. `detail` names the
thing, the place and the way out, and never repeats a secret. All field errors of a request are told at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from registry.errors import StoreUnavailable

PREFIX = "/api/v1"
"""Where this version of the API lives."""
MEDIA_TYPE = "application/problem+json"
MAX_FIELD_ERRORS = 100
"""Field errors told in one answer; a hostile body may hold a million."""
_LONGEST_PATH = 128


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: its status, what it is, and what the caller can do."""

    status: int
    title: str
    way_out: str


PROBLEMS: Mapping[str, ProblemType] = {
    "malformed-json": ProblemType(400, "The body is no JSON", "Send one JSON value in UTF-8."),
    "malformed-request": ProblemType(400, "The request is malformed", "See the detail; the request was not understood."),
    "malformed-mac": ProblemType(400, "Not a MAC address", "Send 12 hexadecimal digits, plain or with : - . between them."),
    "malformed-cursor": ProblemType(
        400, "The cursor is not of this list", "Send the `next` of a page of the same list and filters."
    ),
    "malformed-etag": ProblemType(
        400, "An If-Match or If-None-Match that cannot be read", 'Send entity tags as the API gave them, for example "42".'
    ),
    "malformed-idempotency-key": ProblemType(
        400, "An Idempotency-Key that cannot be read", "Send 1 to 255 visible ASCII characters."
    ),
    "unauthorized": ProblemType(
        401, "No valid bearer token", "Send Authorization: Bearer with a token that is neither expired nor revoked."
    ),
    "forbidden": ProblemType(
        403, "The token's role may not do this", "Use a token whose role has the permission that the detail names."
    ),
    "opening-refused": ProblemType(
        403,
        "The relay may not be opened so",
        "Check the account's site, department and app, the relay's access methods, and for the talking page that they talk.",
    ),
    "not-found": ProblemType(
        404, "There is no such thing", "Check the name; things of sites outside the token's scope are not found either."
    ),
    "method-not-allowed": ProblemType(405, "The resource does not know this method", "See the Allow header."),
    "request-timeout": ProblemType(408, "The request took too long to arrive", "Send the whole request within the deadline."),
    "already-exists": ProblemType(409, "It exists already", "Read the present one, or choose another name."),
    "number-taken": ProblemType(
        409, "The number belongs to another user or department of the site", "Choose a number that is free at the site."
    ),
    "person-id-taken": ProblemType(
        409, "The person ID belongs to another user of the site", "Choose an ID that is free at the site."
    ),
    "mac-not-in-library": ProblemType(
        409,
        "The MAC library does not allow this device here",
        "Have the distributor add the MAC to the library, for this site or for any; remove its device from another site first.",
    ),
    "mac-in-use": ProblemType(
        409, "A device uses this MAC", "Delete the device first, or repeat with ?revoke=true to remove both at once."
    ),
    "site-fixed": ProblemType(409, "A thing stays at its site", "Delete it and add it at the other site."),
    "not-empty": ProblemType(409, "It still holds something", "Remove or move what it holds first."),
    "owns-devices": ProblemType(409, "The user still owns devices", "Give the devices another owner, or delete them, first."),
    "too-many-targets": ProblemType(
        409, "More devices would ring than one call can hold", "Take devices from the user, or guard phones from the site."
    ),
    "forward-off": ProblemType(
        409, "The site does not allow port forwards", "Set allow_forward of the site to true, for as long as it is needed."
    ),
    "too-many-sessions": ProblemType(
        503, "Every port for Remote Control sessions is in use", "End a session, or give remote_control.ports more of them."
    ),
    "feature-off": ProblemType(409, "The user's intercom feature is off", "Turn it on first: without it there is no app."),
    "too-many-connectors": ProblemType(409, "The site has as many connectors as one may have", "Revoke one first."),
    "connector-revoked": ProblemType(409, "The connector is revoked", "Create a new one."),
    "too-many-apps": ProblemType(409, "The user has as many apps as one may have", "Delete an app first."),
    "not-renderable": ProblemType(
        409, "The device cannot be given a configuration", "Correct what the detail names; until then it keeps what it has."
    ),
    "too-many-devices": ProblemType(409, "More devices than one order holds", "Order it by departments, or by devices."),
    "too-much-waits": ProblemType(
        409, "A device has earlier One-Time Autop to fetch", "Wait until it has fetched it, or cancel what waits."
    ),
    "under-way": ProblemType(409, "It was sent already", "Nothing can take back what a device may have."),
    "firmware-in-use": ProblemType(409, "An upgrade uses the image", "Let it end, or delete it, first."),
    "firmware-missing": ProblemType(409, "The image has no content yet", "PUT its bytes to /firmware/{image}/content first."),
    "already-upgrading": ProblemType(
        409, "A device takes part in another upgrade", "Let it end, delete it, or leave the device out."
    ),
    "upgrade-begun": ProblemType(409, "Only a pending upgrade can be changed", "Delete it, and create another one."),
    "too-many-commands": ProblemType(
        409, "Too many commands wait for the device", "Let some be executed or expire, or cancel them, first."
    ),
    "command-over": ProblemType(409, "The command is over", "Only a pending command can be cancelled."),
    "no-upgrade": ProblemType(409, "The device takes part in no upgrade", "Create one: POST /upgrades."),
    "precondition-failed": ProblemType(412, "It was changed meanwhile", "Read it again and repeat with its present ETag."),
    "body-too-large": ProblemType(413, "The body is too large", "Send less at once."),
    "unsupported-media-type": ProblemType(415, "The body is not JSON", "Send Content-Type: application/json."),
    "invalid-fields": ProblemType(422, "Some fields are not valid", "Correct every entry of `errors`."),
    "idempotency-key-reused": ProblemType(
        422, "The Idempotency-Key belongs to another request", "Use a new key for a new request."
    ),
    "precondition-required": ProblemType(428, "A change needs If-Match", "Read the thing and send its ETag as If-Match."),
    "too-many-streams": ProblemType(429, "Too many event streams", "Close one, or try again later."),
    "internal-error": ProblemType(500, "The gateway made a mistake", "See the gateway's log; please report it."),
    "device-refused": ProblemType(502, "The device did not do it", "See the detail for the device's own word."),
    "device-unreachable": ProblemType(
        503, "The device cannot be reached now", "Nothing was done; see the device's status, and try again when it is online."
    ),
    "device-silent": ProblemType(
        504,
        "The device did not answer in time",
        "It may or may not have done it. Repeat an order with the same Idempotency-Key: it is done once.",
    ),
    "no-room": ProblemType(507, "There is no room for the image", "Delete images that are not needed, or add disk."),
    "store-unavailable": ProblemType(
        503, "The store cannot answer now", "Nothing was changed; try again after Retry-After seconds."
    ),
    "busy": ProblemType(
        503, "Too many changes of the same thing at once", "Nothing was changed; try again after Retry-After seconds."
    ),
    "too-slow": ProblemType(
        503, "The answer took too long", "The request may or may not have had its effect; read before you repeat it."
    ),
}
"""Every problem the API can answer with, by code. Codes never change their meaning."""


class FieldError(BaseModel):
    """One field that is not valid."""

    path: str = Field(description="Where: a JSON Pointer into the body (RFC 6901), or ?name for a query parameter.")
    message: str = Field(description="What is wrong, and what is allowed.")


class ProblemBody(BaseModel):
    """An RFC 9457 problem."""

    type: str = Field(description="The page that explains this kind of problem.")
    code: str = Field(description="The kind of problem, stable for programs.")
    title: str
    status: int
    detail: str = Field(description="The thing, the place and the way out.")
    instance: str = Field(description="The path of the request.")
    errors: list[FieldError] = Field(default=[], description="All invalid fields at once.")


class Problem(Exception):
    """Raised anywhere below a route to refuse the request."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.kind = PROBLEMS[code]
        self.detail = detail or self.kind.way_out
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def not_found(what: str, name: str) -> Problem:
    """The one answer for what is unknown and for what the caller may not see."""
    return Problem("not-found", f"There is no {what} {shown(name)}.")


def invalid(*errors: tuple[str, str]) -> Problem:
    """Fields that are not valid for a reason only the registry knows; each is (JSON Pointer, message)."""
    return Problem("invalid-fields", errors=errors)


def shown(text: str) -> str:
    """A caller's text as an answer or a log may hold it: quoted, escaped, not endless."""
    return json.dumps(text if len(text) <= 64 else text[:61] + "...")


def problem_response(problem: Problem, instance: str) -> Response:
    """The problem as an HTTP answer. Escapes everything beyond ASCII, so that no hostile text can break it."""
    body: dict[str, Any] = {
        "type": f"{PREFIX}/problems/{problem.code}",
        "code": problem.code,
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "instance": instance[:_LONGEST_PATH],
    }
    if problem.errors:
        body["errors"] = [{"path": path, "message": message} for path, message in problem.errors[:MAX_FIELD_ERRORS]]
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(json.dumps(body), problem.kind.status, headers, MEDIA_TYPE)


def pointer(location: Sequence[int | str]) -> str:
    """Pydantic's location of a field as the `path` of a FieldError."""
    where, *rest = [step for step in location if step not in ("<one>", "<list>")] or ["body"]
    steps = "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in rest)
    path = (
        f"/{steps}"
        if where == "body" and rest
        else f"?{steps}"
        if where == "query"
        else f"{where}"
        if not rest
        else f"{where}/{steps}"
    )
    return ("" if path == "body" else path)[:_LONGEST_PATH]


async def on_problem(request: Request, error: Exception) -> Response:
    """Exception to answer: a refusal of ours."""
    assert isinstance(error, Problem)
    return problem_response(error, request.url.path)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Exception to answer: what pydantic found, all of it. The input itself is not repeated."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        return problem_response(
            Problem("malformed-json", f"The body is no JSON near byte {found[0]['loc'][-1]}."), request.url.path
        )
    errors = [(pointer(item["loc"]), str(item["msg"]).removeprefix("Value error, ")[:256]) for item in found[:MAX_FIELD_ERRORS]]
    return problem_response(Problem("invalid-fields", errors=errors), request.url.path)


_BY_STATUS = {
    400: "malformed-json",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
}


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Exception to answer: what Starlette and FastAPI raise (unknown path, wrong method, unreadable body)."""
    assert isinstance(error, HTTPException)
    code = _BY_STATUS.get(error.status_code, "malformed-request")
    return problem_response(Problem(code, headers=error.headers), request.url.path)


async def on_store_unavailable(request: Request, _error: Exception) -> Response:
    """Exception to answer: the store is closed, full or away. Nothing was acknowledged."""
    return problem_response(Problem("store-unavailable", headers={"Retry-After": "2"}), request.url.path)


async def on_unexpected(request: Request, _error: Exception) -> Response:
    """Exception to answer: a bug. Starlette raises the error again after this answer, so the server logs it."""
    return problem_response(Problem("internal-error"), request.url.path)


EXCEPTIONS: Mapping[type[Exception], Any] = {
    Problem: on_problem,
    RequestValidationError: on_invalid,
    HTTPException: on_http_exception,
    StoreUnavailable: on_store_unavailable,
    Exception: on_unexpected,
}


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the problems it may answer with, by status, for OpenAPI."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in sorted({*codes, "unauthorized", "store-unavailable"}):
        kind = PROBLEMS[code]
        entry = found.setdefault(kind.status, {"model": ProblemBody, "description": "", "content": {MEDIA_TYPE: {}}})
        entry["description"] += ("; " if entry["description"] else "") + f"`{code}`: {kind.title}"
    return found
