"""`create_app`: the API as one ASGI app. The list of its resources is here, to be read at a glance."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from admin_api import (
    apps,
    autop_commands,
    command_groups,
    commands,
    configurations,
    connectors,
    departments,
    devices,
    door_opening,
    enrolment_windows,
    events,
    firmware,
    forwards,
    lan_addresses,
    live,
    logs,
    mac_library,
    one_time,
    remote_sessions,
    ring_plans,
    sites,
    token_rotation,
    tokens,
    trunks,
    upgrades,
    users,
    web_certificates,
)
from admin_api.events import Streams
from admin_api.limits import Limits
from admin_api.ports import AdminPorts
from admin_api.problems import EXCEPTIONS, PREFIX, PROBLEMS, Problem, not_found, shown
from admin_api.routing import GuardedRoute, public, router
from admin_api.work import Turns

RESOURCES: Sequence[APIRouter] = (
    tokens.routes,
    mac_library.routes,
    sites.routes,
    departments.routes,
    devices.routes,
    token_rotation.routes,
    door_opening.routes,
    enrolment_windows.routes,
    commands.routes,
    command_groups.routes,
    configurations.routes,
    autop_commands.routes,
    one_time.routes,
    users.routes,
    apps.routes,
    ring_plans.routes,
    trunks.routes,
    firmware.routes,
    upgrades.routes,
    connectors.routes,
    lan_addresses.routes,
    live.routes,
    remote_sessions.routes,
    forwards.routes,
    web_certificates.routes,
    logs.routes,
    events.routes,
)

DESCRIPTION = """\
The management plane of Portico. Every resource keeps the same conventions:

- **Errors** are RFC 9457 problems (`application/problem+json`) with a stable `code`; `/problems` lists them all. Every invalid
  field is told at once, in `errors`.
- **Authentication**: `Authorization: Bearer <token>`. A token has a role and, if limited, sites. What is outside its scope is
  not found.
- **Versions**: the `ETag` of a thing is its version. A change or a deletion needs `If-Match` (428 without, 412 when somebody
  else was first). `If-None-Match: *` makes a PUT add only.
- **PUT** by key adds or replaces; the same body twice is the same as once. **PATCH** is a JSON Merge Patch: absent keeps, null
  clears. Unknown properties and query parameters are refused.
- **Lists** are pages: `?limit=` (at most 500) and `?cursor=` (the `next` of the page before).
- **Idempotency-Key** on POST and PUT: a repetition within 24 hours gets the first answer again, and has no second effect.
- **Audit**: every change is written to `/audit` together with the change itself.
- **Secrets** are shown once, by the answer that made them.
"""


class ProblemPage(BaseModel):
    """One kind of problem, explained."""

    code: str
    status: int
    title: str
    way_out: str


class ProblemPages(BaseModel):
    """Every kind of problem."""

    items: list[ProblemPage]


problem_pages = router()


def _page(code: str) -> ProblemPage:
    kind = PROBLEMS[code]
    return ProblemPage(code=code, status=kind.status, title=kind.title, way_out=kind.way_out)


@problem_pages.get("/problems", tags=["problems"])
@public
async def list_problems() -> ProblemPages:
    """Every problem the API can answer with. Needs no token."""
    return ProblemPages(items=[_page(code) for code in sorted(PROBLEMS)])


@problem_pages.get("/problems/{code}", tags=["problems"])
@public
async def get_problem(code: str) -> ProblemPage:
    """The page a problem's `type` points to. Needs no token."""
    if code not in PROBLEMS:
        raise not_found("kind of problem", code)
    return _page(code)


def create_app(ports: AdminPorts) -> FastAPI:
    """The API over `ports`. Makes no task, opens nothing; `net/server.py` serves it."""
    app = FastAPI(
        title="Portico admin API",
        version="1",
        description=DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        exception_handlers=EXCEPTIONS,  # type: ignore[arg-type]
        redirect_slashes=False,
    )
    app.state.ports = ports
    app.state.turns = Turns()
    app.state.streams = Streams(ports.limits.streams, ports.limits.streams_per_token)
    for resource in (*RESOURCES, problem_pages):
        app.router.routes.extend(resource.routes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.add_middleware(Limits, ports=ports)
    return app


def guarded_routes(app: FastAPI) -> list[GuardedRoute]:
    """Every route of the API proper, for tests that must cover them all. Raises TypeError for one that guards nothing."""
    found: list[GuardedRoute] = []
    for route in app.router.routes:
        if isinstance(route, GuardedRoute):
            found.append(route)
        elif isinstance(route, APIRoute):
            raise TypeError(f"{route.path} is no GuardedRoute")
    return found


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.router.routes, openapi_version="3.1.0"
        )
        components = schema.setdefault("components", {})
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        for route in guarded_routes(app):
            for method in route.methods or ():
                _finish(schema["paths"][route.path_format][method.lower()], route)
        app.openapi_schema = schema
    return app.openapi_schema


def _finish(operation: dict[str, Any], route: GuardedRoute) -> None:
    """Say what FastAPI cannot know: who may call it, that problems are problem+json, that 422 is one of ours."""
    if route.permission is not None:
        operation["security"] = [{"bearer": []}]
        operation["x-permission"] = route.permission.value
    else:
        operation["responses"].pop("401", None)
        operation["responses"].pop("503", None)
    unprocessable = operation["responses"].get("422")
    if unprocessable is not None and "HTTPValidationError" in str(unprocessable):
        problem = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
        operation["responses"]["422"] = {"description": shown("invalid-fields"), "content": {"application/problem+json": problem}}
    for response in operation["responses"].values():
        content = response.get("content", {})
        if "application/problem+json" in content:
            content["application/problem+json"] = content.pop("application/json", content["application/problem+json"])


__all__ = ["RESOURCES", "Problem", "create_app", "guarded_routes"]
