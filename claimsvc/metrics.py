"""Prometheus metrics: counters that the service increments, and gauges that are read on each scrape.

For speed, labels are looked up once per kind of request, not per message, and counters are updated per batch if
possible.
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

BUILD = Info("claimsvc_build", "The running release")
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
CONNECTIONS = Counter("claimsvc_connections", "Connections to the broker: the first one and each reconnect")
CONNECTION_FAILURES = Counter("claimsvc_connection_failures", "Connections that were lost or failed", ["cause"])
SESSIONS_LOST = Counter("claimsvc_sessions_lost", "Times the broker had deleted the service's session and its queue")
CONNECTED = Gauge("claimsvc_connected", "1 if the service is connected to the broker, otherwise 0")
REDONE = Counter("claimsvc_batches_failed", "Batches that could not be committed; their messages are delivered again")
INTERNAL_ERRORS = Counter("claimsvc_internal_errors", "Requests answered with `internal` because of a bug")
DISCARDED = Counter("claimsvc_discarded", "QoS 0 requests discarded because they came too fast")
ANSWERS_REFUSED = Counter("claimsvc_answers_refused", "Answers the broker refused, most likely because of its ACL")
WAITING = Gauge("claimsvc_waiting_requests", "Received requests that wait for their batch")
WAITING_BYTES = Gauge("claimsvc_waiting_bytes", "Payload of the requests that wait for their batch")
LOGINS_BEHIND = Gauge(
    "claimsvc_logins_behind", "1 if the broker's password file is older than the store, otherwise 0"
)

STORE_GAUGES = {
    "windows_open": "Open claim windows",
    "requests_waiting": "Device requests whose device has not connected yet",
    "requests_pending": "Device requests that wait for acceptance",
    "lockouts": "Active lockouts: of a user at one device, or of a user at all devices",
    "database_bytes": "Size of the database and its write-ahead log",
    "disk_free_bytes": "Free space on the disk of the database",
}
"""Gauges read from the store, by name; each becomes a metric `claimsvc_<name>`."""
FRESH_S = 10.0
"""Values read from the store are cached for at least this time ..."""
REST_FACTOR = 200
"""... and for this many times the time to read them: reading costs at most half a percent of a core."""


class Latency(Collector):
    """Histogram of response times. Own code, because the library's histogram costs 2 us per message."""

    BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = [0] * (len(self.BOUNDS_S) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def observe(self, arrived: Iterable[float]) -> None:
        """Count a batch that is answered now. `arrived`: arrival times, seconds of the monotonic clock."""
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
            "Time from the arrival of a request to the sending of its answer",
            buckets=list(zip(names, sums, strict=True)),
            sum_value=self._sum_s,
        )


LATENCY = Latency(REGISTRY)


class StoreGauges(Collector):
    """Gauges read from the store on a scrape, and cached.

    `read` returns values by the names of STORE_GAUGES, and raises `failure` if the store cannot be read. Then the
    gauges are absent and `claimsvc_store_readable` is 0. Each scrape runs in a thread of its own.
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
        """Yield nothing. Otherwise the registry would call `collect` and read the store on registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._refresh()
            values, readable, took_s = self._values, self._readable, self._took_s
        yield GaugeMetricFamily(
            "claimsvc_store_readable", "1 if the database can be read, otherwise 0", float(readable)
        )
        yield GaugeMetricFamily("claimsvc_store_reading_seconds", "Time it took to read these gauges", took_s)
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
    """Serve the metrics over HTTP. Raises OSError if the port is in use."""
    start_http_server(port, addr=host)
