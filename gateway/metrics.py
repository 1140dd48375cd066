"""The only file that names Prometheus: families of metrics, and the observers through which the packages feed them.

Label values come from closed sets (an unknown one becomes "other") and no label names a device, so a scrape stays small
however many devices there are (S33). Gauges are read from the packages at scrape time, by callables.
"""

import sys
from collections.abc import Callable, Iterable
from importlib import metadata

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.registry import Collector

from gateway import compiled

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RING_BUCKETS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)
REQUEST_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
SIP_METHODS = (
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "INFO",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "UPDATE",
    "PRACK",
    "PUBLISH",
)

Samples = Callable[[], Iterable[tuple[tuple[str, ...], float]]]
"""What a gauge reads at scrape time: label values and number."""


class _ReadFamily(Collector):
    """Samples that are read from the node when it is scraped."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], read: Samples) -> None:
        self._name, self._help, self._labels, self._read = name, help_text, labels, read


class _ReadGauge(_ReadFamily):
    """A gauge."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for values, number in self._read():
            family.add_metric(values, number)
        yield family


class _ReadCounter(_ReadFamily):
    """A counter that somebody else counts, read when it is scraped: where counting itself must cost next to nothing."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, number in self._read():
            family.add_metric(values, number)
        yield family


class Metrics:
    """All metrics of one node."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        labels = ("version", "python", "twisted", "sip_core")
        build = Gauge("portico_build_info", "What runs here; always 1.", labels, registry=self.registry)
        build.labels(version, sys.version.split()[0], metadata.version("twisted"), compiled.form()).set(1)
        self.lag = self._histogram("portico_reactor_lag_seconds", "How late the event loop ran a timer.", LAG_BUCKETS)
        self.unhandled = self._counter("portico_unhandled_errors_total", "Errors nobody handled; stays 0.", ("where",))
        self.quarantined = self._counter("portico_store_quarantined_total", "Unreadable records put aside.")
        self.bad_seals = self._counter("portico_bad_seals_total", "Sealed secrets that this master key does not open.")
        self.connections_refused = self._counter(
            "portico_connections_refused_total", "Connections turned away before their protocol began.", ("listener", "reason")
        )
        self._add_sip()
        self._add_media()
        self._add_autop()
        self._add_tunnel()
        self._add_admin()

    def _add_sip(self) -> None:
        self.sip_refused = self._counter(
            "portico_sip_refused_total", "SIP requests answered with an error of ours, or dropped.", ("reason", "transport")
        )
        self.sip_parse_errors = self._counter(
            "portico_sip_parse_errors_total", "Bytes that were no SIP message.", ("reason", "transport")
        )
        self.trunk_changes = self._counter(
            "portico_trunk_changes_total", "Registrations won and lost, gateways gone up and down.", ("trunk", "what")
        )
        self.calls = self._counter("portico_calls_total", "Calls that are over.", ("result",))
        self.pushes = self._counter("portico_pushes_total", "Pushes to apps.", ("provider", "purpose", "outcome"))
        self.call_setup = self._histogram("portico_call_setup_seconds", "From the INVITE to the answer.", RING_BUCKETS)

    def _add_media(self) -> None:
        self.media_failed = self._counter("portico_media_failed_total", "Offers and answers without media.", ("reason",))
        self.media_digits = self._counter("portico_media_digits_total", "Keys pressed in relayed media (RFC 4733).")
        self.media_silent = self._counter("portico_media_silent_total", "Calls ended because no media came any more.")

    def _add_autop(self) -> None:
        self.autop_requests = self._counter("portico_autop_requests_total", "Auto-provisioning requests.", ("outcome", "reason"))
        self.autop_sweeps = self._counter(
            "portico_autop_sweeps_total", "Sources and networks that began to guess at configurations, each once an hour."
        )

    def _add_tunnel(self) -> None:
        self.channel_links = self._counter("portico_channel_links_total", "Channels that came and went.", ("event",))
        self.channel_ended = self._counter("portico_channel_ended_total", "Channels that ended, by why.", ("reason",))
        self.channel_refused = self._counter("portico_channel_refused_total", "Channel connections refused.", ("reason",))
        self.channel_clones = self._counter(
            "portico_channel_clones_total", "Suspicions that two devices use one MAC and its key."
        )
        self.channel_events_failed = self._counter(
            "portico_channel_events_failed_total", "Device events that could not be kept; the device repeats them."
        )
        self.device_events_refused = self._counter(
            "portico_device_events_refused_total", "Events of devices that are not kept.", ("reason",)
        )
        self.openings = self._counter(
            "portico_door_commands_total", "Wishes to open a relay over a device's channel, by what became of them.", ("outcome",)
        )
        self.commands = self._counter(
            "portico_commands_total",
            "Commands to devices that are over, by way and by what became of them.",
            ("name", "way", "state"),
        )
        self.remote_sessions = self._counter(
            "portico_tunnel_sessions_total", "Remote Control sessions opened, and ended by reason.", ("end",)
        )
        self.remote_bytes = self._counter("portico_tunnel_bytes_total", "Bytes of Remote Control.", ("direction",))
        self.web_certificate_changes = self._counter(
            "portico_web_certificate_changes_total", "Devices whose HTTPS page shows another key than the known one: an alarm."
        )
        self.visitor_refused = self._counter(
            "portico_tunnel_refused_total", "Visitors' requests that were not served.", ("reason",)
        )

    def _add_admin(self) -> None:
        self.admin_requests = self._counter("portico_admin_requests_total", "Admin API requests.", ("route", "method", "code"))
        self.admin_seconds = self._histogram(
            "portico_admin_request_duration_seconds", "How long an admin API request took.", REQUEST_BUCKETS, ("route",)
        )

    def admin_request(self, route: str, method: str, code: int, seconds: float) -> None:
        """The admin API's observer."""
        self.admin_requests.labels(route, method, str(code)).inc()
        self.admin_seconds.labels(route).observe(seconds)

    def push(self, provider: str, purpose: str, outcome: str) -> None:
        """One app was pushed, or could not be."""
        self.pushes.labels(provider, purpose, outcome).inc()

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...], read: Samples) -> None:
        """Add a gauge that is read at scrape time."""
        self.registry.register(_ReadGauge(name, help_text, labels, read))

    def counter(self, name: str, help_text: str, labels: tuple[str, ...], read: Samples) -> None:
        """Add a counter that is read at scrape time. `name` has its `_total`."""
        self.registry.register(_ReadCounter(name, help_text, labels, read))

    def unhandled_error(self, logger: str) -> None:
        """A line of level error was logged; no healthy node logs one."""
        where = logger.split(".")[0]
        self.unhandled.labels(where if where in ("twisted", "asyncio", "uvicorn", "portico") else "other").inc()

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)
