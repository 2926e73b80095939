"""Measures imports: one file of many rows, compared with files of one row each, and the delay for other clients.

Uses a real broker with the plugin, a real service and a minimal MQTT client. Each kind of file gets a new store.
Passwords in a file are hashed with `credentials.pbkdf2_iterations` iterations, which causes most of their cost.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.by_hand import Line, Login, publish
from benchmarks.logins import CLAIM_EVERY_S, Site, others, show, tail
from benchmarks.rig import interpreter
from claimsvc.mqtt.file_jobs import MOST_OF_ONE
from claimsvc.supervisor import find_plugin

IN_FLIGHT = MOST_OF_ONE
"""The number of files of one principal that the service processes at a time."""
ONE_BY_ONE = 20
"""The run with files of one row has 1 / ONE_BY_ONE of the rows."""
QUIET_S = 3.0
DEVICES, KEYS = "/devicecontrol/bulkNewDeviceRequests", "/claimsvc/claimKeys"
HARMS = ("lost", "twice", "failed")


@dataclass(frozen=True)
class Kind:
    """A kind of file: its REST path, its header, and a function that returns the row of a device."""

    path: str
    header: str
    row: Callable[[str], str]

    def file(self, names: Sequence[str]) -> bytes:
        """Return a file of these devices."""
        return "\n".join([self.header, *map(self.row, names), ""]).encode()


KINDS = {
    "with passwords": Kind(
        DEVICES, "ID;CREDENTIALS;TYPE;NAME;PATH", lambda name: f"{name};pw-{name};sensor;{name};hall/{name[-1]}"
    ),
    "without": Kind(
        DEVICES, "ID;AUTH_TYPE;TYPE;NAME;PATH", lambda name: f"{name};CERTIFICATES;sensor;{name};hall/{name[-1]}"
    ),
    "claim keys": Kind(KEYS, "name;secretKey;type", lambda name: f"{name};;sensor"),
}


@dataclass(frozen=True)
class Run:
    """Figures of one import: rows, seconds, response times of another device meanwhile (seconds), peak memory."""

    rows: int
    seconds: float
    waits: list[float]
    peak_mb: float


class Importer:
    """An admin that sends files and counts the results of their rows."""

    def __init__(self, port: int, login: Login) -> None:
        self._line = Line(port, login)
        self._lane = f"claimsvc/u/{login[0]}"
        self._line.subscribe(f"{self._lane}/response/#")
        self._session = random.randbytes(4).hex()
        self._sent = 0
        self.done = 0
        self.failed = 0

    def send(self, kind: Kind, names: Sequence[str]) -> None:
        """Send a file without waiting for its answer."""
        self._sent += 1
        self._line.send(
            publish(f"{self._lane}/request/{self._session}-{self._sent}/POST{kind.path}", kind.file(names))
        )

    def wait(self) -> None:
        """Wait for the next answer; skip progress messages."""
        while True:
            level, answer = self._line.answer()
            if level != "progress":
                break
        body: dict[str, Any] = answer["body"]
        self.done += body.get("numberOfSuccessful", 0)
        self.failed += body.get("numberOfFailed", 0) + (answer["status"] != 201)  # noqa: PLR2004 - HTTP's

    def close(self) -> None:
        """Disconnect."""
        self._line.close()


def one_file(importer: Importer, kind: Kind, names: Sequence[str]) -> None:
    """Import devices by one file."""
    importer.send(kind, names)
    importer.wait()


def row_by_row(importer: Importer, kind: Kind, names: Sequence[str]) -> None:
    """Import each device by a file of its own, IN_FLIGHT files at a time."""
    waiting = iter(names)
    in_flight = 0
    for name in islice(waiting, IN_FLIGHT):
        importer.send(kind, [name])
        in_flight += 1
    while in_flight:
        importer.wait()
        in_flight -= 1
        for name in islice(waiting, 1):
            importer.send(kind, [name])
            in_flight += 1


def measure(
    directory: Path, plugin: Path, kind: Kind, rows: int
) -> tuple[list[float], dict[str, Run], dict[str, int]]:
    """Return a device's response times without an import, the figures of each import, and counts of failures."""
    site = Site(directory, plugin)
    ways = {
        "row by row": (row_by_row, [f"alone{number}" for number in range(max(1, rows // ONE_BY_ONE))]),
        "one file": (one_file, [f"device{number}" for number in range(rows)]),
    }
    runs: dict[str, Run] = {}
    done = failed = 0
    with site.running(), others(site.port, site.claimer, CLAIM_EVERY_S) as alone:
        time.sleep(QUIET_S)
    for way, (bring, names) in ways.items():
        with site.running(), others(site.port, site.claimer, CLAIM_EVERY_S) as waits:
            importer = Importer(site.port, site.admin)
            began = time.perf_counter()
            bring(importer, kind, names)
            seconds = time.perf_counter() - began
            importer.close()
            peak_mb = _peak_mb(site.service_pid)
        runs[way] = Run(len(names), seconds, waits, peak_mb)
        done, failed = done + importer.done, failed + importer.failed
    sent = sum(len(names) for _, names in ways.values())
    return alone, runs, {"lost": sent - min(done + failed, _made(site)), "twice": _twice(site), "failed": failed}


def _peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _made(site: Site) -> int:
    return _count(site, "SELECT count(*) FROM device WHERE type = 'sensor'")


def _twice(site: Site) -> int:
    events = "FROM event WHERE event = 'device_created'"
    return _count(site, f"SELECT count(*) - count(DISTINCT device) {events}")


def _count(site: Site, sql: str) -> int:
    with closing(sqlite3.connect(site.settings.store.path)) as connection:
        ((count,),) = connection.execute(sql).fetchall()
    return int(count)


def main() -> None:
    """Measure and print. Exit with 1 if a row was lost, imported twice or failed."""
    parser = argparse.ArgumentParser(prog="scripts/bench --imports", description=__doc__)
    parser.add_argument("--imports", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the large file, 20 000 by default")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of files")
    parser.add_argument("--short", action="store_true", help="smoke test; its figures are useless")
    arguments = parser.parse_args()
    print(interpreter())
    rows = 500 if arguments.short else arguments.rows
    plugin = find_plugin()
    if plugin is None:
        raise SystemExit("the plugin is not built: make -C plugin")
    lines: list[tuple[str, ...]] = []
    harms: dict[str, int] = dict.fromkeys(HARMS, 0)
    for name in arguments.kinds:
        with tempfile.TemporaryDirectory() as directory:
            alone, runs, harm = measure(Path(directory), plugin, KINDS[name], rows)
        lines.append((name, "nothing", "", "", "", "", tail(alone)))
        lines += [
            (
                name,
                way,
                f"{run.rows:,}",
                f"{run.seconds:,.1f}",
                f"{run.rows / run.seconds:,.0f}",
                f"{run.peak_mb:,.0f}",
                tail(run.waits),
            )
            for way, run in runs.items()
        ]
        harms = {each: harms[each] + harm[each] for each in HARMS}
    head = ("file", "imported by", "rows", "seconds", "rows/s", "peak MB", "a device waits p50/p99/max ms")
    show(f"files of devices, beside {1 / CLAIM_EVERY_S:.0f} claim windows a second", head, lines)
    print(json.dumps(harms))
    if any(harms.values()):
        sys.exit("rows were lost, imported twice or failed: see above")


if __name__ == "__main__":
    main()
