"""The only file that names Prometheus: families of metrics, and the observers through which the packages feed them.

Label values come from closed sets (an unknown one becomes "other") and no label names a device, so a scrape stays small
however many devices there are (S33). Gauges are read from the packages at scrape time, by callables.
"""

import sys
from collections.abc import Callable, Iterable
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.registry import Collector

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Samples = Callable[[], Iterable[tuple[tuple[str, ...], float]]]
"""What a gauge reads at scrape time: label values and number."""


class _ReadGauge(Collector):
    """A gauge whose samples are read from the node when it is scraped."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], read: Samples) -> None:
        self._name, self._help, self._labels, self._read = name, help_text, labels, read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for values, number in self._read():
            family.add_metric(values, number)
        yield family


class Metrics:
    """All metrics of one node."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = Gauge("portico_build_info", "What runs here; always 1.", ("version", "python", "twisted"), registry=self.registry)
        build.labels(version, sys.version.split()[0], metadata.version("twisted")).set(1)
        self.lag = self._histogram("portico_reactor_lag_seconds", "How late the event loop ran a timer.", LAG_BUCKETS)
        self.unhandled = self._counter("portico_unhandled_errors_total", "Errors nobody handled; stays 0.", ("where",))
        self.store_errors = self._counter("portico_store_errors_total", "Store operations that failed.", ("reason",))

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...], read: Samples) -> None:
        """Add a gauge that is read at scrape time."""
        self.registry.register(_ReadGauge(name, help_text, labels, read))

    def unhandled_error(self, logger: str) -> None:
        """A line of level error was logged; no healthy node logs one."""
        where = logger.split(".")[0]
        self.unhandled.labels(where if where in ("twisted", "asyncio", "uvicorn", "portico") else "other").inc()

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)
