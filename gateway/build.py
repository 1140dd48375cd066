"""The composition root: plain constructor calls, top to bottom. Whoever wants to know what a node is made of reads this.

Parts are made and started in an order in which nothing is reachable before what it needs, and stopped in reverse. What takes
more than a few lines is a function in its subject's file (`telephony.py`, `channel.py`, `provisioning.py` ...); `open_` and
`start_` ones put their end on the stack. Only this file names a store engine.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from admin_api.bootstrap import add_admin_token
from admin_api.net.server import AdminServer
from autop.net.configurations import Configurations
from autop.net.look_ahead import look_ahead
from autop.net.one_time import OneTimeDelivery
from autop.net.tokens import TokenRotations
from gateway.autop_admission import autop_admission
from gateway.autop_guard import device_logins, guarded, refusal_book
from gateway.channel import channel_listener, connector_book, open_channel, revocation
from gateway.commands import command_queue
from gateway.config import Config
from gateway.directory import MemoryDirectory
from gateway.door_commands import DoorCommands
from gateway.door_log import DoorLog
from gateway.door_openings import DoorOpenings
from gateway.enrolment import enrolments
from gateway.errors import StartError
from gateway.feed import Feed
from gateway.firmware import add_firmware_gauges, firmware_files, start_upgrades
from gateway.followed_store import FollowedStore
from gateway.from_config import certificates, domains, server_authority
from gateway.gauges import add_node_gauges, add_trunk_gauges
from gateway.ground import Ground, Known
from gateway.health import HealthApp
from gateway.listeners import Listeners
from gateway.logbook import Logbook
from gateway.logs import CountErrors
from gateway.loop import LagSampler
from gateway.management import admin_ports, open_admin_api
from gateway.media import media_engine, start_media
from gateway.metrics import Metrics
from gateway.observers import AutopNotes, ChannelNotes, SipObserver
from gateway.on_site import start_pnp, start_tftp
from gateway.presence import PresenceBook
from gateway.provisioning import autop_settings, open_autop, site_neighbours, start_fetch_book
from gateway.push.book import PushBook
from gateway.push.drivers import push_drivers
from gateway.push.sender import PushSender
from gateway.reach import Reach
from gateway.remote_control import open_visitors, visitor_listener
from gateway.reset_windows import ResetWindows
from gateway.state import StateFolder, key_file, write_atomically
from gateway.telephony import open_sip, sip_core, sip_service, start_trunks, trunk_service
from gateway.tls import ServerTls
from gateway.version import VERSION
from gateway.welcome import Welcome
from gateway.write_behind import BindingsWriter, load_bindings
from registry.engines.sqlite import SqliteStore
from registry.errors import RegistryError
from registry.read_model import ReadModel
from registry.records import Device, Role
from registry.store import Store, Stored
from registry.vault import Vault
from sip.own_address import OwnAddress
from sip.trunk_core import TrunkCore

Wall = Callable[[], float]
_log = logging.getLogger("portico.node")


class Node:
    """One gateway process' parts. `start` brings them up, `stop` takes them down in reverse; both once."""

    def __init__(self, config: Config, folder: StateFolder, errors: CountErrors, *, wall: Wall) -> None:
        self._config = config
        self._folder = folder
        self._wall = wall
        self._stack = AsyncExitStack()
        self._grace = 0.0
        self.metrics = Metrics(VERSION)
        self._listeners = Listeners(
            config.listen, self._stack, lambda name, reason: self.metrics.connections_refused.labels(name, reason).inc()
        )
        errors.on_error.append(self.metrics.unhandled_error)

    async def start(self) -> None:
        """Open everything. Raises StartError naming what could not be opened; `stop` then closes what was."""
        config, folder = self._config, self._folder
        entropy = os.urandom
        monotonic = asyncio.get_running_loop().time

        # What every part stands on. What is known: the store, its copy in memory, the secrets.
        ground = Ground(
            config, self.metrics, self._listeners, self._stack, self._wall, monotonic, entropy, grace=lambda: self._grace
        )
        vault = Vault(key_file(folder.master_key), entropy)
        store = await self._open_store()
        read_model = ReadModel(store)
        known = Known(store, read_model, vault)
        feed = Feed(store, read_model)
        await feed.start()
        self._stack.push_async_callback(feed.stop)
        node_secret = key_file(folder.node_secret)
        self._tls = ServerTls(certificates(config, folder, self._wall()))
        settings = partial(autop_settings, config, self._listeners, self._tls, server_authority(config, self._tls.ca))
        admin_token = await self._admin_token(store)

        # What is written when it is over.
        openings = DoorOpenings(partial(_device_of, read_model))
        serial = partial(secrets.randbits, 32)
        door_log = DoorLog(store, read_model, openings, wall=self._wall, clock=monotonic, serial=serial)
        logbook = Logbook(store, door_log, wall=self._wall, serial=serial)
        logbook.start()
        self._stack.push_async_callback(logbook.stop)
        bindings = BindingsWriter(store, config.node, wall=self._wall, clock=monotonic)
        bindings.start()
        self._stack.push_async_callback(bindings.stop)

        # How sleeping apps are woken.
        drivers = push_drivers(config.push, self._wall)
        pushes = PushSender(
            drivers,
            told=lambda serial, accepted, reason: sip.pushed(serial, accepted, reason),
            dead=lambda account, prid: push_book.dead(account, prid),
            count=self.metrics.push,
        )
        push_book = PushBook(FollowedStore(store, read_model), read_model, vault, pushes.providers)
        push_book.start()
        self._stack.push_async_callback(push_book.stop)

        # Media of calls.
        media = media_engine(config, self.metrics, lambda outcome: sip.media_told(outcome), clock=monotonic, entropy=entropy)
        if media is not None:
            await start_media(media, self._stack)

        # SIP.
        trunk_core = TrunkCore(own=OwnAddress(domains(config), {}), entropy=entropy)
        directory = MemoryDirectory(read_model, vault, self._wall)
        core = sip_core(
            ground,
            read_model,
            directory=directory,
            secret=_derived(node_secret, b"sip"),
            push=push_book if drivers else None,
            trunks=trunk_core,
        )
        presence = PresenceBook(
            registered=lambda account: bool(core.bindings(account, monotonic())),
            heard=lambda mac: None if (link := channel.link(mac)) is None else link.silence,
            on_connector=lambda mac: connectors.sees(mac),
            wall=self._wall,
        )
        sip = sip_service(
            ground,
            core,
            directory=directory,
            observer=SipObserver(self.metrics, presence, lambda account: commands.registered(account)),
            bindings=bindings,
            logbook=logbook,
            pushes=pushes,
            push_book=push_book,
            openings=openings,
            media=media,
        )
        commands = command_queue(
            store=store,
            read_model=read_model,
            vault=vault,
            metrics=self.metrics,
            openings=openings,
            reach=lambda mac: reach.there(mac),
            notify=sip.notify,
            registered=lambda account: bool(core.bindings(account, monotonic())),
            node=config.node,
            wall=self._wall,
            clock=monotonic,
            serial=serial,
            windows=ResetWindows(store, lambda: enrolling, self._wall),
        )
        trunks = trunk_service(ground, trunk_core, sip)
        await load_bindings(store, config.node, self._wall(), sip.load_bindings)
        self._stack.push_async_callback(sip.stop)
        self._stack.push_async_callback(pushes.stop)
        await open_sip(ground, self._tls, sip)
        start_trunks(ground, known, trunks)

        # The channel, and Remote Control through it; for devices that have none, the connector of their site.
        enrolling = enrolments(store, read_model, vault, self._wall, settings)
        connectors = connector_book(
            ground,
            known,
            presence=presence,
            commands=commands,
            logbook=logbook,
            enrolling=enrolling,
            settings=settings,
        )
        self._stack.push_async_callback(connectors.stop)
        notes = ChannelNotes(self.metrics, presence, logbook, lambda mac: commands.came(mac))
        channel = channel_listener(ground, known, self._tls, door_log=door_log, observer=notes, connectors=connectors)
        reach = Reach(channel.link, connectors.behind, connectors.gone)
        await open_channel(ground, self._tls, channel)
        revocation(read_model, channel, sip)
        visitors = visitor_listener(
            config,
            store=store,
            links=reach.of,
            metrics=self.metrics,
            logbook=logbook,
            entropy=entropy,
            wall=self._wall,
        )
        await open_visitors(ground, self._tls, visitors)

        # Auto-provisioning, which tells devices where all of the above is.
        neighbours = site_neighbours(known)
        refusals = refusal_book(logbook, self._stack)
        autop_notes = AutopNotes(self.metrics, presence, refusals, commands.fetched)
        images = await firmware_files(folder.firmware, store)
        upgrades, upgrade_clock = start_upgrades(ground, known, images)
        one_time = OneTimeDelivery(store, vault)
        tokens = TokenRotations(FollowedStore(store, read_model))
        gate, sample = autop_admission(self.metrics, self._listeners.handshakes, monotonic)
        commands.start()
        self._stack.push_async_callback(commands.stop)
        autop = Configurations(
            read_model=read_model,
            vault=vault,
            settings=None,
            neighbours=neighbours,
            firmware=upgrades,
            one_time=one_time,
            tokens=tokens,
            bootstraps=enrolling,
            gate=gate,
            ahead=look_ahead(read_model),
            logins=device_logins(config, _derived(node_secret, b"autop login"), entropy),
        )
        fetches = start_fetch_book(ground, known, one_time, tokens)
        for_http, for_tftp = guarded(autop, refusals, self.metrics)
        files = await open_autop(
            ground, known, self._tls, configurations=for_http, observer=autop_notes, upgrades=upgrades, fetches=fetches
        )
        await start_tftp(
            config,
            self._listeners,
            self._stack,
            self.metrics,
            configurations=for_tftp,
            observer=autop_notes,
            wall=self._wall,
            ear=upgrades,
            fetches=fetches,
        )
        await start_pnp(config, self._stack, self.metrics, sip, read_model, enrolling)
        autop.use_settings(settings())
        connectors.begin()

        # The management plane.
        doors = DoorCommands(
            reach=reach.of, directory=directory, talking=core.talking, openings=openings, logbook=logbook, metrics=self.metrics
        )
        ports = admin_ports(
            ground,
            known,
            settings=settings,
            visitors=visitors,
            presence=presence,
            trunks=trunks,
            doors=doors,
            reach=reach,
            configurations=autop,
            firmware=images,
        )
        await open_admin_api(ground, ports)

        # Operations.
        add_node_gauges(self.metrics, core, sip, channel, visitors, bindings, self._tls)
        add_trunk_gauges(self.metrics, trunks)
        online = "portico_connectors_online", "Connectors of sites that are connected."
        self.metrics.gauge(*online, (), lambda: [((), connectors.online())])
        add_firmware_gauges(self.metrics, upgrade_clock, files)
        lag = LagSampler(self.metrics.lag.observe, core.lag, sample)
        lag.start()
        self._stack.callback(lag.stop)
        self._health = HealthApp(self.metrics, {"listeners": lambda: None if self._listeners.bound else "none"})
        operations = AdminServer(self._health)
        await self._listeners.open("metrics", (config.listen.metrics_address,), operations.start)
        self._stack.push_async_callback(lambda: operations.stop(self._grace))
        self.welcome = Welcome(
            self._listeners.bound,
            state=folder.path,
            token_file=folder.admin_token,
            ca_file=self._tls.ca,
            public_host=config.public_host,
            first_token=admin_token,
        )

    async def stop(self, grace: float) -> None:
        """Take no new work, let what runs finish for `grace` seconds, close everything that was opened."""
        self._grace = grace
        if hasattr(self, "_health"):
            self._health.draining = True
        await self._stack.aclose()

    def reload(self) -> None:
        """Read the certificates again (SIGHUP). Open connections stay; where one is bad, all old ones are kept."""
        try:
            self._tls.reload()
        except StartError as error:
            _log.warning("certificates not reloaded: %s", error)
            return
        _log.info("certificates reloaded")

    def ready_facts(self) -> dict[str, object]:
        """What the ready file says: each listener's first address by its name, `addresses` with all of them, and the rest."""
        first = {name: places[0] for name, places in self._listeners.bound.items()}
        facts: dict[str, object] = {
            **first,
            "addresses": self._listeners.bound,
            "pid": os.getpid(),
            "admin_token_file": str(self._folder.admin_token.resolve()),
        }
        if self._tls.ca is not None:
            facts["ca_file"] = str(self._tls.ca.resolve())
        return facts

    async def _open_store(self) -> Store:
        try:
            store = await SqliteStore.open(self._folder.database, on_quarantine=lambda kind, key: self.metrics.quarantined.inc())
        except RegistryError as error:
            raise StartError(f"database {self._folder.database}: {error}") from None
        self._stack.push_async_callback(store.close)
        return store

    async def _admin_token(self, store: Store) -> str | None:
        """The first admin token, if this start makes it: kept in a file for its owner, and returned to be shown once.

        A start that was killed between the two writes left a token nobody knows: where the file is missing, a new one is made.
        """
        if self._folder.admin_token.exists():
            return None
        secret = await add_admin_token(store, "first start", Role.DISTRIBUTOR, os.urandom, self._wall())
        write_atomically(self._folder.admin_token, secret.encode() + b"\n")
        return secret


def _device_of(read_model: ReadModel, account: str) -> Device | None:
    """The device of a SIP account, as far as memory knows."""
    stored = read_model.peek_unique(Device, "account", account)
    return stored.record if isinstance(stored, Stored) else None


def _derived(secret: bytes, purpose: bytes) -> bytes:
    """A key of its own for each purpose, from the node's one secret."""
    return hmac.new(secret, b"portico/" + purpose, hashlib.sha256).digest()
