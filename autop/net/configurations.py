"""`Configurations`: the file for a token and a name, from the read model and the vault, or a refusal that tells nothing.

Who may have it is decided in proof.py. Rendered bytes are cached under the versions of all that went into them, so that a re-poll
costs look-ups and no rendering.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autop.admission import Rank, rank
from autop.catalogue import model
from autop.contacts import SiteFacts, buttons, calls_by_ip, contacts, lan_address, lan_peers
from autop.errors import AutopError
from autop.fingerprint import strong_etag
from autop.identify import Asked, AuthorityFile, BootstrapFile, FirmwareFile, OwnFile, PhonebookFile
from autop.layers import Composed
from autop.net.image import FirmwareSource, LiveUpgrade, OpenImage
from autop.net.login import Logins
from autop.net.look_ahead import LookAhead
from autop.net.neighbours import Neighbours
from autop.net.one_time import OneTimeDelivery, one_time
from autop.net.operator_lines import Entered, LinesChange, Records, changed, entered_for, opened
from autop.net.proof import NOTHING, Presented, Proofs, Proven
from autop.net.tokens import TokenRotations
from autop.net.zones import zone
from autop.observer import Outcome, Reason
from autop.phonebook import write_phonebook
from autop.profiles.base import ButtonKey
from autop.render import Facts, OneTime, compose, render, write_lines
from autop.settings import MAX_BUTTON_NUMBERS, MAX_SPEED_DIALS, AutopSettings, Contact
from registry.configuration import AuthorityFetched, OneTimeAutop, device_scope
from registry.connector import SiteConnectors
from registry.enrolment import TokenRotation
from registry.errors import BadSeal, RegistryError
from registry.location import AorBindings
from registry.mac import MacAddress
from registry.records import Account, Device, DeviceKind, Relay, Site
from registry.store import Stored
from registry.vault import Vault

CACHE_BYTES = 64 * 1024 * 1024
"""Rendered bytes kept: about 27,000 configurations of 1.9 KB."""
_ENTRY_COST = 600
"""Bytes an entry costs beside its body: 586 measured over 10,000 entries with tracemalloc, rounded up."""
CONFIGURATION_TYPE = b"text/plain; charset=utf-8"
PHONEBOOK_TYPE = b"text/xml; charset=utf-8"
AUTHORITY_TYPE = b"application/x-pem-file"


class NeighbourSource(Protocol):
    """Who else is in a site (`SiteNeighbours`)."""

    async def of(self, site: str) -> Neighbours: ...


class BootstrapSource(Protocol):
    """Who may enrol (`Enrolments`)."""

    async def find(self, asked: BootstrapFile, peer: str, settings: AutopSettings, *, is_throttled: bool) -> bytes | Reason:
        """The bootstrap configuration for this request, noted before it is returned, or why there is none. Whoever is throttled
        gets none.

        Raises BadSeal, AutopError and RegistryError."""
        ...


@dataclass(frozen=True, slots=True, weakref_slot=True)
class File:
    """A file a device proved to be its own. The body holds its secrets.

    `confirms`: it names the token it was asked for with, the new one of the rotation at this version; 0: nothing to confirm.
    `is_bootstrap`: it is no configuration yet, and having it says nothing of the device.
    `lasting`: until a record changes that `KnownFiles` watches, the same target leads to the same file.
    """

    mac: MacAddress
    body: bytes = field(repr=False)
    etag: bytes
    content_type: bytes = CONFIGURATION_TYPE
    live: LiveUpgrade | None = None
    confirms: int = 0
    is_bootstrap: bool = False
    lasting: bool = field(default=False, compare=False)

    @property
    def is_configuration(self) -> bool:
        """Whether a complete fetch of it is to be noted as one of the device's configuration."""
        return self.content_type == CONFIGURATION_TYPE and not self.is_bootstrap

    @property
    def is_authority(self) -> bool:
        """Whether a complete fetch of it is to be noted as one of the authority that the device is to check servers by."""
        return self.content_type == AUTHORITY_TYPE

    @property
    def hash(self) -> str:
        """The entity tag without its quotes: the SHA-256 of the body in hexadecimal."""
        return self.etag.strip(b'"').decode()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a device would fetch now, line by line. `under_way`: a One-Time file was sent and no complete fetch of it is known."""

    device: Device
    lines: tuple[Composed, ...]
    file: File
    one_time: bool = False
    under_way: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """No file. The reason is for the observer only. `challenges`: what the client may answer (401); none: 404. `is_late`: the
    client guesses, and waits longer."""

    outcome: Outcome
    reason: Reason
    challenges: tuple[bytes, ...] = ()
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class SentAway(Refused):
    """No file now: it is a device of ours, and is to come again after so many seconds."""

    seconds: int = 0


Gate = Callable[[Rank, MacAddress, bool], int]
"""`Admission.weigh` with the clock: rank, device, whether its bytes are known. 0: go on; else the seconds of Retry-After."""


@dataclass(frozen=True, slots=True)
class _Ingredients:
    """All that a file is made of; equal ingredients make equal bytes. `rotation`: the file names its token, not the device's."""

    device: Stored[Device]
    rotation: Stored[TokenRotation] | None
    account: Stored[Account] | None
    site: Stored[Site] | None
    door_relays: tuple[Relay, ...] = ()
    contacts: tuple[Contact, ...] = ()
    buttons: tuple[str, ...] | None = None
    direct_ip: bool = False
    dial_seconds: int = 0
    entered: Entered = ()
    live: LiveUpgrade | None = None
    has_authority: bool = False
    http_api: bool | None = None
    calls_peers: bool = False
    """Whether addresses of bindings are in it, or will be once peers register."""

    def versions(self) -> tuple[object, ...]:
        account, site = self.account, self.site
        return (
            self.device.version,
            self.rotation.version if self.rotation else 0,
            account.version if account else 0,
            site.version if site else 0,
            self.door_relays,
            self.contacts,
            self.buttons,
            self.direct_ip,
            self.dial_seconds,
            *[(layer, one.version) for layer, one in self.entered],
            self.live,
            self.has_authority,
            self.http_api,
        )


