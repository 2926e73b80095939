"""Effect of a client that floods the service on another client. Each has its own connection and its own lane."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.rig import Figures, Rig, Running

LIMITS = (6_000, 0)
"""Limits of requests per minute and principal: the service's default, and no limit."""
ASKS_PER_SECOND = 50
OUTSTANDING = 20_000
HEAD_START_S = 0.5


@dataclass(frozen=True)
class Durations:
    """Duration of the flood. The other client sends for one second less."""

    flood_s: int


FULL = Durations(flood_s=12)
SHORT = Durations(flood_s=2)


def fairness(rig: Rig, durations: Durations, repeat: int) -> dict[int, list[Figures]]:
    """Return the figures of the other client and of the flood, at each limit."""
    runs: dict[int, list[Figures]] = {limit: [] for limit in LIMITS}
    for _ in range(repeat):
        for limit in LIMITS:
            with rig.broker() as broker, rig.service("claimsvc", limit) as service:
                runs[limit].append(_measure(rig, broker, service, durations))
    return runs


def _measure(rig: Rig, broker: Running, service: Running, durations: Durations) -> Figures:
    flooder, other = rig.take_messages(1), rig.take_messages(1)
    asks = ASKS_PER_SECOND * (durations.flood_s - 1)
    alone = rig.load("lane", other, asks, rate=ASKS_PER_SECOND)
    before = (service.cpu_s(), broker.cpu_s())
    flooding = rig.begin("flood", flooder, durations.flood_s, outstanding=OUTSTANDING)
    time.sleep(HEAD_START_S)
    beside = rig.load("lane", other, asks, rate=ASKS_PER_SECOND)
    flood = rig.finish(flooding)
    spent = (service.cpu_s() - before[0], broker.cpu_s() - before[1])
    return {
        "alone_p50_ms": alone["p50"],
        "alone_p99_ms": alone["p99"],
        "alone_max_ms": alone["max"],
        "beside_p50_ms": beside["p50"],
        "beside_p99_ms": beside["p99"],
        "beside_max_ms": beside["max"],
        "flood_per_second": flood["per_second"],
        "flood_p50_ms": flood["p50"],
        "flood_limited": 100 * flood["limited"] / flood["answers"],
        "service_cpu": 100 * spent[0] / flood["seconds"],
        "broker_cpu": 100 * spent[1] / flood["seconds"],
        "lost": alone["lost"] + beside["lost"] + flood["lost"],
        "twice": alone["twice"] + beside["twice"] + flood["twice"],
        "failed": alone["failed"] + beside["failed"] + flood["failed"] - flood["limited"],
    }
