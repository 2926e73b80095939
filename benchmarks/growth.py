"""Cost of more devices: start, memory, throughput and latency with databases of different sizes."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import OUTSTANDING, Figures, Rig
from claimsvc.sealing import Sealing, load_key

SQL = dict(re.findall(r"-- name: (\w+)\n(.*?;)\n", (Path(__file__).parent / "seed.sql").read_text(), re.DOTALL))
SEED = ("devices", "principals", "windows", "events")
DEFAULT = (10_000, 100_000, 1_000_000)
TINY = (200, 2_000)


@dataclass(frozen=True)
class Counts:
    """Number of messages and duration of each run. `claims` is small enough that no device is claimed twice."""

    windows: int
    claims: int
    latency_s: float


FULL = Counts(windows=20_000, claims=9_000, latency_s=4.0)
SHORT = Counts(windows=100, claims=100, latency_s=0.3)


class Grown:
    """A rig whose store contains the devices dev0, dev1 ... dev<devices - 1>."""

    def __init__(self, directory: Path, devices: int) -> None:
        self.rig = Rig(directory)
        self.devices = devices
        self._sealing = Sealing(load_key(self.rig.settings.key_path), 1)
        with closing(self._open()) as database:
            # Not measured, and not kept after a crash, so no syncing is needed.
            database.execute("PRAGMA synchronous = OFF")
            self._run(database, SEED, {"devices": devices, "now": _now_ms(), "tenant": self._tenant})
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def give_back(self) -> None:
        """Release all devices and open their windows again."""
        with closing(self._open()) as database:
            self._run(database, ("reopen", "release"), {"now": _now_ms()})
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def size_mb(self) -> float:
        """Size of the database file in MB."""
        return self.rig.settings.store.path.stat().st_size / 1e6

    @property
    def _tenant(self) -> str:
        return self.rig.settings.tenants.default

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.rig.settings.store.path, isolation_level=None)
        database.create_function("claim_key_hash", 1, self._sealing.claim_key_hash, deterministic=True)
        return database

    @staticmethod
    def _run(database: sqlite3.Connection, names: Sequence[str], parameters: dict[str, object]) -> None:
        database.execute("BEGIN")
        for name in names:
            used = {each: value for each, value in parameters.items() if f":{each}" in SQL[name]}
            database.execute(SQL[name], used)
        database.execute("COMMIT")


def grow(directory: Path, sizes: Sequence[int], counts: Counts, repeat: int) -> dict[int, list[Figures]]:
    """Return claimsvc's figures at each size. The sizes are measured alternately."""
    grown = [Grown(directory / str(devices), devices) for devices in sizes]
    runs: dict[int, list[Figures]] = {devices: [] for devices in sizes}
    for _ in range(repeat):
        for each in grown:
            runs[each.devices].append(_measure(each, counts))
            each.give_back()
    return runs


def _measure(grown: Grown, counts: Counts) -> Figures:
    rig, devices = grown.rig, grown.devices
    size_mb = grown.size_mb
    with rig.broker(), rig.service("claimsvc") as service:
        memory_mb = service.memory_mb()
        outstanding = min(OUTSTANDING, devices // 4)

        def load(mode: str, count: int, rate: float = 0) -> Figures:
            first = rig.take_messages(count)
            return rig.load(mode, first, count, rate=rate, devices=devices, outstanding=outstanding)

        windows = load("window", counts.windows)
        rate = windows["per_second"] / 2
        half = load("window", max(50, int(rate * counts.latency_s)), rate)
        claims = load("claim", counts.claims)  # last, because a claimed device cannot open a window
        return {
            "started_s": service.seconds["started"],
            "connected_s": service.seconds["broker_connected"],
            "memory_start_mb": memory_mb,
            "memory_end_mb": service.memory_mb(),
            "windows_per_second": windows["per_second"],
            "claims_per_second": claims["per_second"],
            "p50_ms": half["p50"],
            "p99_ms": half["p99"],
            "database_mb": size_mb,
            **{each: claims[each] + windows[each] + half[each] for each in ("lost", "twice", "failed")},
        }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
