"""A real Mosquitto and a real `claimsvc serve` as child processes that tests start, stop and kill."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from claimsvc.founding import Account, found_demo
from claimsvc.sealing import password_hash
from claimsvc.settings import Settings, load
from claimsvc.supervisor import write_files

PATIENCE_S = 20.0


PORTS = range(10_000, 30_000)
"""Below those that outgoing connections get."""


def free_port() -> int:
    """Return a port of 127.0.0.1 nobody listens on; of those that are this test process's own."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.choice(PORTS[number::workers])
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Broker:
    """Mosquitto on the shipped configuration, with this directory's paths and port."""

    def __init__(self, directory: Path, port: int, **environment: str) -> None:
        self.environment = environment
        self.directory = directory
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text()

    def start(self) -> None:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        program = shutil.which("mosquitto", path=path)
        assert program, "mosquitto is not installed: scripts/setup installs it"
        with (self.directory / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(self.directory / "mosquitto.conf")],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            threading.Event().wait(0.02)  # the kernel has no event for "somebody listens now"
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        _end(self.process, signal.SIGTERM)

    def kill(self) -> None:
        _end(self.process, signal.SIGKILL)

    def reload(self) -> None:
        """Have its files read again; it does so before the next packet."""
        assert self.process
        self.process.send_signal(signal.SIGHUP)


class Service:
    """`claimsvc serve` as users run it; its log lines come as dictionaries."""

    def __init__(self, config: Path, **environment: str) -> None:
        self.config = config
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[dict[str, Any]] = []
        self.stderr = ""
        self._fresh: Queue[dict[str, Any]] = Queue()
        self._reading: threading.Thread | None = None

    def start(self, *, connected: bool = True) -> None:
        self._fresh = Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "claimsvc", "serve", "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.environment},
        )
        self._reading = threading.Thread(target=self._read, args=(self.process, self._fresh), daemon=True)
        self._reading.start()
        self.wait_for("broker_connected" if connected else "started")

    def _read(self, process: subprocess.Popen[str], fresh: Queue[dict[str, Any]]) -> None:
        assert process.stdout
        for line in process.stdout:
            try:
                entry = json.loads(line)
            except ValueError:
                self.stderr += line
                continue
            self.lines.append(entry)
            fresh.put(entry)
        process.stdout.close()

    def wait_for(self, event: str, **fields: object) -> dict[str, Any]:
        """Return the next log line of this event with these fields; lines before it are passed over."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                entry = self._fresh.get(timeout=max(0.01, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {event} {fields} in the log; {self.stderr}") from None
            if entry["event"] == event and all(entry.get(name) == value for name, value in fields.items()):
                return entry

    def limit_files(self, largest: int | None) -> None:
        """Let the running service write no file beyond this size, as if the disk were full; None lifts it."""
        assert self.process
        soft = resource.RLIM_INFINITY if largest is None else largest
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def stop(self) -> int:
        """End it, and return its exit code; all that it wrote has been read then."""
        code = _end(self.process, signal.SIGTERM)
        if self._reading:
            self._reading.join(PATIENCE_S)
        return code

    def kill(self) -> None:
        _end(self.process, signal.SIGKILL)


def _end(process: subprocess.Popen[Any] | None, how: signal.Signals) -> int:
    if process is None:
        return 0
    if process.poll() is None:
        process.send_signal(how)
    return process.wait(PATIENCE_S)


class World:
    """A broker, a service and the demo's accounts in one directory; nothing is started yet."""

    def __init__(self, directory: Path, plugin: Path | None = None, **environment: str) -> None:
        self.directory = directory
        self.has_plugin = plugin is not None
        self.port = free_port()
        self.settings: Settings = write_files(directory, self.port, plugin)
        self.accounts: dict[str, Account] = asyncio.run(found_demo(self.settings, directory / "accounts.json"))
        self.broker = Broker(directory, self.port)
        self.service = Service(directory / "claimsvc.toml", **environment)

    def start(self) -> World:
        self.broker.start()
        self.service.start()
        return self

    def stop(self) -> None:
        self.service.stop()
        self.broker.stop()

    def add_login(self, username: str, password: str, *acl: str) -> Account:
        """Add a login of the operator's own, outside claimsvc's block, with ACL lines. Needs a reload."""
        passwords, conf = self.directory / "mosquitto.passwd", self.directory / "mosquitto.conf"
        if not passwords.exists():  # the plugin keeps our logins elsewhere; the operator's own are beside it
            passwords.touch(0o640)
            conf.write_text(f"{conf.read_text()}\npassword_file {passwords}\n")
        passwords.write_text(f"{username}:{password_hash(password, 2)}\n{passwords.read_text()}")
        if acl:
            with (self.directory / "acl").open("a") as file:
                file.write("\n".join(["", f"user {username}", *acl, ""]))
        return Account(username, password)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return what the database file holds, read behind the service's back."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    @property
    def database(self) -> Path:
        return self.settings.store.path

    def reload_settings(self) -> Settings:
        return load(self.directory / "claimsvc.toml")
