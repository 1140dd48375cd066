"""`/tokens`: bearer tokens. The secret is shown once; afterwards only its hash is known."""

from dataclasses import replace
from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, Field

from admin_api.auth import token_hash
from admin_api.calls import Call, CallOf
from admin_api.credentials import api_secret, new_id
from admin_api.models import Body, Id, Name, Timestamp, Whole, optional_timestamp, timestamp
from admin_api.pages import ListPage, PagingOf, Shelf, page
from admin_api.permissions import GRANTABLE, Permission
from admin_api.problems import Problem, documented, invalid, not_found
from admin_api.routing import needs, router
from admin_api.work import Answer, Work, run, show
from registry.records import ApiToken, Role, Site
from registry.store import Stored

routes = router()
YEAR = 366 * 86_400


class TokenBody(Body):
    """A token to create. `sites` empty or absent: every site, also later ones (only for callers of that scope)."""

    name: Name
    role: Role
    sites: Annotated[list[Id], Field(default_factory=list, max_length=100)]
    expires_in: Annotated[Whole, Field(ge=60, le=10 * YEAR, description="Seconds. Absent: does not expire.")] | None = None


class TokenView(BaseModel):
    """A token, without its secret."""

    id: str
    name: str
    role: Role
    sites: list[str]
    created: Timestamp
    expires: str | None
    revoked: bool


class NewToken(TokenView):
    """A token just created: the only time its secret is shown."""

    token: str = Field(description="Send it as `Authorization: Bearer ...`. It cannot be shown again.")


def _view(stored: Stored[ApiToken]) -> TokenView:
    return TokenView.model_validate(_fields(stored.record))


def _fields(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "sites": list(token.sites),
        "created": timestamp(token.created),
        "expires": optional_timestamp(token.expires),
        "revoked": token.revoked,
    }


def _sees(call: Call, token: ApiToken) -> bool:
    """A caller sees the tokens that it could have created."""
    if token.role not in GRANTABLE[call.caller.role]:
        return False
    return call.caller.everywhere or (bool(token.sites) and call.caller.sites.issuperset(token.sites))


async def _find(call: Call, token: str) -> Stored[ApiToken]:
    found = await call.ports.store.get(ApiToken, token)
    if found is None or not _sees(call, found.record):
        raise not_found("token", token)
    return found


@routes.post(
    "/tokens", status_code=201, tags=["tokens"], response_model=NewToken, responses=documented("forbidden", "invalid-fields")
)
@needs(Permission.TOKENS_WRITE)
async def create_token(call: CallOf, body: TokenBody) -> Response:
    """Create a token with a role below the caller's and a scope within it. Answers the secret once."""

    async def attempt(work: Work) -> Answer:
        if body.role not in GRANTABLE[call.caller.role]:
            raise Problem("forbidden", f"The role {call.caller.role} may not create tokens of the role {body.role}.")
        if not body.sites and not call.caller.everywhere:
            raise invalid(("/sites", "required: your own token is limited to some sites"))
        for place, site in enumerate(body.sites):
            if not call.caller.sees(site) or await call.ports.store.get(Site, site) is None:
                raise invalid((f"/sites/{place}", "there is no such site"))
            work.require(Site, site)
        secret = api_secret(call.ports.entropy)
        token = ApiToken(
            id=new_id(call.ports.entropy),
            hash=token_hash(secret.encode("ascii")),
            name=body.name,
            role=body.role,
            sites=tuple(dict.fromkeys(body.sites)),
            created=call.wall,
            expires=None if body.expires_in is None else call.wall + body.expires_in,
        )
        work.create(token, action="token.created", object=f"token/{token.id}", note=f"role {token.role}")
        answer = NewToken.model_validate({**_fields(token), "token": secret})
        return Answer(201, answer, of=token, location=f"/api/v1/tokens/{token.id}")

    return await run(call, attempt)


@routes.get("/tokens", tags=["tokens"], responses=documented("forbidden", "invalid-fields", "malformed-cursor"))
@needs(Permission.TOKENS_READ)
async def list_tokens(call: CallOf, paging: PagingOf) -> ListPage[TokenView]:
    """The tokens that the caller could have created, revoked ones included."""
    return await page(call, paging, ApiToken, (Shelf("all", ""),), _view, keep=lambda token: _sees(call, token))


@routes.get("/tokens/{token}", tags=["tokens"], response_model=TokenView, responses=documented("forbidden", "not-found"))
@needs(Permission.TOKENS_READ)
async def get_token(call: CallOf, token: str) -> Response:
    """One token, without its secret."""
    found = await _find(call, token)
    return show(call, _view(found), found.version)


@routes.delete(
    "/tokens/{token}",
    status_code=204,
    tags=["tokens"],
    responses=documented("forbidden", "not-found", "precondition-failed", "precondition-required"),
)
@needs(Permission.TOKENS_WRITE)
async def revoke_token(call: CallOf, token: str) -> Response:
    """Revoke a token. It stays in the list, so that the audit's actors keep their names; requests with it get 401 at once."""

    async def attempt(work: Work) -> Answer:
        found = await _find(call, token)
        call.conditions.check_change(found.version)
        if not found.record.revoked:
            revoked = replace(found.record, revoked=True)
            work.change(found, revoked, action="token.revoked", object=f"token/{token}", changed=("revoked",))
        return Answer(204)

    return await run(call, attempt)
