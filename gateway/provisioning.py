"""Auto-provisioning's part of the composition: what files say of this node, the book of fetches, and the listeners."""

from autop.net.guard import Guard
from autop.net.known_files import KnownFiles
from autop.net.listener import AutopListener
from autop.net.neighbours import SiteNeighbours
from autop.net.one_time import OneTimeDelivery
from autop.net.tokens import TokenRotations
from autop.net.upgrades import Upgrades
from autop.settings import AutopSettings
from gateway.config import Config
from gateway.fetch_book import FetchBook
from gateway.ground import Ground, Known
from gateway.listeners import Listeners
from gateway.observers import AutopNotes
from gateway.tls import ServerTls
from gateway.welcome import address


def autop_settings(config: Config, listeners: Listeners, tls: ServerTls, authority: bytes) -> AutopSettings:
    """What files say of this node as its listeners are now. `authority`: see `gateway.from_config.server_authority`."""
    host = config.public_host
    kind = "autop_https" if "autop_https" in listeners.bound else "autop_http"
    scheme = "https" if kind == "autop_https" else "http"
    return AutopSettings(
        sip_host=host,
        autop_url=f"{scheme}://{address((host, listeners.port(kind)))}/autop",
        registration_seconds=config.sip.registration_seconds,
        sip_udp_port=listeners.port("sip_udp"),
        sip_tcp_port=listeners.port("sip_tcp"),
        sip_tls_port=listeners.port("sip_tls"),
        channel_host=host if "channel" in listeners.bound else "",
        channel_port=listeners.port("channel"),
        channel_ca_sha256=tls.ca_sha256,
        backup_sip_host=config.autop.backup_sip_host or "",
        ntp_servers=config.autop.ntp_servers,
        syslog_host=config.autop.syslog_host or "",
        syslog_port=config.autop.syslog_port,
        server_ca=authority,
        poll_first_hour=config.autop.poll_first_hour,
        poll_hours=config.autop.poll_hours,
    )


def site_neighbours(known: Known) -> SiteNeighbours:
    """Who else is at a device's site, kept true by the change feed."""
    neighbours = SiteNeighbours(known.store)
    known.read_model.subscribe(neighbours.changed, neighbours.clear)
    return neighbours


def start_fetch_book(ground: Ground, known: Known, one_time: OneTimeDelivery, tokens: TokenRotations) -> FetchBook:
    """The book of what devices fetched, which writes behind until the stack stops it."""
    fetches = FetchBook(known.store, known.read_model, known.vault, one_time, tokens)
    fetches.start()
    ground.stack.push_async_callback(fetches.stop)
    waiting = "portico_autop_fetches_waiting", "Fetches of configurations not yet in the store."
    ground.metrics.gauge(*waiting, (), lambda: [((), fetches.waiting)])
    return fetches


async def open_autop(
    ground: Ground,
    known: Known,
    tls: ServerTls,
    *,
    configurations: Guard,
    observer: AutopNotes,
    upgrades: Upgrades,
    fetches: FetchBook,
) -> AutopListener:
    """Open autop over HTTPS and HTTP. Raises StartError."""
    files = KnownFiles()
    known.read_model.subscribe(files.changed, files.clear)
    listener = AutopListener(
        configurations=configurations,
        observer=observer,
        clock_wall=ground.wall,
        ear=upgrades,
        fetches=fetches,
        known=files,
        served_known=configurations.served_known,
    )
    ground.stack.push_async_callback(lambda: listener.stop(ground.grace()))
    context = tls.context(["http/1.1"], ground.config.tls.device_ca)
    await ground.listeners.accept("autop_https", listener.connect, context)
    await ground.listeners.accept("autop_http", listener.connect, None)
    return listener
