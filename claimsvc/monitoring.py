"""Sources of metrics other than the batches: events of the session, and gauges that are read on each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import REGISTRY

from claimsvc import __version__, metrics
from claimsvc.mqtt.session import Session
from claimsvc.service.execution import Service
from claimsvc.settings import Settings, SettingsError
from claimsvc.store.contract import StoreError
from claimsvc.store.sqlite.sqlite_files import Census


def _connected(_fields: Mapping[str, object]) -> None:
    metrics.CONNECTIONS.inc()
    metrics.CONNECTED.set(1)


def _lost(cause: str) -> Callable[[Mapping[str, object]], None]:
    def note(_fields: Mapping[str, object]) -> None:
        metrics.CONNECTION_FAILURES.labels(cause).inc()
        metrics.CONNECTED.set(0)

    return note


_EVENTS: dict[str, Callable[[Mapping[str, object]], None]] = {
    "broker_connected": _connected,
    "broker_lost": _lost("broker_lost"),
    "session_taken_over": _lost("session_taken_over"),
    "session_lost": lambda _fields: metrics.SESSIONS_LOST.inc(),
    "qos0_discarded": lambda fields: metrics.DISCARDED.inc(int(str(fields["messages"]))),
    "answers_refused": lambda fields: metrics.ANSWERS_REFUSED.inc(int(str(fields["messages"]))),
}


def note(event: str, fields: Mapping[str, object]) -> None:
    """Count an event of the session."""
    if event in _EVENTS:
        _EVENTS[event](fields)


def offer(settings: Settings, service: Service, session: Session) -> None:
    """Serve the metrics over HTTP if `metrics.port` is set. Raises SettingsError if the port cannot be opened."""
    if not settings.metrics.port:
        return
    metrics.BUILD.info({"version": __version__})
    # Create the counters that alerts use: Prometheus sees no increase in a counter that appears with its first count.
    metrics.events("claim_locked_out")
    for cause in ("broker_lost", "session_taken_over"):
        metrics.CONNECTION_FAILURES.labels(cause)
    metrics.WAITING.set_function(lambda: session.backlog[0])
    metrics.WAITING_BYTES.set_function(lambda: session.backlog[1])
    metrics.LOGINS_BEHIND.set_function(lambda: service.logins.behind)
    census = Census(settings.store.path)
    REGISTRY.register(metrics.StoreGauges(lambda: census.take(time.time_ns() // 1_000_000), StoreError))
    try:
        metrics.serve(settings.metrics.host, settings.metrics.port)
    except OSError as error:
        raise SettingsError(f"metrics.port: {error}") from None
