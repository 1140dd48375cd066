"""The first token of an empty gateway: without it nobody could make any."""

from admin_api.auth import token_hash
from admin_api.credentials import Entropy, api_secret, new_id, serial
from registry.errors import StaleVersion
from registry.logs import AuditEntry, time_key
from registry.records import ApiToken, Role
from registry.store import Put, Store

FIRST_TOKEN = "first"  # noqa: S105
"""The id of the first token, so that two nodes that start together make one."""


async def ensure_admin_token(store: Store, entropy: Entropy, wall: float) -> str | None:
    """Create the first distributor token if the store never held a token. Returns its secret, or None if there is one.

    Raises StoreUnavailable.
    """
    if (await store.list(ApiToken, "all", "", limit=1)).items:
        return None
    secret = api_secret(entropy)
    try:
        await store.batch(_writes(FIRST_TOKEN, "first start", secret, Role.DISTRIBUTOR, entropy, wall))
    except StaleVersion:
        return None
    return secret


async def add_admin_token(store: Store, name: str, role: Role, entropy: Entropy, wall: float) -> str:
    """Create a token for every site, as `portico token` does for an operator at the machine. Returns its secret once.

    Raises StoreUnavailable.
    """
    secret = api_secret(entropy)
    await store.batch(_writes(new_id(entropy), name, secret, role, entropy, wall))
    return secret


def _writes(key: str, name: str, secret: str, role: Role, entropy: Entropy, wall: float) -> list[Put]:
    token = ApiToken(id=key, hash=token_hash(secret.encode("ascii")), name=name, role=role, created=wall)
    entry = AuditEntry(time_key(wall, serial(entropy)), wall, "operator", "token.created", f"token/{key}", detail=f"role {role}")
    return [Put(token, expect=0), Put(entry, expect=0)]
