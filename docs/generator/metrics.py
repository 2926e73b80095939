"""The table of metrics, from the Prometheus registry."""

from __future__ import annotations

from prometheus_client import REGISTRY, Metric
from prometheus_client.metrics import MetricWrapperBase

from claimsvc import metrics
from docs.generator.markdown import code
from docs.generator.markdown import table as table_of

_SUFFIXES = {"counter": "_total", "info": "_info"}
"""The suffixes that Prometheus adds to names."""


def table() -> str:
    """Return the table with one row per metric of the service."""
    of_store = metrics.StoreGauges(lambda: dict.fromkeys(metrics.STORE_GAUGES, 0.0), OSError).collect()
    families = [each for each in (*REGISTRY.collect(), *of_store) if each.name.startswith("claimsvc_")]
    return table_of(("metric", "kind", "what it is", "labels"), map(_row, families))


def _row(family: Metric) -> tuple[str, str, str, str]:
    wrappers = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    # The library has the labels nowhere else.
    labels = next((each._labelnames for each in wrappers if each._name == family.name), ())  # noqa: SLF001
    name = code(family.name + _SUFFIXES.get(family.type, ""))
    return name, family.type, family.documentation, ", ".join(map(code, labels))
