"""Prometheus metrics. Labels are looked up once per kind of request, never per message."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram, start_http_server

REQUESTS = Counter("claimsvc_requests", "Requests handled", ["dialect", "command", "outcome", "reason"])
BATCH_SIZE = Histogram(
    "claimsvc_batch_size", "Requests committed together", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
COMMIT_SECONDS = Histogram(
    "claimsvc_commit_seconds",
    "Time to make a batch durable",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1, 5),
)
CONNECTIONS = Counter("claimsvc_connections", "Connections made to the broker")
CONNECTED = Gauge("claimsvc_connected", "Whether the session with the broker stands (1) or not (0)")
REDONE = Counter("claimsvc_batches_failed", "Batches that could not be committed and are delivered again")
DISCARDED = Counter("claimsvc_discarded", "QoS 0 requests discarded because more came than could be handled")


@cache
def requests(dialect: str, command: str, outcome: str, reason: str) -> Counter:
    """Return the counter of one kind of request."""
    return REQUESTS.labels(dialect, command, outcome, reason)


def serve(host: str, port: int) -> None:
    """Offer the metrics over HTTP. Raises OSError when the port is taken."""
    start_http_server(port, addr=host)
