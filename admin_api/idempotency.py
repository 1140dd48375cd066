"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a request that is sent again has its effect once.

The answer is stored in the batch of the effect, sealed, for 24 hours. Two at once: the unique index lets one in, and the
other gets the first one's answer. Only answers of success are kept; a refused request may be sent again as it is.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from admin_api.auth import Caller
from admin_api.problems import Problem
from registry.logs import time_key
from registry.records import IdempotencyKey
from registry.store import Delete, Store, Stored
from registry.vault import Vault

KEPT_SECONDS = 86_400.0
"""How long an answer is kept: 24 hours."""
FORGOTTEN_AT_ONCE = 20
"""Expired keys removed with each new one, so that their number cannot grow."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one key of one token, and the digest of the request that may have it."""

    id: str
    request: str


async def slot_of(request: Request, caller: Caller) -> Slot | None:
    """The slot of this request; None without the header. Raises Problem `malformed-idempotency-key`."""
    values = request.headers.getlist("idempotency-key")
    if not values or request.method not in ("POST", "PUT"):
        return None
    if len(values) != 1 or not _KEY.fullmatch(values[0]):
        raise Problem("malformed-idempotency-key")
    content: bytes = getattr(request.state, "content_digest", b"")  # of a body that was too large to be kept
    target = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return Slot(
        hashlib.sha256(f"{caller.token}\n{values[0]}".encode()).hexdigest(),
        hashlib.sha256(target + (content or await request.body())).hexdigest(),
    )


async def stored_answer(store: Store, slot: Slot, wall: float) -> Stored[IdempotencyKey] | None:
    """What was answered for the slot, if that still counts. Raises Problem `idempotency-key-reused`."""
    found = await store.get_unique(IdempotencyKey, "slot", slot.id)
    if found is None or found.record.expires <= wall:
        return None
    if found.record.request != slot.request:
        raise Problem("idempotency-key-reused")
    return found


async def forgettable(store: Store, slot: Slot, wall: float) -> list[Delete]:
    """The writes that remove some expired keys and an expired holder of this slot."""
    oldest = await store.list(IdempotencyKey, "all", "", limit=FORGOTTEN_AT_ONCE)
    expired = {stored.record.id for stored in oldest.items if stored.record.expires <= wall}
    holder = await store.get_unique(IdempotencyKey, "slot", slot.id)
    if holder is not None and holder.record.expires <= wall:
        expired.add(holder.record.id)
    return [Delete(IdempotencyKey, key) for key in sorted(expired)]


def kept(slot: Slot, answer: dict[str, Any], vault: Vault, wall: float, serial: int) -> IdempotencyKey:
    """The record that keeps `answer` for the slot."""
    expires = wall + KEPT_SECONDS
    sealed = vault.seal_text(json.dumps(answer), _context(slot.id))
    return IdempotencyKey(id=time_key(expires, serial), slot=slot.id, request=slot.request, sealed_answer=sealed, expires=expires)


def read_answer(record: IdempotencyKey, vault: Vault) -> dict[str, Any]:
    """The answer that `kept` was given. Raises BadSeal."""
    answer: dict[str, Any] = json.loads(vault.open_text(record.sealed_answer, _context(record.slot)))
    return answer


def _context(slot: str) -> str:
    return f"idempotency:{slot}"
