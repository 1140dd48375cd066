"""`ConnectorBook`: the connectors that are connected to this node: who may be, what each is told, which device is behind which.

`tunnel.net.ports.ConnectorPorts` for the channel. A change of the registry that matters to a connector's list makes it be
worked out anew, a moment later; what a connector has not acknowledged it is not asked for. A revoked token ends its link at once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.connector_feed import Reachable, SiteDevices, pages
from gateway.logbook import Logbook
from registry.connector import Connector, ConnectorName, ConnectorSeen, DeviceAddress
from registry.errors import BadSeal, MalformedMac, RegistryError
from registry.location import AorBindings
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Device, LibraryMac, Site
from registry.store import Change, Put, Store
from registry.vault import Vault
from sip.net.pnp import EnrolmentUrls
from tunnel.errors import LinkDown
from tunnel.messages import DeviceEvent
from tunnel.net.connector_links import ConnectorLinks
from tunnel.net.device_link import ConnectorLink

LIST_CALL = "devices"
SEEN_EVENT = "devices-seen"
PNP_EVENT = "pnp-asked"
URL_CALL = "enrolment-url"
URL_SECONDS = 3.0
PAGE_SECONDS = 10.0
SETTLE_SECONDS = 0.2
"""Between a change and the new list: many changes make one."""
LEAST_SECONDS = 1.0
"""Between two lists of one connector."""
AGAIN_SECONDS = 5.0
MAX_SEEN = 100
_DECOY = "connector-decoy"
_log = logging.getLogger("portico.connector")


@dataclass(slots=True)
class _Live:
    """A connector that is connected."""

    name: ConnectorName
    address: str
    site: str = ""
    told: tuple[Reachable, ...] | None = None
    """What it has acknowledged; None before the first list."""
    macs: frozenset[MacAddress] = frozenset()
    named: frozenset[MacAddress] = frozenset()
    """Those it may have been told of: it may speak of them before its acknowledgement was read."""
    accounts: frozenset[str] = frozenset()
    seen: dict[MacAddress, bool] = field(default_factory=dict)
    """What it has said of its devices: there, or gone. Of others it has said nothing yet."""
    due: asyncio.Event = field(default_factory=asyncio.Event)
    feeding: asyncio.Task[None] | None = None


class ConnectorBook:
    """See the module. Nobody is told anything before `begin`.

    `wall()`: wall-clock seconds; `present(mac)` is told of devices that were seen on their LAN. `urls`: one-time enrolment URLs
    for PnP; `autop()`: the directory of autop over HTTPS, "" where there is none.
    """

    def __init__(
        self,
        *,
        store: Store,
        read_model: ReadModel,
        vault: Vault,
        devices: SiteDevices,
        logbook: Logbook,
        present: Callable[[MacAddress], None],
        urls: EnrolmentUrls,
        autop: Callable[[], str],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._read_model = read_model
        self._vault = vault
        self._devices = devices
        self._logbook = logbook
        self._present = present
        self._urls = urls
        self._autop = autop
        self._wall = wall
        self._links: ConnectorLinks | None = None
        self._live: dict[str, _Live] = {}
        self._behind: dict[MacAddress, set[str]] = {}
        self._begun = asyncio.Event()
        self._decoy = vault.seal(b"\0" * 32, _DECOY)
        self._generation = int(wall() * 1_000_000)
        self._tasks: set[asyncio.Task[None]] = set()
        read_model.subscribe(self._on_change, self._all_due)

    def serve(self, links: ConnectorLinks) -> None:
        """The links whose ports this is. Before the first connection."""
        self._links = links

    def begin(self) -> None:
        """The node knows its own addresses: connectors are told their devices from now on."""
        self._begun.set()

    async def stop(self) -> None:
        """Feed nobody any more."""
        tasks = [*self._tasks, *(live.feeding for live in self._live.values() if live.feeding is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- for reach.py ---------------------------------------------------------------------------------------

    def behind(self, mac: MacAddress) -> ConnectorLink | None:
        """The link of a connector that may reach this device, best one that sees it; None if there is none now."""
        if self._links is None:
            return None
        for id_ in sorted(self._behind.get(mac, ()), key=lambda one: not self._live[one].seen.get(mac)):
            link = self._links.link(id_)
            if link is not None:
                return link
        return None

    def sees(self, mac: MacAddress) -> bool:
        """Whether a connector says that the device answers on its LAN."""
        return any(self._live[id_].seen.get(mac) for id_ in self._behind.get(mac, ()))

    def gone(self, mac: MacAddress) -> bool:
        """Whether every connector that may reach the device says that it does not answer."""
        return all(self._live[id_].seen.get(mac) is False for id_ in self._behind.get(mac, ()))

    def online(self) -> int:
        """Connectors that are connected."""
        return len(self._live)

    def connected(self, id_: str) -> bool:
        """Whether this connector is."""
        return id_ in self._live

    # ---- ConnectorPorts -------------------------------------------------------------------------------------

    async def connector_key(self, connector: ConnectorName) -> bytes | None:
        """The key of a valid token. Raises StoreUnavailable. An unknown one costs the same work as a known one."""
        stored = await self._read_model.get(Connector, connector.id)
        key = None if stored is None else stored.record.key_of(connector.number)
        try:
            if key is None:
                self._vault.open(self._decoy, _DECOY)
                return None
            return self._vault.open(key.sealed, key_context(connector))
        except BadSeal:
            _log.warning("a site token's key does not open with this node's master key")
            return None

    async def next_connector_generation(self, _connector: ConnectorName) -> int:
        self._generation += 1
        return self._generation

    async def on_connector_event(self, connector: ConnectorName, event: DeviceEvent) -> None:
        """Which devices it sees, or who asks its LAN for a URL. What nobody can use is dropped: it would be repeated for ever."""
        live = self._live.get(connector.id)
        if live is not None and event.name == PNP_EVENT:
            await self._tell_url(live, event.body.get("mac"))
        said = event.body.get("devices")
        if live is None or event.name != SEEN_EVENT or not isinstance(said, list):
            return
        for one in said[:MAX_SEEN]:
            mac, up = (one.get("mac"), one.get("up")) if isinstance(one, dict) else (None, None)
            if not isinstance(mac, str) or not isinstance(up, bool):
                continue
            with contextlib.suppress(MalformedMac):
                address = MacAddress(mac)
                if address in live.named:
                    was, live.seen[address] = live.seen.get(address), up
                    if up or was:
                        self._present(address)  # one that is gone was there until now

    async def _tell_url(self, live: _Live, said: object) -> None:
        """A device asked the LAN for its URL. One of another site gets none here, whatever enrolment would say."""
        link = self._links.link(live.name.id) if self._links is not None else None
        with contextlib.suppress(MalformedMac, RegistryError, LinkDown, TimeoutError):
            mac = MacAddress(said if isinstance(said, str) else "")
            library, device = await self._read_model.get(LibraryMac, mac.text), await self._read_model.get(Device, mac.text)
            sites = {one.record.site for one in (library, device) if one is not None and one.record.site}
            near = library is not None and live.site != "" and sites <= {live.site}
            url = await self._urls.url_for(mac) if near else None
            if link is not None:
                await link.call(URL_CALL, {"mac": mac.text, "url": url or ""}, URL_SECONDS)

    def connector_up(self, connector: ConnectorName, address: str) -> None:
        """Begin to feed it."""
        self._forget(connector.id)
        live = self._live[connector.id] = _Live(connector, address)
        live.due.set()
        live.feeding = asyncio.get_running_loop().create_task(self._feed(live))
        self._spawn(self._arrived(live))

    def connector_down(self, connector: ConnectorName, reason: str) -> None:
        """It is gone, unless a newer link of it took the place."""
        live = self._live.get(connector.id)
        if reason == "replaced" or live is None:
            return
        self._forget(connector.id)
        self._spawn(self._note(live, up=False))
        _log.info("connector %s is gone: %s", connector.id, reason)

    def _forget(self, id_: str) -> None:
        live = self._live.pop(id_, None)
        if live is None:
            return
        if live.feeding is not None:
            live.feeding.cancel()
        self._unlist(id_, live.macs)

    # ---- who may be -----------------------------------------------------------------------------------------

    async def _arrived(self, live: _Live) -> None:
        """Look once more whether its token is valid (it may have been revoked during the handshake). A new token that is used for
        the first time ends the old one."""
        with contextlib.suppress(RegistryError):
            stored = await self._store.get(Connector, live.name.id)
            if not self._still_valid(live, stored.record if stored is not None else None):
                return
            assert stored is not None
            record = stored.record
            live.site = record.site
            if record.keys[-1].number == live.name.number and len(record.keys) > 1:
                await self._store.batch([Put(replace(record, keys=record.keys[-1:]), expect=stored.version)])
                self._logbook.audit(
                    actor=f"connector/{record.id}",
                    action="connector.token-taken-over",
                    object=f"connector/{record.id}",
                    site=record.site,
                    detail=f"token {live.name.number} from {live.address}; older ones are no longer valid",
                )
            _log.info("connector %s of site %s is connected from %s", record.id, record.site, live.address)
            await self._note(live, up=True)

    def _still_valid(self, live: _Live, record: Connector | None) -> bool:
        if record is not None and record.key_of(live.name.number) is not None:
            return True
        if self._links is not None:
            self._links.end(live.name.id, "this site token is not valid any more")
        return False

    async def _recheck(self, live: _Live) -> None:
        with contextlib.suppress(RegistryError):  # while the store is down nobody is sent away by mistake
            stored = await self._read_model.get(Connector, live.name.id)
            self._still_valid(live, stored.record if stored is not None else None)

    async def _note(self, live: _Live, *, up: bool) -> None:
        if live.site:
            seen = ConnectorSeen(live.name.id, live.site, self._wall(), live.address, up)
            with contextlib.suppress(RegistryError):
                await self._store.batch([Put(seen)], durable=False)

    # ---- what it is told ------------------------------------------------------------------------------------

    async def _feed(self, live: _Live) -> None:
        """Tell a connector its list, and again whenever it has changed. Ends with the link."""
        number = 0
        await self._begun.wait()
        while True:
            await live.due.wait()
            await asyncio.sleep(SETTLE_SECONDS if number else 0.0)
            live.due.clear()
            number += 1
            try:
                await self._tell(live, number)
            except (LinkDown, TimeoutError, RegistryError) as error:
                _log.warning("connector %s was not told its devices: %s", live.name.id, type(error).__name__)
                live.due.set()
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            await asyncio.sleep(LEAST_SECONDS)

    async def _tell(self, live: _Live, number: int) -> None:
        stored = await self._read_model.get(Connector, live.name.id)
        link = self._links.link(live.name.id) if self._links is not None else None
        if stored is None or link is None:
            raise LinkDown("gone")
        live.site = stored.record.site
        devices = await self._devices.of(live.site)
        if devices == live.told:
            return
        macs = frozenset(one.mac for one in devices)
        live.named = live.macs | macs
        for body in pages(devices, number, self._autop()):
            result = await link.call(LIST_CALL, body, PAGE_SECONDS)
            if not result.ok:
                raise LinkDown("the connector does not take its list")
        if self._live.get(live.name.id) is not live:
            return
        self._unlist(live.name.id, live.macs)
        live.told = devices
        live.macs = live.named = macs
        live.accounts = frozenset(one.account for one in devices if one.account)
        live.seen = {mac: up for mac, up in live.seen.items() if mac in macs}
        for mac in live.macs:
            self._behind.setdefault(mac, set()).add(live.name.id)

    def _unlist(self, id_: str, macs: frozenset[MacAddress]) -> None:
        for mac in macs:
            holders = self._behind.get(mac)
            if holders is not None:
                holders.discard(id_)
                if not holders:
                    del self._behind[mac]

    # ---- changes --------------------------------------------------------------------------------------------

    def _on_change(self, change: Change) -> None:
        if not self._live:
            return
        if change.kind == Connector.__name__:
            live = self._live.get(change.key)
            if live is not None:
                self._spawn(self._recheck(live))
        elif change.kind == AorBindings.__name__:
            self._make_due(lambda live: change.key in live.accounts)
        elif change.kind == Site.__name__:
            self._make_due(lambda live: live.site == change.key)
        elif change.kind in (Device.__name__, DeviceAddress.__name__):
            mac = MacAddress(change.key)
            self._make_due(lambda live: mac in live.macs)
            if not change.deleted:
                self._spawn(self._new_device(mac))

    async def _new_device(self, mac: MacAddress) -> None:
        with contextlib.suppress(RegistryError):
            stored = await self._read_model.get(Device, mac.text)
            if stored is not None:
                site = stored.record.site
                self._make_due(lambda live: live.site == site)

    def _make_due(self, concerns: Callable[[_Live], bool]) -> None:
        for live in self._live.values():
            if concerns(live):
                live.due.set()

    def _all_due(self) -> None:
        for live in self._live.values():
            live.due.set()
            self._spawn(self._recheck(live))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def key_context(connector: ConnectorName) -> str:
    """The vault's context of a site token's key."""
    return f"connector-key:{connector.id}:{connector.number}"
