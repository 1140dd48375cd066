"""The node's gauges: what is read from its parts when metrics are scraped."""

from gateway.metrics import Metrics
from gateway.tls import ServerTls
from gateway.write_behind import BindingsWriter
from sip.core import SipCore
from sip.net.service import SipService
from sip.net.trunk_service import TrunkService
from tunnel.net.channel_listener import ChannelListener
from tunnel.net.visitor_listener import VisitorListener


def add_node_gauges(
    metrics: Metrics,
    core: SipCore,
    sip: SipService,
    channel: ChannelListener,
    visitors: VisitorListener,
    bindings: BindingsWriter,
    tls: ServerTls,
) -> None:
    """What the node holds now."""
    gauge = metrics.gauge
    gauge("portico_sip_bindings", "Live bindings.", (), lambda: [((), core.census().bindings)])
    gauge("portico_sip_streams", "SIP connections that are open.", (), lambda: [((), sip.streams)])
    gauge("portico_sip_waiting_branches", "Branches that wait for an app to wake up.", (), lambda: [((), core.census().waiting)])
    gauge("portico_calls", "Calls going on.", (), lambda: [((), core.census().calls)])
    gauge(
        "portico_sip_transactions",
        "SIP transactions held.",
        ("side",),
        lambda: [(("server",), core.census().server_transactions), (("client",), core.census().client_transactions)],
    )
    gauge("portico_control_connections", "Channels that are up.", (), lambda: [((), sum(1 for _ in channel.online()))])
    gauge("portico_tunnel_sessions", "Remote Control sessions in use.", (), lambda: [((), visitors.live_sessions)])
    gauge("portico_store_pending_writes", "Bindings not yet in the store.", (), lambda: [((), bindings.waiting)])
    gauge(
        "portico_tls_certificate_not_after_timestamp_seconds",
        'When each certificate ends: "server" is the first of portico.toml (or the gateway\'s own), then "server-2" ...',
        ("cert",),
        lambda: [((f"server-{n}" if n > 1 else "server",), one.not_after) for n, one in enumerate(tls.certificates, 1)],
    )


def add_trunk_gauges(metrics: Metrics, trunks: TrunkService) -> None:
    """How the trunks are. Their names are the operator's, so these labels are as many as there are trunks."""
    gauge = metrics.gauge
    gauge(
        "portico_trunk_registered",
        "Whether a trunk that registers is registered.",
        ("trunk",),
        lambda: [((name,), state.registered) for name, state in trunks.states().items() if state.registered is not None],
    )
    gauge(
        "portico_trunk_gateways",
        "Gateways of a trunk by state.",
        ("trunk", "state"),
        lambda: [
            ((name, word), sum(one.state == word for one in state.gateways))
            for name, state in trunks.states().items()
            for word in ("up", "down", "unknown")
        ],
    )
    gauge(
        "portico_trunk_calls",
        "Calls that ring or talk over a trunk.",
        ("trunk",),
        lambda: [((name,), state.calls) for name, state in trunks.states().items()],
    )
