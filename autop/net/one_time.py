"""`OneTimeDelivery`: One-Time Autop lines reach their device exactly once, whatever breaks in between.

    orders wait --find--> a file is rendered, written to the store with its hash, and only then sent
    a file is under way --find--> the same bytes again
    --a fetch of these bytes is complete--> the orders are gone

A crash between the fetch and the record of it sends the same bytes once more: a device that has them skips them (it compares an
MD5), one that has not applies them. Lines that are entered meanwhile wait for their turn, and so does every other change.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace

from autop.errors import RejectedValue
from autop.fingerprint import strong_etag
from autop.render import OneTime
from registry.configuration import OneTimeAutop, OneTimeOrder
from registry.errors import BadSeal, StaleVersion, StoreUnavailable
from registry.mac import MacAddress
from registry.store import Delete, Put, Store
from registry.vault import MAX_SECRET, Vault

ATTEMPTS = 8
"""How often a record is tried against concurrent writers."""
MAX_INFLATED = 1024 * 1024


class OneTimeDelivery:
    """Offers and ends deliveries. Keeps nothing in memory, so any node may do either."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def offer(self, mac: MacAddress, render: Callable[[OneTime], bytes]) -> bytes | None:
        """The file that delivers what waits, kept before it is returned. None: nothing waits any more.

        Raises BadSeal, StoreUnavailable, RejectedValue (a file too large to keep) and what `render` raises.
        """
        for _ in range(ATTEMPTS):
            stored = await self._store.get(OneTimeAutop, mac.text)
            if stored is None:
                return None
            record = stored.record
            if record.etag:
                return inflate(self._vault.open(record.sealed_file, f"one-time-file:{mac}"))
            body = render(one_time(self._vault, record))
            packed = deflate(body)
            if not packed:
                raise RejectedValue("One-Time Autop", "the file is too large to be kept until it is fetched")
            offered = replace(
                record,
                offered=len(record.orders),
                etag=strong_etag(body).strip(b'"').decode(),
                sealed_file=self._vault.seal(packed, f"one-time-file:{mac}"),
            )
            try:
                await self._store.batch([Put(offered, expect=stored.version)])
            except StaleVersion:
                continue
            return body
        raise StoreUnavailable(f"{ATTEMPTS} others wrote the One-Time Autop of {mac} meanwhile")

    async def complete(self, mac: MacAddress, etag: str) -> bool:
        """A fetch of the file with this hash is complete: its orders are gone. False: no such file is under way.

        Durable when it returns. Raises StoreUnavailable; then it is to be called again.
        """
        for _ in range(ATTEMPTS):
            stored = await self._store.get(OneTimeAutop, mac.text)
            if stored is None or not stored.record.etag or stored.record.etag != etag:
                return False
            left = stored.record.orders[stored.record.offered :]
            after = replace(stored.record, orders=left, offered=0, etag="", sealed_file=b"")
            try:
                await self._store.batch(
                    [Put(after, expect=stored.version) if left else Delete(OneTimeAutop, mac.text, expect=stored.version)]
                )
            except StaleVersion:
                continue
            return True
        raise StoreUnavailable(f"{ATTEMPTS} others wrote the One-Time Autop of {mac} meanwhile")


def one_time(vault: Vault, record: OneTimeAutop) -> OneTime:
    """All that waits, as one file delivers it: of equal keys in two orders the later wins. Raises BadSeal."""
    lines = [line for order in record.orders for line in open_order(vault, record.mac, order)]
    return OneTime(record.orders[-1].id, tuple(lines))


def seal_order(vault: Vault, mac: MacAddress, lines: tuple[str, ...]) -> bytes:
    """An order's lines as the registry keeps them."""
    return vault.seal_text("\n".join(lines), f"one-time:{mac}")


def open_order(vault: Vault, mac: MacAddress, order: OneTimeOrder) -> tuple[str, ...]:
    """What `seal_order` was given. Raises BadSeal."""
    return tuple(vault.open_text(order.sealed_lines, f"one-time:{mac}").split("\n"))


def deflate(body: bytes) -> bytes:
    """A file as it is sealed; empty where even so it would be larger than the vault takes."""
    packed = zlib.compress(body)
    return packed if len(packed) <= MAX_SECRET else b""


def inflate(packed: bytes) -> bytes:
    """What `deflate` was given. Raises BadSeal for anything else: sealed or not, it is no file of ours."""
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(packed, MAX_INFLATED)
    except zlib.error:
        raise BadSeal("a sealed file is damaged") from None
    if not inflater.eof:
        raise BadSeal("a sealed file is damaged")
    return body
