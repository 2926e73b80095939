"""Cost of new devices that poll while they wait for acceptance, alone and beside devices that open claim windows.

One connection sends for all of them: the figures do not include the broker's cost of many connections.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.fairness import LIMITS
from benchmarks.rig import Figures, Rig, Running
from claimsvc.app import open_service
from claimsvc.core.decision import Found
from claimsvc.core.registration import CreateRequest
from claimsvc.log import open_log

DEFAULT = (10_000,)
TINY = (100,)
AT_ONCE = 500
MARKER = 1
HEAD_START_S = 0.5


@dataclass(frozen=True)
class Sizes:
    """Number of windows at saturation, poll interval, poll rounds without windows, seconds with windows."""

    windows: int
    poll_every_s: int
    rounds: int
    seconds: int


FULL = Sizes(windows=20_000, poll_every_s=5, rounds=2, seconds=8)
SHORT = Sizes(windows=200, poll_every_s=1, rounds=1, seconds=1)


@dataclass(frozen=True)
class Spent:
    """Cost of an interval: its seconds, processor time of service and broker, number of writing transactions."""

    seconds: float
    service_s: float
    broker_s: float
    commits: int

    @property
    def service_cpu(self) -> float:
        """The service's use of a core in percent."""
        return 100 * self.service_s / self.seconds

    @property
    def broker_cpu(self) -> float:
        """The broker's use of a core in percent."""
        return 100 * self.broker_s / self.seconds


def waiting(rig: Rig, devices: Sequence[int], sizes: Sizes, repeat: int) -> dict[int, list[Figures]]:
    """Return the figures at each number of waiting devices, measured alternately. Each run uses new devices."""
    runs: dict[int, list[Figures]] = {count: [] for count in devices}
    announced = 0
    for _ in range(repeat):
        for count in devices:
            asyncio.run(_announce(rig, announced, count))
            with rig.broker() as broker, rig.service("claimsvc", LIMITS[0]) as service:
                runs[count].append(_measure(_Meter(rig, broker, service), announced, count, sizes))
            announced += count
    return runs


async def _announce(rig: Rig, first: int, count: int) -> None:
    """Create the device requests wait<first> ... wait<first + count - 1>."""
    caller = rig.settings.mqtt.username
    names = [f"wait{number}" for number in range(first, first + count)]
    async with open_service(rig.settings, open_log("error", "json", sys.stderr)) as service:
        for begin in range(0, count, AT_ONCE):
            commands = [CreateRequest(caller, name, None, None, None, None, None) for name in names[begin:][:AT_ONCE]]
            made = await service.execute_own(commands)
            assert all(isinstance(each, Found) for each in made)


class _Meter:
    """Reads the processor time of the processes and the number of transactions from outside."""

    def __init__(self, rig: Rig, broker: Running, service: Running) -> None:
        self.rig = rig
        self._broker = broker
        self._service = service

    def during(self, work: Callable[[], Figures]) -> tuple[Figures, Spent]:
        """Run the work. Return its figures and its cost."""
        began, service_s, broker_s = time.monotonic(), self._service.cpu_s(), self._broker.cpu_s()
        commits = self._commits()
        figures = work()
        return figures, Spent(
            time.monotonic() - began,
            self._service.cpu_s() - service_s,
            self._broker.cpu_s() - broker_s,
            self._commits() - commits,
        )

    def _commits(self) -> int:
        """Return the number of writing transactions: `iChange` of the WAL index (sqlite.org/walformat.html)."""
        path = self.rig.settings.store.path
        (count,) = struct.unpack_from("=I", path.with_name(f"{path.name}-shm").read_bytes(), 8)
        return int(count)


def _measure(meter: _Meter, first: int, count: int, sizes: Sizes) -> Figures:
    rig, polls_per_second = meter.rig, count / sizes.poll_every_s

    def windows(number: int, rate: float = 0) -> Figures:
        return rig.load("window", rig.take_messages(number), number, rate=rate)

    def polls(rounds: int) -> Figures:
        """Let all devices poll `rounds` times. A window after the polls marks their end; it costs one commit."""
        polled = rig.load("poll", first, rounds * count, rate=polls_per_second, devices=count)
        marker = windows(MARKER)
        return {**polled, "failed": polled["failed"] + marker["failed"]}

    full = windows(sizes.windows)
    rate = full["per_second"] / 2
    half = max(50, int(rate * sizes.seconds))
    alone, alone_spent = meter.during(lambda: windows(half, rate))
    first_polls, first_spent = meter.during(lambda: polls(1))
    later_polls, later_spent = meter.during(lambda: polls(sizes.rounds))
    beside_polls = int((sizes.seconds + 1) * polls_per_second)
    polling = rig.begin("poll", first, beside_polls, rate=polls_per_second, devices=count)
    time.sleep(HEAD_START_S)
    beside, beside_spent = meter.during(lambda: windows(half, rate))
    beside_polled = rig.finish(polling)
    loads = (full, alone, first_polls, later_polls, beside, beside_polled)
    return {
        "polls_per_second": polls_per_second,
        "windows_per_second": rate,
        "alone_p50_ms": alone["p50"],
        "alone_p99_ms": alone["p99"],
        "beside_p50_ms": beside["p50"],
        "beside_p99_ms": beside["p99"],
        "alone_service_cpu": alone_spent.service_cpu,
        "beside_service_cpu": beside_spent.service_cpu,
        "polls_service_cpu": later_spent.service_cpu,
        "alone_broker_cpu": alone_spent.broker_cpu,
        "beside_broker_cpu": beside_spent.broker_cpu,
        "polls_broker_cpu": later_spent.broker_cpu,
        "first_polls_commits": first_spent.commits - MARKER,
        "later_polls_commits": later_spent.commits - MARKER,
        **{each: sum(load[each] for load in loads) for each in ("lost", "twice", "failed")},
    }
