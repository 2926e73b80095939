"""Comparison of the services: each workload at saturation, then open loop at half of that rate."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import Figures, Rig

WORKLOADS = ("window", "claim", "mix")
PROCESSES = ("service", "broker", "loadgen")
FIXED_RATES = {"window": 6_000, "claim": 2_500}
"""Messages a second at which latencies are compared from version to version."""
_COMMITS, _ROWS = 200, 16


@dataclass(frozen=True)
class Sizes:
    """Number of messages and duration of each run."""

    messages: int
    naive_messages: int
    latency_s: float


FULL = Sizes(messages=20_000, naive_messages=3_000, latency_s=5.0)
SHORT = Sizes(messages=500, naive_messages=100, latency_s=0.5)

Runs = dict[str, list[Figures]]


def compare(rig: Rig, services: Sequence[str], workload: str, sizes: Sizes, repeat: int) -> Runs:
    """Return the figures of each service. The services are measured alternately."""
    runs: Runs = {name: [] for name in services}
    for _ in range(repeat):
        for name in services:
            runs[name].append(measure(rig, name, workload, sizes))
    return runs


def measure(rig: Rig, name: str, workload: str, sizes: Sizes) -> Figures:
    """Measure one service once."""
    count = sizes.naive_messages if name == "naive" else sizes.messages
    # Each service needs its own broker: claimsvc's persistent session would queue messages for the other services.
    with rig.broker() as broker, rig.service(name) as service:
        first = _prepared(rig, workload, count)
        before = (service.cpu_s(), broker.cpu_s())
        full = rig.load(workload, first, count)
        spent = (service.cpu_s() - before[0], broker.cpu_s() - before[1])
        rate = full["per_second"] / 2
        half_count = max(50, int(min(rate * sizes.latency_s, count)))
        half = rig.load(workload, _prepared(rig, workload, half_count), half_count, rate=rate)
        return {
            "per_second": full["per_second"],
            "p50_ms": half["p50"],
            "p99_ms": half["p99"],
            "p99.9_ms": half["p999"],
            "service_cpu_us": 1e6 * spent[0] / count,
            "service_cpu": 100 * spent[0] / full["seconds"],
            "broker_cpu": 100 * spent[1] / full["seconds"],
            "loadgen_cpu": 100 * full["cpu_s"] / full["seconds"],
            "memory_mb": service.memory_mb(),
            **{each: full[each] + half[each] for each in ("lost", "twice", "failed")},
        }


def _prepared(rig: Rig, workload: str, count: int) -> int:
    """Return the number of the first of `count` new messages. For claims, open their windows before."""
    first = rig.take_messages(count)
    if workload == "claim":
        rig.load("window", first, count)
    return first


def measure_gateways(rig: Rig) -> Figures:
    """Return the milliseconds until the answer to one message of 1 000 devices, and to ten such messages at once."""
    with rig.broker(), rig.service("claimsvc"):
        runs = {
            "one_ms": rig.load("gateway", 0, 1),
            "ten_ms": rig.load("gateway", 1, 10),
            "ten_known_ms": rig.load("gateway", 1, 10),
        }
    times = {name: run["max"] for name, run in runs.items()}
    return {**times, **{each: sum(run[each] for run in runs.values()) for each in ("lost", "twice", "failed")}}


def measure_fixed(rig: Rig, workload: str, sizes: Sizes) -> Figures:
    """Return the latencies of claimsvc at a fixed rate, and of a bare commit measured just before."""
    rate = FIXED_RATES[workload]
    count = int(rate * sizes.latency_s)
    with rig.broker(), rig.service("claimsvc"):
        first = _prepared(rig, workload, count)
        commit_ms = _commit_ms(rig.directory / "commits.db")
        run = rig.load(workload, first, count, rate=rate)
    return {
        "fixed_p50_ms": run["p50"],
        "fixed_p99_ms": run["p99"],
        "bare_commit_p99_ms": commit_ms,
        "p99_above_commit_ms": run["p99"] - commit_ms,
        **{each: run[each] for each in ("lost", "twice", "failed")},
    }


def _commit_ms(path: Path) -> float:
    """Return the 99th percentile of durable commits of a few rows, milliseconds: what the disk alone costs."""
    took: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = FULL")
        sql.execute("CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, text TEXT)")
        for _ in range(_COMMITS):
            sql.execute("BEGIN IMMEDIATE")
            sql.executemany("INSERT INTO row (text) VALUES (?)", [("x" * 100,)] * _ROWS)
            began = time.perf_counter()
            sql.execute("COMMIT")
            took.append((time.perf_counter() - began) * 1000)
    return statistics.quantiles(took, n=100)[-1]
