"""`Enrolments`: bootstrap configurations for devices that enrol, and one-time URLs to get them by.

A request is proved from memory (whoever guesses costs the store nothing new), then decided on what the store itself says, and
noted in the store before a byte of a bootstrap is sent. The bootstrap names the device's new token; the old one ends as with any
rotation (tokens.py), when the first fetch of the real configuration is complete. Until then the same bytes are given again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from autop.cfg_format import MAX_URL
from autop.enrolment import (
    ONE_TIME_SECONDS,
    NewWindow,
    bootstrap,
    device_token,
    fits,
    is_open,
    network,
    new_window,
    one_time_token,
    seal_context,
    seal_device_token,
    verdict,
)
from autop.identify import BootstrapFile
from autop.net.audit import noted
from autop.net.operator_lines import Records
from autop.observer import Reason
from autop.settings import AutopSettings
from registry.configuration import AuthorityFetched, DeviceFetches
from registry.enrolment import Enrolment, EnrolmentWindow, TokenRotation, device_window, site_window
from registry.errors import NotFound, StaleVersion, StoreUnavailable
from registry.mac import MacAddress
from registry.records import Device
from registry.store import Delete, Put, Require, Store, Stored, Write
from registry.vault import Vault

ATTEMPTS = 8
"""How often a record is tried against concurrent writers."""
_DECOY = "enrolment-decoy"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A window that a request has proved to know, and the device it is about."""

    window: Stored[EnrolmentWindow]
    device: Device


