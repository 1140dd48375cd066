"""Routes that guard themselves: authentication, permission, body and query are checked before an endpoint runs.

A route without a permission cannot be built, so none is ever left open by mistake; the few public ones say so.
"""

import email.message
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from admin_api.auth import authenticate
from admin_api.calls import Call
from admin_api.permissions import Permission
from admin_api.ports import AdminPorts
from admin_api.problems import MAX_FIELD_ERRORS, PREFIX, Problem, problem_response

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__portico_permission__"
_PUBLIC = "public"
_STREAMED = "__portico_streamed__"


def needs(permission: Permission) -> Callable[[F], F]:
    """Decorator, below the router's: the endpoint needs `permission`."""
    return _marked(permission.value)


def public(endpoint: F) -> F:
    """Decorator, below the router's: the endpoint answers anybody."""
    return _marked(_PUBLIC)(endpoint)


def streamed(endpoint: F) -> F:
    """Decorator, below the router's: the endpoint reads the body itself, as it comes; it is bytes, not JSON."""
    setattr(endpoint, _STREAMED, True)
    return endpoint


def _marked(mark: str) -> Callable[[F], F]:
    def mark_it(endpoint: F) -> F:
        setattr(endpoint, _MARK, mark)
        return endpoint

    return mark_it


class GuardedRoute(APIRoute):
    """An APIRoute that authenticates before it reads a body, and refuses query parameters it does not know."""

    @property
    def permission(self) -> Permission | None:
        """What the route needs; None if it is public. Raises TypeError for an endpoint that says neither."""
        mark = getattr(self.endpoint, _MARK, None)
        if mark is None:
            raise TypeError(f"{self.path} says neither needs(...) nor public")
        return None if mark == _PUBLIC else Permission(mark)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        permission = self.permission
        known = frozenset(_query_names(self.dependant))
        is_streamed = getattr(self.endpoint, _STREAMED, False)

        async def guarded(request: Request) -> Response:
            if permission is not None:
                await _admit(request, permission)
            _check_query(request, known)
            if is_streamed:
                _check_octets(request)
                return await answer(request)
            try:
                if await request.body():
                    _check_content_type(request)
            except ClientDisconnect:
                return problem_response(Problem("malformed-request"), request.url.path)
            return await answer(request)

        return guarded


def router() -> APIRouter:
    """A router for one resource's routes."""
    return APIRouter(prefix=PREFIX, route_class=GuardedRoute)


async def _admit(request: Request, permission: Permission) -> None:
    ports: AdminPorts = request.app.state.ports
    headers = [value for name, value in request.scope["headers"] if name == b"authorization"]
    wall = ports.wall()
    caller = await authenticate(ports.store, headers[0] if len(headers) == 1 else None, wall)
    caller.check(permission)
    request.state.call = Call(request, ports, caller, wall)


def _query_names(dependant: Dependant) -> set[str]:
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_query_names(inner) for inner in dependant.dependencies))


def _check_query(request: Request, known: frozenset[str]) -> None:
    """A misspelt filter must not widen a list in silence."""
    unknown = sorted({name for name in request.query_params if name not in known})
    allowed = ", ".join(sorted(known)) or "none"
    if unknown:
        message = f"unknown parameter; known here: {allowed}"
        raise Problem("invalid-fields", errors=[(f"?{name[:64]}", message) for name in unknown[:MAX_FIELD_ERRORS]])


def _check_octets(request: Request) -> None:
    if request.headers.get("content-type", "").strip().lower() != "application/octet-stream":
        raise Problem("unsupported-media-type", "Send Content-Type: application/octet-stream.")


def _check_content_type(request: Request) -> None:
    message = email.message.Message()
    message["content-type"] = request.headers.get("content-type", "")
    subtype = message.get_content_subtype()
    if message.get_content_maintype() != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise Problem("unsupported-media-type")
