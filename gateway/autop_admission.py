"""What tells autop that more devices come than the node can serve, and what it did about it, as metrics."""

from collections.abc import Callable

from autop.admission import Admission
from autop.net.configurations import Gate
from gateway.handshakes import HandshakePlaces
from gateway.metrics import Metrics


def autop_admission(
    metrics: Metrics, handshakes: HandshakePlaces, clock: Callable[[], float]
) -> tuple[Gate, Callable[[float], None]]:
    """The gate of `Configurations`, and what is to be told each sample of the loop's lag. `clock` is monotonic."""
    admission = Admission()
    metrics.counter(
        "portico_autop_sent_away_total",
        "Devices that were told to come again later (503), by what they wanted and how much the node had to do.",
        ("wanted", "pressure"),
        lambda: [((one.name.lower(), under.name.lower()), number) for (one, under), number in admission.sent_away.items()],
    )
    metrics.gauge(
        "portico_autop_pressure",
        "0: calm; 1: firmware and phonebooks wait; 2: some others too.",
        (),
        lambda: [((), admission.pressure)],
    )
    metrics.gauge("portico_tls_handshakes_waiting", "Peers that wait for a handshake.", (), lambda: [((), handshakes.waiting)])
    return (
        lambda rank, mac, is_known: admission.weigh(rank, mac, is_known=is_known, now=clock()),
        lambda lag: admission.sample(lag, handshakes.delay()),
    )
