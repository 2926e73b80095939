"""Measures claimsvc beside the C echo and the naive service: one machine, one broker, interleaved, medians.

scripts/bench [--short] [--repeat N]

It starts its own broker. Read the ratios: absolute figures belong to one machine on one day.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimsvc.app import open_pipeline
from claimsvc.core.commands.accounts import CreateCustomer, CreateUser
from claimsvc.core.commands.devices import CreateGateway
from claimsvc.core.outcomes import Found
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.log import open_log
from claimsvc.supervisor import write_files

HERE = Path(__file__).parent
SERVICES = ("echo", "naive", "claimsvc")
OUTSTANDING = 1_000
USERS = 100
GATEWAYS = 40
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sizes:
    """How much each run does."""

    messages: int
    naive_messages: int
    latency_s: float


FULL = Sizes(messages=20_000, naive_messages=3_000, latency_s=5.0)
SHORT = Sizes(messages=500, naive_messages=100, latency_s=0.5)


class Bench:
    """One broker with its directory, and the three services that take turns on it."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.next_message = 0
        self.environment = {**os.environ, "CLAIMSVC_MQTT__PASSWORD": "claimsvc"}
        os.environ.update(self.environment)
        self.settings = write_files(directory, port, None)
        self._build()
        asyncio.run(self._accounts())
        self._admit_loadgen()

    def _build(self) -> None:
        for name, library in (("loadgen", ()), ("echo", ("-lmosquitto",))):
            source, target = HERE / f"{name}.c", self.directory / name
            subprocess.run(["cc", "-O2", "-o", target, source, *library], check=True)

    async def _accounts(self) -> None:
        """Make the users and gateways the workloads speak as; their logins are never used."""
        service = self.settings.mqtt.username
        async with open_pipeline(self.settings, open_log("error", "json", sys.stderr)) as pipeline:
            (made,) = await pipeline.execute([CreateCustomer(service, "Benchmark")])
            assert isinstance(made, Found)
            users = [
                CreateUser(service, f"user{n}", made.item.id, (), ("customer",), _made_up()) for n in range(USERS)
            ]
            await pipeline.execute(users)
            await pipeline.execute([CreateGateway(service, f"gw{n}", _made_up()) for n in range(GATEWAYS)])

    def _admit_loadgen(self) -> None:
        passwords = self.directory / "mosquitto.passwd"
        subprocess.run(["mosquitto_passwd", "-b", passwords, "loadtest", "loadtest"], check=True, capture_output=True)
        acl = self.directory / "acl"
        acl.write_text(acl.read_text() + "\nuser loadtest\ntopic readwrite claimsvc/u/#\n")

    @contextmanager
    def broker(self) -> Iterator[int]:
        """Run Mosquitto; gives its process id."""
        (self.directory / "broker" / "mosquitto.db").unlink(missing_ok=True)
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") or "mosquitto"
        with (self.directory / "mosquitto.log").open("wb") as log:
            process = subprocess.Popen(
                [program, "-c", str(self.directory / "mosquitto.conf")], stdout=log, stderr=log
            )
            try:
                time.sleep(0.5)
                yield process.pid
            finally:
                process.terminate()
                process.wait()

    @contextmanager
    def service(self, name: str) -> Iterator[int]:
        """Run one of the services; gives its process id once it is connected."""
        commands: dict[str, list[str]] = {
            "echo": [str(self.directory / "echo"), str(self.port)],
            "naive": [sys.executable, str(HERE / "naive.py"), str(self.port), str(self.directory / "naive.db")],
            "claimsvc": [
                *(sys.executable, "-m", "claimsvc", "serve", "-c"),
                str(self.directory / "claimsvc.toml"),
            ],
        }
        log_path = self.directory / f"{name}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(commands[name], stdout=log, stderr=log, env=self.environment)
            try:
                self._wait(process, log_path)
                yield process.pid
            finally:
                process.terminate()
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        while "ready" not in (text := log.read_text()) and "broker_connected" not in text:
            if process.poll() is not None:
                raise SystemExit(f"a service ended at its start:\n{text}")
            time.sleep(0.005)

    def load(self, mode: str, count: int, *, rate: float = 0, first: int | None = None, devices: int = 0) -> Any:
        """Run the load generator; returns what it printed."""
        begin = self.next_message if first is None else first
        if first is None:
            self.next_message += count
        arguments = (self.port, mode, begin, count, OUTSTANDING, rate, *((devices,) if devices else ()))
        run = subprocess.run(
            [str(self.directory / "loadgen"), *map(str, arguments)], check=True, stdout=subprocess.PIPE
        )
        return json.loads(run.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _made_up() -> Secret:
    return Secret(SecretKind.PASSWORD, None)


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process now, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(bench: Bench, name: str, workload: str, sizes: Sizes) -> dict[str, float]:
    """Run a workload at saturation and then open loop at half of that; returns its figures."""
    count = sizes.naive_messages if name == "naive" else sizes.messages
    # A broker of its own for each: the session of claimsvc lasts, and would collect what the others are sent.
    with bench.broker() as broker, bench.service(name) as pid:
        first = bench.next_message
        if workload == "claim":
            bench.load("window", count)
        before = (cpu_s(pid), cpu_s(broker))
        at = first if workload == "claim" else None
        full = bench.load(workload, count, first=at)
        spent = (cpu_s(pid) - before[0], cpu_s(broker) - before[1])
        rate = full["per_second"] / 2
        half_count = max(50, int(min(rate * sizes.latency_s, count)))
        first = bench.next_message
        if workload == "claim":
            bench.load("window", half_count)
        half = bench.load(workload, half_count, rate=rate, first=first if workload == "claim" else None)
        return {
            "per_second": full["per_second"],
            "p50": half["p50"],
            "p99": half["p99"],
            "p999": half["p999"],
            "service_cpu": 100 * spent[0] / full["seconds"],
            "broker_cpu": 100 * spent[1] / full["seconds"],
            "loadgen_cpu": 100 * full["cpu_s"] / full["seconds"],
            "memory_mb": memory_mb(pid),
            "lost": full["lost"] + half["lost"],
            "twice": full["twice"] + half["twice"],
            "failed": full["failed"] + half["failed"],
        }


def measure_gateways(bench: Bench) -> dict[str, float]:
    """Return the seconds until one message of 1 000 devices, and ten at once, are answered."""
    with bench.broker(), bench.service("claimsvc"):
        one = bench.load("gateway", 1, first=0)
        ten = bench.load("gateway", 10, first=1)
        again = bench.load("gateway", 10, first=1)
    return {
        "one_s": one["max"] / 1000,
        "ten_s": ten["max"] / 1000,
        "ten_known_s": again["max"] / 1000,
        "lost": one["lost"] + ten["lost"] + again["lost"],
    }


def spread(values: list[float]) -> str:
    """Return the median with its range."""
    return f"{statistics.median(values):>9,.1f} [{min(values):,.1f}-{max(values):,.1f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a smoke run that says nothing about speed")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    sizes, repeat = (SHORT, 1) if arguments.short else (FULL, arguments.repeat)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), _free_port())
        compare(bench, sizes, repeat)


def compare(bench: Bench, sizes: Sizes, repeat: int) -> None:
    """Run all services in turn and print their figures side by side."""
    for workload in ("window", "claim", "mix"):
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in SERVICES}
        for _ in range(repeat):
            for name in SERVICES:
                runs[name].append(measure(bench, name, workload, sizes))
        print(f"\n{workload}")
        for name in SERVICES:
            print(f"  {name}")
            for figure in runs[name][0]:
                print(f"    {figure:12} {spread([run[figure] for run in runs[name]])}")
        for other in ("echo", "naive"):
            ratios = [
                ours["per_second"] / theirs["per_second"]
                for ours, theirs in zip(runs["claimsvc"], runs[other], strict=True)
            ]
            print(f"  claimsvc / {other}: {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")
    figures = [measure_gateways(bench) for _ in range(repeat)]
    print("\ngateway messages of 1 000 devices")
    for figure in figures[0]:
        print(f"    {figure:12} {spread([run[figure] for run in figures])}")


if __name__ == "__main__":
    main()
