"""Shared setup of the measurements: a private broker, the services, the load generator, their CPU and memory."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from claimsvc.app import open_service
from claimsvc.core.accounts import CreateCustomer, CreateUser
from claimsvc.core.decision import Found
from claimsvc.core.devices import CreateGateway
from claimsvc.core.model import Customer
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.log import open_log
from claimsvc.supervisor import write_files

Figures = dict[str, float]

HERE = Path(__file__).parent
OUTSTANDING = 1_000
USERS = 100
GATEWAYS = 40
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 30.0
ROUND = 10
PORTS = range(20_000, 30_000)


@dataclass(frozen=True)
class Running:
    """A process: its id, and for each word the seconds from its start until the log contained this word."""

    pid: int
    seconds: dict[str, float]

    def cpu_s(self) -> float:
        """Return the processor time used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self) -> float:
        """Return the current resident memory in MB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0


class Rig:
    """A directory with the files of the broker and of the services, which run one at a time."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.port = _free_port()
        self.next_message = 0
        self.environment = {**os.environ, "CLAIMSVC_MQTT__PASSWORD": "claimsvc"}
        os.environ.update(self.environment)
        self.settings = write_files(directory, self.port, None)
        for name, library in (("loadgen", ()), ("echo", ("-lmosquitto",))):
            subprocess.run(["cc", "-O2", "-o", directory / name, HERE / f"{name}.c", *library], check=True)
        asyncio.run(self._accounts())
        self._admit_loadgen()

    async def _accounts(self) -> None:
        """Create the users and gateways of the workloads. Their logins are never used."""
        service = self.settings.mqtt.username
        async with open_service(self.settings, open_log("error", "json", sys.stderr)) as running:
            (made,) = await running.execute_own([CreateCustomer(service, "Benchmark")])
            assert isinstance(made, Found)
            assert isinstance(made.item, Customer)
            users = [
                CreateUser(service, f"user{n}", made.item.id, (), ("customer",), _generated()) for n in range(USERS)
            ]
            await running.execute_own(users)
            await running.execute_own([CreateGateway(service, f"gw{n}", _generated()) for n in range(GATEWAYS)])

    def _admit_loadgen(self) -> None:
        passwords = self.directory / "mosquitto.passwd"
        subprocess.run(["mosquitto_passwd", "-b", passwords, "loadtest", "loadtest"], check=True, capture_output=True)
        acl = self.directory / "acl"
        all_lanes = "\nuser loadtest\ntopic readwrite claimsvc/u/#\ntopic readwrite claimsvc/c/#\n"
        acl.write_text(acl.read_text() + all_lanes)

    @contextmanager
    def broker(self) -> Iterator[Running]:
        """Run Mosquitto without the persistent data of an earlier run."""
        (self.directory / "broker" / "mosquitto.db").unlink(missing_ok=True)
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") or "mosquitto"
        command = [program, "-c", str(self.directory / "mosquitto.conf")]
        with self._process("mosquitto", command, {}) as running:
            _wait_for_port(self.port, self.directory / "mosquitto.log")
            yield running

    @contextmanager
    def service(self, name: str, requests_per_minute: int = 0) -> Iterator[Running]:
        """Run one of the services; yields it when it receives requests.

        By default without a rate limit, because each of the hundred users sends more requests than the limit allows.
        """
        python, toml = sys.executable, str(self.directory / "claimsvc.toml")
        commands: dict[str, tuple[str, ...]] = {
            "echo": (str(self.directory / "echo"), str(self.port)),
            "naive": (python, str(HERE / "naive.py"), str(self.port), str(self.directory / "naive.db")),
            "claimsvc": (python, "-m", "claimsvc", "serve", "-c", toml),
        }
        words = ("started", "broker_connected") if name == "claimsvc" else ("ready",)
        limits = {"CLAIMSVC_LIMITS__REQUESTS_PER_MINUTE": str(requests_per_minute)}
        with self._process(name, list(commands[name]), limits, *words) as running:
            yield running

    @contextmanager
    def _process(self, name: str, command: list[str], environment: dict[str, str], *words: str) -> Iterator[Running]:
        """Run a process; yields it when its log contains all these words."""
        path = self.directory / f"{name}.log"
        with path.open("wb") as log:
            began = time.monotonic()
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**self.environment, **environment})
            try:
                yield Running(process.pid, {word: _wait(process, path, word) - began for word in words})
            finally:
                process.terminate()
                process.wait()

    def take_messages(self, count: int) -> int:
        """Return the number of the first of `count` messages that no run has sent yet.

        The number is a multiple of ROUND, because each claim of a mix claims a device of the same ten messages.
        """
        first = self.next_message
        self.next_message += -(-count // ROUND) * ROUND
        return first

    def load(
        self, mode: str, first: int, count: int, *, rate: float = 0, devices: int = 0, outstanding: int = OUTSTANDING
    ) -> Figures:
        """Run the load generator to its end and return its figures."""
        return self.finish(self.begin(mode, first, count, rate=rate, devices=devices, outstanding=outstanding))

    def begin(
        self, mode: str, first: int, count: int, *, rate: float = 0, devices: int = 0, outstanding: int = OUTSTANDING
    ) -> subprocess.Popen[bytes]:
        """Start the load generator."""
        arguments = (self.port, mode, first, count, outstanding, rate, *((devices,) if devices else ()))
        return subprocess.Popen([str(self.directory / "loadgen"), *map(str, arguments)], stdout=subprocess.PIPE)

    def finish(self, process: subprocess.Popen[bytes]) -> Figures:
        """Wait for the end of a load generator and return its figures."""
        printed, _ = process.communicate()
        if process.returncode:
            raise SystemExit("the load generator failed; see its message above")
        figures: Figures = json.loads(printed)
        return figures


def interpreter() -> str:
    """Return which Python runs the services, and whether it was built with profile-guided optimization."""
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        pgo = "with PGO"
    elif sysconfig.get_config_var("PGO_PROF_GEN_FLAG") and not sysconfig.get_config_var("PGO_PROF_USE_FLAG"):
        pgo = "with PGO"  # Debian builds so, and takes the flag out of what it installs
    else:
        pgo = "without PGO"
    return f"{platform.python_implementation()} {platform.python_version()} {pgo}, {os.path.realpath(sys.executable)}"


def _wait(process: subprocess.Popen[bytes], log: Path, word: str) -> float:
    """Wait until the log contains this word. Return the time, seconds of the monotonic clock."""
    deadline = time.monotonic() + PATIENCE_S
    while word not in (text := log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"a process exited at its start or did not log {word!r}:\n{text}")
        time.sleep(0.002)
    return time.monotonic()


def _wait_for_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"the broker does not listen:\n{log.read_text()}")


def _free_port() -> int:
    """Return a free port outside the range for outgoing connections, which could take it before the broker starts."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise SystemExit("no free port")


def _generated() -> Secret:
    return Secret(SecretKind.PASSWORD, None)
