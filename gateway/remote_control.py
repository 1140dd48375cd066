"""Remote Control in a node: its listener, and what its sessions leave in metrics and the audit log."""

import json
import logging
from collections.abc import Callable, Sequence

from admin_api.ports import RemoteControl
from gateway.config import Config
from gateway.ground import Ground
from gateway.logbook import Logbook
from gateway.metrics import Metrics
from gateway.tls import ServerTls
from registry.mac import MacAddress
from registry.records import RemoteSession
from registry.store import Store
from tunnel.net.ports import Reached, Usage
from tunnel.net.visitor_listener import ALPN, VisitorListener
from tunnel.session import WEB

MAX_DETAIL = 2_048
_log = logging.getLogger("portico.remote-control")


def visitor_listener(
    config: Config,
    *,
    store: Store,
    links: Callable[[MacAddress], Reached | None],
    metrics: Metrics,
    logbook: Logbook,
    entropy: Callable[[int], bytes],
    wall: Callable[[], float],
) -> VisitorListener:
    """The listener that the configuration wants; `links(mac)` gives a way to a device."""
    return VisitorListener(
        store=store,
        links=links,
        observer=VisitorNotes(metrics, logbook),
        entropy=entropy,
        wall=wall,
        domain=config.remote_control.domain,
        host=config.public_host,
        ports=config.remote_control.port_range,
    )


async def open_visitors(ground: Ground, tls: ServerTls, visitors: VisitorListener) -> None:
    """Start it, and open its listener and the further ports that it shares out. Raises StartError."""
    await visitors.start()
    ground.stack.push_async_callback(lambda: visitors.stop(ground.grace()))
    await ground.listeners.accept(
        "remote_control",
        visitors.connect,
        tls.context(ALPN),
        told=lambda bound: visitors.listening(bound[1]),
        more_ports=visitors.origins.ports,
    )


def remote_control(visitors: VisitorListener) -> RemoteControl:
    """What the admin API needs of it."""
    return RemoteControl(link=visitors.link_url, ports=visitors.origins.ports, forward_address=lambda: visitors.origins.address)


class VisitorNotes:
    """Counts Remote Control sessions and writes who looked at which device, and what of it, into the audit log."""

    def __init__(self, metrics: Metrics, logbook: Logbook) -> None:
        self._metrics = metrics
        self._logbook = logbook

    def session_opened(self, session: RemoteSession, address: str) -> None:
        self._metrics.remote_sessions.labels("opened").inc()
        self._audit(session, "remote-session.opened", f"{_what(session)}from {address}")

    def session_closed(self, session: RemoteSession, usage: Usage, reason: str) -> None:
        self._metrics.remote_sessions.labels(reason).inc()
        self._metrics.remote_bytes.labels("to-device").inc(usage.bytes_to_device)
        self._metrics.remote_bytes.labels("to-visitor").inc(usage.bytes_to_visitor)
        counts = f"{usage.requests} requests, {usage.bytes_to_device} bytes to the device, {usage.bytes_to_visitor} bytes back"
        pages = _within(usage.pages, MAX_DETAIL // 2)
        addresses = ", ".join(_within(sorted(usage.addresses), MAX_DETAIL // 4))
        detail = f"{_what(session)}{reason} after {usage.seconds:.0f} s; {counts}, from {addresses}"
        self._audit(session, "remote-session.closed", f"{detail}; pages: {json.dumps(pages)}" if pages else detail)

    def certificate_pinned(self, session: RemoteSession, spki: str) -> None:
        self._audit(session, "web-certificate.pinned", f"SHA-256 of its key: {spki}")

    def certificate_changed(self, session: RemoteSession, known: str, shown: str) -> None:
        self._metrics.web_certificate_changes.inc()
        _log.warning("a device's HTTPS page shows another key: refused", extra={"fields": {"mac": session.mac.text}})
        self._audit(session, "web-certificate.changed", f"refused: SHA-256 of its key was {known}, is now {shown}")

    def visitor_refused(self, reason: str) -> None:
        self._metrics.visitor_refused.labels(reason).inc()

    def _audit(self, session: RemoteSession, action: str, detail: str) -> None:
        self._logbook.audit(
            actor=session.opened_by, action=action, object=f"device {session.mac}", site=session.site, detail=detail[:MAX_DETAIL]
        )


def _what(session: RemoteSession) -> str:
    return "" if session.service == WEB else f"forward of {session.service}; "


def _within(texts: Sequence[str] | dict[str, None], most: int) -> list[str]:
    """As many of the texts as fit into `most` characters."""
    kept: list[str] = []
    for text in texts:
        most -= len(text) + 4
        if most < 0:
            break
        kept.append(text)
    return kept
