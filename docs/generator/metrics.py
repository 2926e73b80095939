"""The metrics that Prometheus may fetch."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from claimsvc import metrics
from docs.generator.markdown import code
from docs.generator.markdown import table as table_of

_SUFFIXES = {"counter": "_total"}
"""What Prometheus shows behind the name."""


def table() -> str:
    """Return one row per metric of the service."""
    rows = []
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        (family,) = metric.describe()
        labels = ", ".join(map(code, metric._labelnames))  # noqa: SLF001 - the library tells them nowhere else
        rows.append((code(family.name + _SUFFIXES.get(family.type, "")), family.type, family.documentation, labels))
    return table_of(("metric", "kind", "what it is", "labels"), rows)
