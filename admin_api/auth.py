"""Bearer tokens: how they look, how they are looked up, and whom they speak for (RFC 6750)."""

import hashlib
import hmac
import re
from dataclasses import dataclass

from admin_api.permissions import Permission, may
from admin_api.problems import Problem
from registry.records import ApiToken, Role
from registry.store import Store

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9_]{20,128})", re.ASCII)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="portico"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: one valid token. No `sites` means every site."""

    token: str
    role: Role
    sites: frozenset[str]

    @property
    def actor(self) -> str:
        """How the audit names the caller."""
        return f"token:{self.token}"

    @property
    def everywhere(self) -> bool:
        """Whether the scope is every site, also those that will be."""
        return not self.sites

    def sees(self, site: str) -> bool:
        """Whether `site` is within the token's scope."""
        return not self.sites or site in self.sites

    def check(self, permission: Permission) -> None:
        """Raise Problem `forbidden` unless the role has `permission`."""
        if not may(self.role, permission):
            raise Problem("forbidden", f"The role {self.role} has no permission {permission}.")


def token_hash(secret: bytes) -> str:
    """What is kept of a token's secret. A plain SHA-256 suffices: the secret has more than 128 random bits."""
    return hashlib.sha256(secret).hexdigest()


async def authenticate(store: Store, authorization: bytes | None, wall: float) -> Caller:
    """The caller behind an Authorization header at `wall`.

    Raises Problem `unauthorized`, the same for no header, a malformed one, and an unknown, expired or revoked token. The
    lookup goes by the hash, so its time tells nothing about the secret.
    """
    matched = _BEARER.fullmatch(authorization or b"")
    if not matched:
        raise _unauthorized()
    hashed = token_hash(matched[1])
    found = await store.get_unique(ApiToken, "hash", hashed)
    if found is None or not hmac.compare_digest(found.record.hash.encode(), hashed.encode()):
        raise _unauthorized()
    if not is_valid(found.record, wall):
        raise _unauthorized()
    token = found.record
    return Caller(token.id, token.role, frozenset(token.sites))


def is_valid(token: ApiToken, wall: float) -> bool:
    """Whether the token is neither revoked nor expired at `wall`."""
    return not token.revoked and (token.expires is None or wall < token.expires)


def _unauthorized() -> Problem:
    return Problem("unauthorized", headers=_CHALLENGE)
