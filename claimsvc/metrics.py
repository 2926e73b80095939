"""Prometheus metrics: counted where things happen, read when they are asked for.

Labels are looked up once per kind of request, never per message, and what can be counted per batch is.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUILD = Info("claimsvc_build", "The release that runs")
REQUESTS = Counter("claimsvc_requests", "Requests handled", ["dialect", "command", "outcome", "reason"])
EVENTS = Counter("claimsvc_audit_events", "Audit events committed", ["event"])
BATCH_SIZE = Histogram(
    "claimsvc_batch_size", "Requests committed together", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
COMMIT_SECONDS = Histogram(
    "claimsvc_commit_seconds",
    "Time to make a batch durable",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 5),
)
CONNECTIONS = Counter("claimsvc_connections", "Connections made to the broker: the first, and each reconnect")
CONNECTION_FAILURES = Counter("claimsvc_connection_failures", "Connections that were lost or not made", ["cause"])
SESSIONS_LOST = Counter("claimsvc_sessions_lost", "Times the broker had thrown our session and its queue away")
CONNECTED = Gauge("claimsvc_connected", "Whether the session with the broker stands (1) or not (0)")
REDONE = Counter("claimsvc_batches_failed", "Batches that could not be committed and are delivered again")
INTERNAL_ERRORS = Counter("claimsvc_internal_errors", "Requests that broke the service and were answered so")
DISCARDED = Counter("claimsvc_discarded", "QoS 0 requests discarded because more came than could be handled")
ANSWERS_REFUSED = Counter("claimsvc_answers_refused", "Answers the broker did not take, most likely by its ACL")
WAITING = Gauge("claimsvc_waiting_requests", "Requests received that wait for their batch")
WAITING_BYTES = Gauge("claimsvc_waiting_bytes", "Payload of the requests that wait for their batch")
LOGINS_BEHIND = Gauge(
    "claimsvc_logins_behind", "Whether the broker's password file is behind the store (1) or not (0)"
)

STORE_GAUGES = {
    "windows_open": "Claim windows that are open",
    "requests_waiting": "Device requests whose device has not connected yet",
    "requests_pending": "Device requests that wait for acceptance",
    "lockouts": "Lockouts that hold: of a user at one device, or of a user altogether",
    "database_bytes": "Size of the database and its write-ahead log",
    "disk_free_bytes": "Room on the disk of the database",
}
"""What is read from the store, by name; each becomes a gauge `claimsvc_<name>`."""
FRESH_S = 10.0
"""What was read from the store serves at least so long."""
REST_FACTOR = 200
"""And so many times as long as reading it took: it may cost half a percent of a core, however large the store."""


class Latency(Collector):
    """How long answers took: a histogram of its own, because the library's costs 2 us a message."""

    BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = [0] * (len(self.BOUNDS_S) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def observe(self, arrived: Iterable[float]) -> None:
        """Count a batch that is answered now; `arrived` are seconds on the monotonic clock."""
        now, bounds, counts = time.monotonic(), self.BOUNDS_S, self._counts
        total = 0.0
        for each in arrived:
            took = now - each
            counts[bisect_left(bounds, took)] += 1
            total += took
        self._sum_s += total

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram."""
        sums = accumulate(self._counts.copy())
        names = [*map(str, self.BOUNDS_S), "+Inf"]
        yield HistogramMetricFamily(
            "claimsvc_request_seconds",
            "Time from a request's arrival to its answer's departure",
            buckets=list(zip(names, sums, strict=True)),
            sum_value=self._sum_s,
        )


LATENCY = Latency(REGISTRY)


class StoreGauges(Collector):
    """Gauges read from the store when they are asked for, and no more often than it can bear.

    `read` returns values by the names of STORE_GAUGES and raises `failure` where the store cannot be read; then the
    gauges are absent and `claimsvc_store_readable` is 0. Scrapes come in threads of their own.
    """

    def __init__(self, read: Callable[[], Mapping[str, float]], failure: type[Exception]) -> None:
        self._read = read
        self._failure = failure
        self._lock = threading.Lock()
        self._values: Mapping[str, float] = {}
        self._readable = False
        self._took_s = 0.0
        self._fresh_until = 0.0

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the registry would otherwise read the store when it learns of this."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._refresh()
            values, readable, took_s = self._values, self._readable, self._took_s
        yield GaugeMetricFamily("claimsvc_store_readable", "Whether the database can be read (1)", float(readable))
        yield GaugeMetricFamily("claimsvc_store_reading_seconds", "Time to read the gauges of the store", took_s)
        for name, value in values.items():
            yield GaugeMetricFamily(f"claimsvc_{name}", STORE_GAUGES[name], value)

    def _refresh(self) -> None:
        began = time.monotonic()
        try:
            self._values, self._readable = self._read(), True
        except self._failure:
            self._values, self._readable = {}, False
        now = time.monotonic()
        self._took_s = now - began
        self._fresh_until = now + max(FRESH_S, REST_FACTOR * self._took_s)


@cache
def requests(dialect: str, command: str, outcome: str, reason: str) -> Counter:
    """Return the counter of one kind of request."""
    return REQUESTS.labels(dialect, command, outcome, reason)


@cache
def events(event: str) -> Counter:
    """Return the counter of one kind of audit event."""
    return EVENTS.labels(event)


def serve(host: str, port: int) -> None:
    """Offer the metrics over HTTP. Raises OSError when the port is taken."""
    start_http_server(port, addr=host)