class Enrolments:
    """Decides who enrols. Keeps nothing in memory, so any node may."""

    def __init__(
        self,
        *,
        store: Store,
        read_model: Records,
        vault: Vault,
        entropy: Callable[[int], bytes],
        wall: Callable[[], float],
        settings: Callable[[], AutopSettings],
    ) -> None:
        self._store = store
        self._records = read_model
        self._vault = vault
        self._entropy = entropy
        self._wall = wall
        self._settings = settings
        self._decoy = vault.seal(b"\0" * 38, _DECOY)

    async def find(
        self, asked: BootstrapFile, peer: str, settings: AutopSettings, *, is_throttled: bool = False
    ) -> bytes | Reason:
        """The bootstrap configuration, noted before it is returned, or why there is none: also where the source guesses.

        Every MAC costs the same look-ups and two opened seals. Raises BadSeal, AutopError and RegistryError.
        """
        seen = await self._seen(asked)
        if isinstance(seen, Reason):
            return seen
        if is_throttled:
            return Reason.THROTTLED
        for _ in range(ATTEMPTS):
            given = await self._attempt(seen, network(peer))
            if isinstance(given, Reason):
                return given
            if given is not None:
                token = self._vault.open_text(given.sealed_token, f"device-token:{given.mac}")
                return bootstrap(settings, given.mac, token)
        raise _busy(asked.mac)

    async def url_for(self, mac: MacAddress) -> str | None:
        """For PnP and TFTP: a directory URL of at most 127 characters by which this device, and no other, may fetch its bootstrap
        configuration within 15 minutes. None for every MAC that may not enrol now, whether or not anybody knows it; also for
        one of the library that was not added yet: there is nothing to tell it. Raises BadSeal and StoreUnavailable."""
        now = self._wall()
        device = await self._records.get(Device, mac.text)
        if device is None:
            return None
        for scope in (device_window(mac), site_window(device.record.site)):
            window = await self._records.get(EnrolmentWindow, scope)
            if window is None or not is_open(window.record, now):
                continue
            known = await self._records.get(Enrolment, mac.text)
            address = known.record.address if known is not None else ""  # who fetches is seen when it fetches
            reason = await self._verdict(window.record, mac, known, address, now, self._records)
            if reason is not Reason.NONE:
                return None
            ends = min(now + ONE_TIME_SECONDS, window.record.ends)
            secret = self._vault.open(window.record.sealed_token, seal_context(scope))
            url = self._settings().directory(one_time_token(secret, mac, ends))
            return url if len(url) <= MAX_URL else None
        return None

    async def open_for_device(self, mac: MacAddress, *, id: str, opened_by: str, seconds: float) -> NewWindow | None:
        """Open a window for a device that is about to be reset, in place of one it may have. None: there is no such device.

        Raises ValueError (longer than allowed) and StoreUnavailable.
        """
        for _ in range(ATTEMPTS):
            device = await self._store.get(Device, mac.text)
            if device is None:
                return None
            now = self._wall()
            made = new_window(
                id=id,
                site=device.record.site,
                mac=mac,
                opened_by=opened_by,
                now=now,
                seconds=seconds,
                entropy=self._entropy,
                vault=self._vault,
            )
            entry = noted(
                "enrolment-window.opened", f"enrolment-window/{id}", made.record.site, now, self._serial(), device=mac.text
            )
            try:
                await self._store.batch(
                    [Require(Device, mac.text, expect=device.version), Put(made.record), Put(entry, expect=0)]
                )
            except (StaleVersion, NotFound):
                continue
            return made
        raise _busy(mac)

    async def _seen(self, asked: BootstrapFile) -> _Seen | Reason:
        """The window this request knows the token of; a device's own window decides before its site's, whichever token it is."""
        now = self._wall()
        device = await self._records.get(Device, asked.mac.text)
        site = device.record.site if device is not None else ""
        found: list[Stored[EnrolmentWindow] | None] = []
        right: Reason | None = None
        for scope in (device_window(asked.mac), site_window(site)):
            window = await self._records.get(EnrolmentWindow, scope)
            found.append(window)
            if window is None:
                secret = self._vault.open(self._decoy, _DECOY)
            else:
                secret = self._vault.open(window.record.sealed_token, seal_context(scope))
            if not fits(asked.token, secret, asked.mac, now) or window is None:
                continue
            if right is not Reason.NONE:
                right = Reason.NONE if is_open(window.record, now) else Reason.ENROL_OVER
        if device is None or not any(found):
            return Reason.ENROL_UNKNOWN
        if right is not Reason.NONE:
            return right or Reason.ENROL_NO_PROOF
        first = next(window for window in found if window is not None and is_open(window.record, now))
        return _Seen(first, device.record)

    async def _attempt(self, seen: _Seen, address: str) -> TokenRotation | Reason | None:
        """Decide and note. None: somebody else wrote meanwhile."""
        store, now, mac = self._store, self._wall(), seen.device.mac
        window = await store.get(EnrolmentWindow, seen.window.record.key)
        device = await store.get(Device, mac.text)
        if window is None or window.record.id != seen.window.record.id or device is None:
            return Reason.ENROL_OVER
        if device.record.site != window.record.site:
            return Reason.ENROL_UNKNOWN
        known = await store.get(Enrolment, mac.text)
        reason = await self._verdict(window.record, mac, known, address, now, store)
        if reason is not Reason.NONE:
            is_second = known is not None and known.record.window == window.record.id and known.record.address != address
            if is_second and known is not None and not await self._contest(known, device.record, address, now):
                return None
            return reason
        rotation = await store.get(TokenRotation, mac.text)
        writes: list[Write] = [
            Require(EnrolmentWindow, window.record.key, expect=window.version),
            Require(Device, mac.text, expect=device.version),
        ]
        if rotation is None:
            sealed = seal_device_token(self._vault, mac, device_token(self._entropy))
            given = TokenRotation(mac, device.record.site, sealed, now, f"enrolment-window/{window.record.id}", sent=True)
            writes.append(Put(given, expect=0))
        else:
            given = replace(rotation.record, sent=True)
            if given != rotation.record:
                writes.append(Put(given, expect=rotation.version))
        if known is None or known.record.window != window.record.id:
            fresh = Enrolment(mac, device.record.site, window.record.id, address, now)
            writes.append(Put(fresh, expect=known.version if known is not None else 0))
            # It was reset, or is another unit: what it trusted is gone, and it must not check servers before it has that again.
            writes.append(Delete(AuthorityFetched, mac.text))
            entry = noted(
                "device.bootstrapped",
                f"device/{mac}",
                device.record.site,
                now,
                self._serial(),
                window=window.record.id,
                address=address,
            )
            writes.append(Put(entry, expect=0))
        try:
            await store.batch(writes)
        except (StaleVersion, NotFound):
            return None
        return given

    async def _verdict(
        self,
        window: EnrolmentWindow,
        mac: MacAddress,
        known: Stored[Enrolment] | None,
        address: str,
        now: float,
        records: Records,
    ) -> Reason:
        fetches = await records.get(DeviceFetches, mac.text)
        return verdict(
            window,
            known.record if known is not None else None,
            has_fetched=fetches is not None and bool(fetches.record.fetches),
            address=address,
            now=now,
        )

    def _serial(self) -> int:
        """Tells audit entries of one millisecond apart."""
        return int.from_bytes(self._entropy(4))

    async def _contest(self, known: Stored[Enrolment], device: Device, address: str, now: float) -> bool:
        """Note, once, that another address asked for the same device: one of the two is not it. False: written meanwhile."""
        if known.record.contested:
            return True
        entry = noted(
            "device.enrolment-contested",
            f"device/{device.mac}",
            device.site,
            now,
            self._serial(),
            window=known.record.window,
            given_to=known.record.address,
            refused_to=address,
        )
        try:
            await self._store.batch([Put(replace(known.record, contested=True), expect=known.version), Put(entry, expect=0)])
        except StaleVersion:
            return False
        return True


def _busy(mac: MacAddress) -> StoreUnavailable:
    return StoreUnavailable(f"{ATTEMPTS} others wrote the enrolment of {mac} meanwhile")
