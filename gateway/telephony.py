"""SIP's part of the composition: the core, the service around it, the trunks, and the listeners."""

import random
from functools import partial

from gateway.config import Config
from gateway.directory import MemoryDirectory
from gateway.door_openings import DoorOpenings
from gateway.doors import DoorBook
from gateway.from_config import domains, trunk_tls
from gateway.ground import Ground, Known
from gateway.listeners import Address
from gateway.logbook import Logbook
from gateway.media import media_rule
from gateway.observers import SipObserver, TrunkObserver
from gateway.push.book import PushBook
from gateway.push.sender import PushSender
from gateway.tls import ServerTls
from gateway.trunks import TrunkBook
from gateway.write_behind import BindingsWriter
from registry.read_model import ReadModel
from sip.core import SipCore
from sip.limits import SipLimits
from sip.media_engine import MediaEngine, MediaRequest
from sip.net.resolver import Resolver
from sip.net.service import SipService
from sip.net.stream import StreamLimits
from sip.net.trunk_service import TrunkService
from sip.trunk_core import TrunkCore


def sip_core(
    ground: Ground,
    read_model: ReadModel,
    *,
    directory: MemoryDirectory,
    secret: bytes,
    push: PushBook | None,
    trunks: TrunkCore,
) -> SipCore:
    """The node's core. Without `push` there is no RFC 8599: the parameters of apps are ignored, and nobody gets a 555."""
    config = ground.config
    return SipCore(
        directory=directory,
        entropy=ground.entropy,
        secret=secret,
        realm=config.sip.realm,
        domains=domains(config),
        advertised={},
        limits=SipLimits(min_expires=config.sip.min_expires, max_expires=config.sip.max_expires),
        algorithms=tuple(name.encode() for name in config.sip.algorithms),
        started=ground.clock(),
        push=push,
        doors=DoorBook(read_model),
        trunks=trunks,
        media=media_rule(config),
    )


def sip_service(
    ground: Ground,
    core: SipCore,
    *,
    directory: MemoryDirectory,
    observer: SipObserver,
    bindings: BindingsWriter,
    logbook: Logbook,
    pushes: PushSender,
    push_book: PushBook,
    openings: DoorOpenings,
    media: MediaEngine | None,
) -> SipService:
    """The service around `core`, which listens nowhere yet. Whoever starts it stops it."""
    config, clock = ground.config, ground.clock
    return SipService(
        core,
        facts=directory,
        on_bindings=bindings.changed,
        on_call=logbook.call_ended,
        observe=observer,
        on_push=pushes.send,
        on_push_changed=push_book.changed,
        clock=clock,
        wall=ground.wall,
        entropy=ground.entropy,
        stream_limits=StreamLimits(idle_seconds=config.sip.stream_idle_seconds),
        websocket_origins=config.sip.websocket_origins,
        on_key=lambda key: openings.digit(key.call_id, key.account, key.door, key.key, clock()),
        on_media=_unwanted if media is None else media.request,
    )


def trunk_service(ground: Ground, core: TrunkCore, sip: SipService) -> TrunkService:
    """The trunks, which `sip` serves from now on. None is configured yet. Raises StartError for a CA file."""
    trunks = TrunkService(
        core,
        sip,
        Resolver(clock=ground.clock, fraction=random.random),
        observe=TrunkObserver(ground.metrics),
        clock=ground.clock,
        tls=trunk_tls(ground.config),
    )
    sip.serve_trunks(trunks)
    return trunks


async def open_sip(ground: Ground, tls: ServerTls, sip: SipService) -> None:
    """Open SIP's listeners: UDP, then the streams. Raises StartError."""
    config, listeners = ground.config, ground.listeners
    await listeners.open("sip_udp", config.listen.address, lambda host, port: sip.start(host, port, config.public_host))
    for transport, context in (
        ("tcp", None),
        ("tls", tls.context([])),
        ("ws", None),
        ("wss", tls.context(["http/1.1"])),
    ):
        await listeners.accept(
            f"sip_{transport}", partial(sip.connect, transport), context, told=partial(_streams_at, config, sip, transport)
        )


def start_trunks(ground: Ground, known: Known, trunks: TrunkService) -> None:
    """Configure the trunks that the registry has, now and whenever one changes, until the stack stops them."""
    ground.stack.callback(trunks.stop)
    book = TrunkBook(known.store, known.read_model, known.vault, trunks.configure)
    book.start()
    ground.stack.push_async_callback(book.stop)


def _streams_at(config: Config, sip: SipService, transport: str, bound: Address) -> None:
    sip.listening(transport, bound, config.public_host)


def _unwanted(_request: MediaRequest) -> None:
    """Without an engine the core asks for none."""
