"""The media engine that the configuration names (`media.engine`), and its metrics."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from gateway.config import WILDCARDS, Config, own_address
from gateway.errors import StartError
from gateway.metrics import Metrics
from sip.media.places import is_ipv6
from sip.media_engine import Digit, MediaEnded, MediaEngine, MediaFailed, MediaOutcome
from sip.media_rule import MediaRule
from sip.net.rtp import RelayAddress, RtpRelay
from sip.net.rtpengine import RtpengineClient


def media_engine(
    config: Config,
    metrics: Metrics,
    told: Callable[[MediaOutcome], None],
    *,
    clock: Callable[[], float],
    entropy: Callable[[int], bytes],
) -> MediaEngine | None:
    """The engine, not yet started; None where media is off. `told` gets its outcomes, counted. Raises StartError."""
    media = config.media
    counted = _counting(metrics, told)
    if media.engine == "rtpengine":
        client = RtpengineClient([_instance(text) for text in media.rtpengine], counted, clock=clock, entropy=entropy)
        metrics.gauge("portico_media_calls", "Calls whose media goes through an engine.", (), lambda: [((), client.calls)])
        metrics.gauge(
            "portico_media_instances_up",
            "Whether each rtpengine answers (1) or not (0).",
            ("instance",),
            lambda: [((name,), float(up)) for name, up in client.alive.items()],
        )
        metrics.gauge("portico_media_refused", "Requests to rtpengine that failed, since the start.", ("reason",), _by(client))
        return client
    if media.engine == "relay":
        relay = RtpRelay(relay_addresses(config), (media.first_port, media.last_port), counted)
        metrics.gauge("portico_media_calls", "Calls whose media goes through an engine.", (), lambda: [((), relay.calls)])
        metrics.gauge("portico_media_packets", "Packets relayed since the start.", (), lambda: [((), relay.packets)])
        metrics.gauge(
            "portico_media_free_port_pairs", "Pairs of relay ports that are free.", (), lambda: [((), relay.free_pairs)]
        )
        metrics.gauge("portico_media_resting_ports", "Relay ports under a flood.", (), lambda: [((), relay.resting_ports)])
        metrics.gauge("portico_media_send_errors", "Packets the kernel would not take.", (), lambda: [((), relay.send_errors)])
        metrics.gauge("portico_media_refused", "Packets and offers refused, since the start.", ("reason",), _by(relay))
        return relay
    return None


async def start_media(engine: MediaEngine, stack: AsyncExitStack) -> None:
    """Start it; `stack` stops it, also where the start fails. Raises StartError."""
    stack.push_async_callback(engine.stop)
    try:
        await engine.start()
    except OSError as error:
        raise StartError(f"media: {error.strerror or error}. Set media.addresses to addresses of this machine.") from None


def media_rule(config: Config) -> MediaRule | None:
    """Which calls the core asks the engine about; None where media is off."""
    media = config.media
    if media.engine == "off":
        return None
    return MediaRule(always=media.relay == "always", bridges=media.engine == "rtpengine")


def relay_addresses(config: Config) -> list[RelayAddress]:
    """Where the relay binds and what it tells peers. Raises StartError for a public address that nothing is behind."""
    bind = config.media.addresses or tuple(
        own_address(ipv6=one == "::") if one in WILDCARDS else one for one in config.listen.address
    )
    public = {is_ipv6(one): one for one in config.media.public_addresses}
    if not public.keys() <= {is_ipv6(one) for one in bind}:
        raise StartError(
            f"media.public_addresses: the relay has only {', '.join(bind)}. Set media.addresses for the other family."
        )
    return [RelayAddress(one, public.get(is_ipv6(one), one)) for one in bind]


def _instance(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _by(engine: RtpRelay | RtpengineClient) -> Callable[[], list[tuple[tuple[str, ...], float]]]:
    return lambda: [((reason,), float(count)) for reason, count in engine.refused.items()]


def _counting(metrics: Metrics, told: Callable[[MediaOutcome], None]) -> Callable[[MediaOutcome], None]:
    def count(outcome: MediaOutcome) -> None:
        if isinstance(outcome, MediaFailed):
            metrics.media_failed.labels(outcome.reason).inc()
        elif isinstance(outcome, Digit):
            metrics.media_digits.inc()
        elif isinstance(outcome, MediaEnded):
            metrics.media_silent.inc()
        told(outcome)

    return count
