"""Measures the cost of logins at different numbers of them: issuing, logging in, and the delay for other clients.

First with the plugin, which looks up each login in the store. Then with Mosquitto's password file, which is rewritten
and read completely at each change. Uses a real broker, a real service and a minimal MQTT client.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from benchmarks.by_hand import PATIENCE_S, PING, PINGRESP, PUBLISH, Admin, Line, Login, publish
from benchmarks.rig import interpreter
from claimsvc.app import open_service
from claimsvc.core.decision import Refused
from claimsvc.core.devices import CreateDevice
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.founding import found
from claimsvc.log import open_log
from claimsvc.settings import Settings, load
from claimsvc.supervisor import find_plugin, write_files

IN_FLIGHT = 200
AT_ONCE = 10_000
PROBES = 10
ONE_MORE = 5
CLAIM_EVERY_S, PING_EVERY_S = 0.05, 0.01


# --- other clients


def ask_again(port: int, login: Login, every_s: float, begun: Event, stop: Event, waits: Any) -> None:
    """Send requests at a steady rate until stopped: claim windows, or PINGREQ, which the broker answers itself.

    A request does not wait for the answer to the one before. The response time counts from when the request was due.
    """
    line = Line(port, login)
    claims = every_s == CLAIM_EVERY_S
    if claims:
        line.subscribe("v1/devices/me/claim/response")
    question = publish("v1/devices/me/claim", b'{"secretKey":"value"}') if claims else PING
    found: list[float] = []
    open_since: deque[float] = deque()
    due = time.perf_counter()
    while open_since or not stop.is_set():
        if not stop.is_set() and time.perf_counter() >= due:
            line.send(question)
            open_since.append(due)
            due += every_s
        elif line.has_packet(due - time.perf_counter()):
            line.await_kind(PUBLISH if claims else PINGRESP)
            found.append(time.perf_counter() - open_since.popleft())
            begun.set()
    waits.put(found)


@contextmanager
def others(port: int, login: Login, every_s: float) -> Iterator[list[float]]:
    """Run another client in a process of its own. Yields the list of its response times, filled at the end."""
    begun, stop = multiprocessing.Event(), multiprocessing.Event()
    waits: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    process = multiprocessing.Process(target=ask_again, args=(port, login, every_s, begun, stop, waits))
    process.start()
    begun.wait(PATIENCE_S)
    found: list[float] = []
    try:
        yield found
    finally:
        stop.set()
        found += waits.get(timeout=PATIENCE_S)
        process.join()


# --- broker and service


class Site:
    """A directory with a store, an admin, a claiming device and some more devices with known logins."""

    def __init__(self, directory: Path, plugin: Path | None) -> None:
        self.directory = directory
        self.service_pid = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.settings = self._settings(plugin)
        admin = asyncio.run(found(self.settings, "admin", "default"))
        if admin is None or admin.password is None:
            raise SystemExit("the admin was not created")
        self.admin: Login = (admin.username, admin.password)
        self.probes = self.fill("probe", PROBES)
        (self.claimer,) = self.fill("claimer", 1)

    def _settings(self, plugin: Path | None) -> Settings:
        write_files(self.directory, self.port, plugin)
        toml = self.directory / "claimsvc.toml"
        with toml.open("a") as file:
            file.write("\n[limits]\nrequests_per_minute = 0\n")
        return load(toml)

    def fill(self, prefix: str, count: int) -> list[Login]:
        """Create devices with logins directly in the store. The service must not be running."""

        async def make() -> list[Login]:
            made: list[Login] = []
            async with open_service(self.settings, open_log("error", "text", sys.stderr)) as service:
                for first in range(0, count, AT_ONCE):
                    commands = [_new_device(f"{prefix}{n}") for n in range(first, min(first + AT_ONCE, count))]
                    if any(isinstance(outcome, Refused) for outcome in await service.execute_own(commands)):
                        raise SystemExit("a device was refused")
                    made += [(each.name, each.secret.text or "") for each in commands]
            return made

        return asyncio.run(make())

    @contextmanager
    def running(self) -> Iterator[Admin]:
        """Run broker and service. Yields the logged-in admin."""
        mosquitto = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") or "mosquitto"
        serve = (sys.executable, "-m", "claimsvc", "serve", "--config", str(self.directory / "claimsvc.toml"))
        with ExitStack() as stack:
            broker = stack.enter_context(self._process("broker", mosquitto, "-c", f"{self.directory}/mosquitto.conf"))
            self._until(lambda: _listens(self.port), broker, "broker")
            service = stack.enter_context(self._process("service", *serve))
            self.service_pid = service.pid
            log = self.directory / "service.log"
            self._until(lambda: "broker_connected" in log.read_text(), service, "service")
            yield Admin(self.port, self.admin)

    @contextmanager
    def _process(self, name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.terminate()
                process.wait()

    def _until(self, ready: Any, process: subprocess.Popen[bytes], name: str) -> None:
        while not ready():
            if process.poll() is not None:
                raise SystemExit(f"{name} exited at its start:\n{(self.directory / f'{name}.log').read_text()}")
            time.sleep(0.05)


def _new_device(name: str) -> CreateDevice:
    secret = Secret(SecretKind.PASSWORD, None)
    return CreateDevice("claimsvc", name, type="default", label=None, is_gateway=False, secret=secret)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- the measurements


@dataclass(frozen=True)
class Row:
    """Figures at a number of existing logins, in seconds."""

    logins: int
    login: list[float]
    one_more: list[float]
    others: list[float]


@dataclass(frozen=True)
class Bulk:
    """Figures while many logins were issued, in seconds."""

    logins: int
    seconds: float
    claims: list[float]
    pings: list[float]


def measure(site: Site, admin: Admin, size: int, known: list[Login], count: int) -> Row:
    """Log in `count` times, then issue single logins while another client sends requests."""
    logins = []
    for _ in range(count):
        line = Line(site.port, random.choice(known))
        logins.append(line.login_s)
        line.close()
    one_more = []
    with others(site.port, site.claimer, PING_EVERY_S) as waits:
        for n in range(ONE_MORE):
            began = time.perf_counter()
            admin.issue([f"more-{size}-{n}"])
            one_more.append(time.perf_counter() - began)
    return Row(size, logins, one_more, waits)


def with_plugin(directory: Path, plugin: Path, sizes: list[int], count: int) -> tuple[list[Row], list[Bulk]]:
    """Issue logins over MQTT, and measure at each size."""
    site = Site(directory, plugin)
    rows, bulks = [], []
    with site.running() as admin:
        rows.append(measure(site, admin, 0, site.probes, count))
        for before, size in zip([0, *sizes], sizes, strict=False):
            names = [f"device{n}" for n in range(before, size)]
            with (
                others(site.port, site.claimer, CLAIM_EVERY_S) as claims,
                others(site.port, site.probes[0], PING_EVERY_S) as pings,
            ):
                began = time.perf_counter()
                ids = admin.issue(names, IN_FLIGHT)
                seconds = time.perf_counter() - began
            bulks.append(Bulk(len(names), seconds, claims, pings))
            known = [admin.login_of(ids[name]) for name in random.sample(names, min(count, len(names)))]
            rows.append(measure(site, admin, size, known, count))
    return rows, bulks


def with_password_file(directory: Path, sizes: list[int], count: int) -> list[Row]:
    """Measure at each size. The logins are created while the service is stopped, because it is much faster."""
    site = Site(directory, None)
    rows = []
    for before, size in zip([0, *sizes], sizes, strict=False):
        known = site.fill(f"device{size}-", size - before)
        with site.running() as admin:
            rows.append(measure(site, admin, size, known, count))
    return rows


# --- output


def spread(values: list[float]) -> str:
    """Return the median and the range in milliseconds."""
    return f"{_ms(statistics.median(values))} [{_ms(min(values))}-{_ms(max(values))}]"


def tail(values: list[float]) -> str:
    """Return p50 / p99 / maximum in milliseconds."""
    ordered = sorted(values)
    return " / ".join(_ms(ordered[min(int(part * len(ordered)), len(ordered) - 1)]) for part in (0.5, 0.99, 1.0))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.{2 if seconds < 0.01 else 0}f}"  # noqa: PLR2004 - significant digits


def show(title: str, head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> None:
    """Print a table."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    print(f"\n{title}")
    for line in (head, *lines):
        print("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def show_rows(title: str, runs: list[list[Row]]) -> None:
    """Print the figures of each size, over all runs."""
    lines = []
    for rows in zip(*runs, strict=True):
        login, one_more, waits = (
            [value for row in rows for value in getattr(row, name)] for name in ("login", "one_more", "others")
        )
        lines.append((f"{rows[0].logins:,}", spread(login), spread(one_more), tail(waits)))
    show(title, ("logins", "one login ms", "one more issued ms", "others wait p50/p99/max ms"), lines)


def show_bulks(runs: list[list[Bulk]]) -> None:
    """Print the figures of issuing logins, over all runs."""
    lines = []
    for bulks in zip(*runs, strict=True):
        seconds = [bulk.seconds for bulk in bulks]
        claims = [value for bulk in bulks for value in bulk.claims]
        pings = [value for bulk in bulks for value in bulk.pings]
        took = f"{statistics.median(seconds):,.1f} [{min(seconds):,.1f}-{max(seconds):,.1f}]"
        rate = f"{bulks[0].logins / statistics.median(seconds):,.0f}"
        lines.append((f"{bulks[0].logins:,}", took, rate, tail(claims), tail(pings)))
    head = ("issued", "seconds", "per second", "claim meanwhile p50/p99/max ms", "ping meanwhile p50/p99/max ms")
    show(f"issued by an admin over MQTT with the plugin, {IN_FLIGHT} requests in flight", head, lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/bench --logins", description=__doc__)
    parser.add_argument("--logins", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], metavar="N")
    parser.add_argument("--count", type=int, default=50, help="number of logins measured at each size")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="smoke test; its figures are useless")
    arguments = parser.parse_args()
    print(interpreter())
    sizes = [50, 100] if arguments.short else sorted(set(arguments.sizes))
    count, repeat = (5, 1) if arguments.short else (arguments.count, arguments.repeat)
    plugin = find_plugin()
    if plugin is None:
        raise SystemExit("the plugin is not built: make -C plugin")
    plugin_runs, bulk_runs, file_runs = [], [], []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as name:
            rows, bulks = with_plugin(Path(name), plugin, sizes, count)
        plugin_runs.append(rows)
        bulk_runs.append(bulks)
        with tempfile.TemporaryDirectory() as name:
            file_runs.append(with_password_file(Path(name), sizes, count))
    show_bulks(bulk_runs)
    show_rows("with the plugin", plugin_runs)
    show_rows("with Mosquitto's password file", file_runs)


if __name__ == "__main__":
    main()