class Configurations:
    """Finds and renders configurations. `neighbours` None: monitors get no door codes and guard phones no speed dials.
    `one_time` None: One-Time Autop waits until a node delivers it.

    `firmware` None: no upgrades. `tokens` None: a new token is good, but no file names it. `bootstraps` None: nobody enrols.
    `logins` None: devices prove themselves by a token or a certificate only.
    `gate` None: nobody is ever sent away. `ahead` None: records are loaded one by one.
    `settings` None: nobody is served until `use_settings`. A node learns its own addresses only while it starts, and a device
    must never apply one that is half known.
    """

    def __init__(
        self,
        *,
        read_model: Records,
        vault: Vault,
        settings: AutopSettings | None,
        neighbours: NeighbourSource | None = None,
        one_time: OneTimeDelivery | None = None,
        firmware: FirmwareSource | None = None,
        tokens: TokenRotations | None = None,
        bootstraps: BootstrapSource | None = None,
        logins: Logins | None = None,
        gate: Gate | None = None,
        ahead: LookAhead | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._records = read_model
        self._vault = vault
        self._settings = settings
        self._neighbours = neighbours
        self._one_time = one_time
        self._firmware = firmware
        self._tokens = tokens
        self._bootstraps = bootstraps
        self._proofs = Proofs(read_model, vault, logins)
        self._gate = gate
        self._ahead = ahead
        self._cache: OrderedDict[str, tuple[tuple[object, ...], File]] = OrderedDict()
        self._cache_room = cache_bytes

    def use_settings(self, settings: AutopSettings) -> None:
        """From now on render with these; what was rendered with others is forgotten."""
        self._settings = settings
        self._cache_room += sum(len(file.body) + _ENTRY_COST for _, file in self._cache.values())
        self._cache.clear()

    async def find(self, asked: Asked | None, presented: Presented = NOTHING) -> File | OpenImage | Refused:
        """The file for what `identify` made of a request that came with `presented`.

        Never raises for anything a client or a record can cause."""
        found = await self._find(asked, presented)
        if isinstance(asked, OwnFile) and isinstance(found, Refused) and not isinstance(found, SentAway):
            stale = found.reason is Reason.STALE_LOGIN
            return replace(found, challenges=self._proofs.challenges(presented, stale=stale))
        return found

    async def _find(self, asked: Asked | None, presented: Presented) -> File | OpenImage | Refused:
        try:
            if isinstance(asked, BootstrapFile):
                return await self._bootstrap(asked, presented)
            proof = await self._proofs.proven(asked, presented)
            if isinstance(proof, Reason):
                return Refused(Outcome.REFUSED, proof)
            if self._settings is None:
                return Refused(Outcome.ERROR, Reason.UNAVAILABLE)
            away = self._weigh(asked, proof.device.record)
            if away:
                return SentAway(Outcome.LIMITED, Reason.BUSY, seconds=away)
            if self._ahead is not None:
                self._ahead(proof.device.record)
            if isinstance(asked, PhonebookFile):
                return await self._phonebook(proof.device)
            if isinstance(asked, AuthorityFile):
                return _authority(proof.device.record.mac, self._settings.server_ca)
            if isinstance(asked, FirmwareFile):
                image = await self._firmware.image(proof.device.record, asked) if self._firmware is not None else None
                return image or Refused(Outcome.REFUSED, Reason.NO_SUCH_FILE)
            return await self._configuration(proof, self._settings)
        except BadSeal:
            return Refused(Outcome.ERROR, Reason.UNSEALED)
        except AutopError:
            return Refused(Outcome.ERROR, Reason.UNRENDERABLE)
        except (RegistryError, OSError):
            return Refused(Outcome.ERROR, Reason.UNAVAILABLE)

    async def _configuration(self, proof: Proven, settings: AutopSettings) -> File | Refused:
        """The device's configuration. It names the new token of a rotation, whichever of the two was used to ask for it."""
        device, rotation = proof.device, proof.rotation if self._tokens is not None else None
        if rotation is not None and self._tokens is not None and not rotation.record.sent:
            rotation = await self._tokens.sending(device.record.mac)
            if rotation is None:  # over on another node, which this one's memory does not know yet
                return Refused(Outcome.ERROR, Reason.UNAVAILABLE)
        ingredients = await self._ingredients(device, rotation)
        file: File | None = None
        if self._one_time is not None and await self._records.get(OneTimeAutop, device.record.key) is not None:
            facts = self._facts(ingredients, settings)
            body = await self._one_time.offer(device.record.mac, _one_time_file(device.record, facts))
            if body is not None:
                file = File(device.record.mac, body, strong_etag(body))
        file = file or self._file(ingredients, settings)
        if rotation is None or not proof.by_new:
            return file
        # A One-Time file from before the rotation names the old token, and says nothing of the new one.
        named = settings.directory(self._token(ingredients)).encode() in file.body
        return replace(file, confirms=rotation.version) if named else file

    async def _bootstrap(self, asked: BootstrapFile, presented: Presented) -> File | Refused:
        if self._bootstraps is None or self._settings is None:
            return Refused(Outcome.REFUSED, Reason.ENROL_UNKNOWN)
        found = await self._bootstraps.find(asked, presented.peer, self._settings, is_throttled=presented.is_throttled)
        if isinstance(found, Reason):
            return Refused(Outcome.REFUSED, found)
        return File(asked.mac, found, strong_etag(found), is_bootstrap=True)

    async def _has_authority(self, mac: MacAddress) -> bool:
        if self._settings is None or not self._settings.server_ca:
            return False
        fetched = await self._records.get(AuthorityFetched, mac.text)
        return fetched is not None and fetched.record.sha256 == hashlib.sha256(self._settings.server_ca).hexdigest()

    def _weigh(self, asked: Asked | None, device: Device) -> int:
        return self._gate(rank(asked, device.kind), device.mac, device.key in self._cache) if self._gate is not None else 0

    async def preview(self, mac: MacAddress, change: LinesChange | None = None) -> Preview | None:
        """The file this device would get now, or after `change`, for an operator who may see it. None: no such device, or no
        settings yet. Sends nothing on its way.

        Raises BadSeal, AutopError and RegistryError: an operator is told what a device is not.
        """
        device = await self._records.get(Device, mac.text)
        if device is None or self._settings is None:
            return None
        rotation = await self._records.get(TokenRotation, mac.text) if self._tokens is not None else None
        ingredients, record = await self._ingredients(device, rotation), device.record
        waiting = await self._records.get(OneTimeAutop, mac.text)
        facts = self._facts(ingredients, self._settings)
        if waiting is not None:
            facts = replace(facts, one_time=one_time(self._vault, waiting.record))
        if change is not None:
            facts = replace(facts, commands=changed(record, facts.commands, change))
            if change.scope == device_scope(mac):
                record = replace(record, autop_commands=change.lines)
        lines = compose(record, facts)
        body = write_lines(lines, facts.one_time)
        under_way = waiting is not None and bool(waiting.record.etag)
        return Preview(record, lines, File(mac, body, strong_etag(body)), waiting is not None, under_way)

    async def _ingredients(self, device: Stored[Device], rotation: Stored[TokenRotation] | None) -> _Ingredients:
        record = device.record
        account = await self._records.get(Account, record.account) if record.account else None
        site = await self._records.get(Site, record.site)
        live = await self._firmware.live(record) if self._firmware is not None else None
        entered, has_authority = await entered_for(self._records, record), await self._has_authority(record.mac)
        connectors = await self._records.get(SiteConnectors, record.site)
        http_api = None if connectors is None else bool(connectors.record.ids)
        if self._neighbours is None:
            return _Ingredients(
                device,
                rotation,
                account,
                site,
                live=live,
                entered=entered,
                has_authority=has_authority,
                http_api=http_api,
            )
        neighbours = await self._neighbours.of(record.site)
        place, is_door = neighbours.site, record.kind.is_door
        peers = lan_peers(record, place)
        addresses = await self._addresses(peers)
        places = MAX_BUTTON_NUMBERS if model(record.model).button is ButtonKey.LOCAL_PARAM else 1
        return _Ingredients(
            device,
            rotation,
            account,
            site,
            door_relays=neighbours.door_relays(record.department) if record.kind is DeviceKind.INDOOR_MONITOR else (),
            contacts=contacts(record, place, addresses, MAX_SPEED_DIALS) if record.kind is DeviceKind.GUARD_PHONE else (),
            buttons=buttons(record, place, addresses, places) if is_door else None,
            direct_ip=calls_by_ip(record, place),
            dial_seconds=place.dial_seconds if is_door else 0,
            entered=entered,
            live=live,
            calls_peers=bool(peers),
            has_authority=has_authority,
            http_api=http_api,
        )

    async def _addresses(self, peers: Sequence[Device]) -> dict[str, str]:
        """Account -> the LAN address that a peer called by IP last registered with."""
        found: dict[str, str] = {}
        for peer in peers:
            bindings = await self._records.get(AorBindings, peer.account)
            address = lan_address(bindings.record) if bindings is not None else ""
            if address:
                found[peer.account] = address
        return found

    async def _phonebook(self, device: Stored[Device]) -> File:
        """The device's contacts, as its phonebook fetches them every ten minutes."""
        record = device.record
        neighbours = await self._neighbours.of(record.site) if self._neighbours is not None else Neighbours(SiteFacts(()))
        addresses = await self._addresses(lan_peers(record, neighbours.site))
        key, versions = f"{record.key}.xml", (device.version, neighbours.serial, tuple(sorted(addresses.items())))
        cached = self._cache.get(key)
        if cached is not None and cached[0] == versions:
            self._cache.move_to_end(key)
            return cached[1]
        body = write_phonebook(contacts(record, neighbours.site, addresses))
        file = File(record.mac, body, strong_etag(body), PHONEBOOK_TYPE)
        self._keep(key, versions, file)
        return file

    def _file(self, ingredients: _Ingredients, settings: AutopSettings) -> File:
        key, versions = ingredients.device.record.key, ingredients.versions()
        cached = self._cache.get(key)
        if cached is not None and cached[0] == versions:
            self._cache.move_to_end(key)
            return cached[1]
        record = ingredients.device.record
        body = render(record, self._facts(ingredients, settings))
        lasting = not ingredients.calls_peers and ingredients.rotation is None
        file = File(record.mac, body, strong_etag(body), live=ingredients.live, lasting=lasting)
        self._keep(key, versions, file)
        return file

    def _keep(self, key: str, versions: tuple[object, ...], file: File) -> None:
        earlier = self._cache.pop(key, None)
        if earlier is not None:
            self._cache_room += len(earlier[1].body) + _ENTRY_COST
        self._cache[key] = (versions, file)
        self._cache_room -= len(file.body) + _ENTRY_COST
        while self._cache_room < 0 and self._cache:
            _, (_, dropped) = self._cache.popitem(last=False)
            self._cache_room += len(dropped.body) + _ENTRY_COST

    def _token(self, ingredients: _Ingredients) -> str:
        device, rotation = ingredients.device.record, ingredients.rotation
        sealed = device.sealed_token if rotation is None else rotation.record.sealed_token
        return self._vault.open_text(sealed, f"device-token:{device.mac}")

    def _facts(self, ingredients: _Ingredients, settings: AutopSettings) -> Facts:
        device = ingredients.device.record
        account = ingredients.account.record if ingredients.account else None
        site = ingredients.site.record if ingredients.site else None
        mac, vault = device.mac.text, self._vault
        return Facts(
            settings=settings,
            token=self._token(ingredients),
            account=account,
            sip_password=vault.open_text(account.sealed_password, f"account:{account.username}") if account else "",
            web_password=vault.open_text(device.sealed_web_password, f"device-web:{mac}") if device.sealed_web_password else "",
            channel_key=vault.open(device.sealed_channel_key, f"device-channel:{mac}") if device.sealed_channel_key else b"",
            zone=zone(site.time_zone) if site else None,
            door_relays=ingredients.door_relays,
            contacts=ingredients.contacts,
            buttons=ingredients.buttons,
            direct_ip=ingredients.direct_ip,
            dial_seconds=ingredients.dial_seconds,
            commands=opened(ingredients.entered, vault),
            firmware=ingredients.live.offer if ingredients.live else None,
            has_authority=ingredients.has_authority,
            http_api=ingredients.http_api,
        )


def _authority(mac: MacAddress, pem: bytes) -> File | Refused:
    return File(mac, pem, strong_etag(pem), AUTHORITY_TYPE) if pem else Refused(Outcome.REFUSED, Reason.NO_SUCH_FILE)


def _one_time_file(device: Device, facts: Facts) -> Callable[[OneTime], bytes]:
    return lambda lines: render(device, replace(facts, one_time=lines))
