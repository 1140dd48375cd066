"""The channel's part of the composition, and that of the connectors, which come over the same listener."""

from collections.abc import Callable
from dataclasses import replace

from autop.certificate import certified_macs
from autop.net.enrolment import Enrolments
from autop.settings import AutopSettings
from gateway.accept import AcceptLimits
from gateway.command_queue import CommandQueue
from gateway.connector_book import ConnectorBook
from gateway.connector_feed import SiteDevices
from gateway.device_ports import DeviceEvents, DeviceKeys
from gateway.door_log import DoorLog
from gateway.ground import Ground, Known
from gateway.logbook import Logbook
from gateway.observers import ChannelNotes
from gateway.on_site import LibraryDevices
from gateway.presence import CHANNEL_LIMITS, PresenceBook
from gateway.revocation import Revocation
from gateway.tls import ServerTls
from registry.mac import MacAddress
from registry.read_model import ReadModel
from sip.net.service import SipService
from tunnel.errors import Code
from tunnel.frames import ALPN
from tunnel.net.channel_listener import ChannelListener
from tunnel.net.device_link import DeviceLink
from tunnel.net.link import NOTSENT_LOWAT
from tunnel.net.ports import CountedGenerations
from tunnel.session import FORWARDED


def connector_book(
    ground: Ground,
    known: Known,
    *,
    presence: PresenceBook,
    commands: CommandQueue,
    logbook: Logbook,
    enrolling: Enrolments,
    settings: Callable[[], AutopSettings],
) -> ConnectorBook:
    """The connectors of sites, who are told nothing yet. Whoever makes it stops it."""

    def seen_on_lan(mac: MacAddress) -> None:
        presence.seen(mac)
        commands.came(mac)  # what waits for it may go

    bound = ground.listeners.bound
    return ConnectorBook(
        store=known.store,
        read_model=known.read_model,
        vault=known.vault,
        devices=SiteDevices(
            known.store, known.read_model, known.vault, lambda site: tuple(FORWARDED) if site.allow_forward else ()
        ),
        logbook=logbook,
        present=seen_on_lan,
        urls=LibraryDevices(known.read_model, enrolling),
        autop=lambda: settings().autop_url if "autop_https" in bound else "",
        wall=ground.wall,
    )


def channel_listener(
    ground: Ground,
    known: Known,
    tls: ServerTls,
    *,
    door_log: DoorLog,
    observer: ChannelNotes,
    connectors: ConnectorBook,
) -> ChannelListener:
    """The channels of devices and connectors, not yet open."""
    metrics = ground.metrics
    channel = ChannelListener(
        certificate_sha256=tls.leaf_sha256,
        keys=DeviceKeys(known.read_model, known.vault),
        generations=CountedGenerations(int(ground.wall() * 1_000_000)),
        events=DeviceEvents(
            door_log, refused=lambda reason: metrics.device_events_refused.labels(reason).inc(), clock=ground.clock
        ),
        observer=observer,
        certified=lambda connection: certified_macs(connection.getpeercert() or {}),
        entropy=ground.entropy,
        connectors=connectors,
        limits=CHANNEL_LIMITS,
    )
    connectors.serve(channel.connectors)
    return channel


async def open_channel(ground: Ground, tls: ServerTls, channel: ChannelListener) -> None:
    """Open its listener. Raises StartError."""
    ground.stack.push_async_callback(lambda: channel.stop(ground.grace()))
    limits = replace(AcceptLimits(), probe=False, unsent_octets=NOTSENT_LOWAT)
    context = tls.context([ALPN], ground.config.tls.device_ca)
    await ground.listeners.accept("channel", channel.connect, context, limits=limits)


def revocation(read_model: ReadModel, channel: ChannelListener, sip: SipService) -> Revocation:
    """Ends what is open of a device or an account that was taken away, from now on."""
    return Revocation(
        read_model,
        end_channel=lambda mac: _end(channel.link(mac)),
        forget_account=sip.forget_account,
    )


def _end(link: DeviceLink | None) -> None:
    """Close the link of a device that was removed."""
    if link is not None:
        link.close(Code.NOT_AUTHORISED, "this device was removed")
