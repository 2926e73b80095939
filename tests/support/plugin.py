"""A real Mosquitto with the plugin on a store that a test fills by hand."""

from __future__ import annotations

import asyncio
import base64
import getpass
import hashlib
import hmac
import os
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claimsvc.sealing import password_hash
from claimsvc.store.sqlite.sqlite_database import open_store
from tests.support.clients import PATIENCE_S, DisconnectedError, LoginRefusedError
from tests.support.peers import Peer, Play
from tests.support.processes import Broker, free_port

ROOT = Path(__file__).parents[2]

_CONF = """\
user {user}
listener {port} 127.0.0.1
allow_anonymous {anonymous}
password_file {directory}/passwords
acl_file {directory}/acl
plugin {plugin}
{options}
persistence {persistence}
persistence_location {directory}/
max_inflight_messages 0
max_queued_messages 1000000
sys_interval 0
set_tcp_nodelay true
log_dest stderr
log_type {log_level}
{more}
"""

_ACL = """
pattern write claimsvc/c/%u/%c/s/ucr
pattern write claimsvc/c/%u/%c//provision/request
pattern read claimsvc/c/%u/%c/s/dcr
pattern read claimsvc/c/%u/%c//provision/response
pattern readwrite telemetry/%u
pattern readwrite v1/#
pattern readwrite v2/#
pattern readwrite s/#
pattern readwrite /provision/#
"""
"""More than the shipped file grants: lanes of client ids, and what an operator might grant who knows no better."""


def build_plugin() -> Path:
    """Return the plugin's path, built. TEST_PLUGIN names one that was built for another broker."""
    if given := os.environ.get("TEST_PLUGIN"):
        return Path(given)
    subprocess.run(["make", "--silent", "-C", str(ROOT / "plugin")], check=True)
    return ROOT / "plugin" / "build" / "claimsvc.so"


def make_store(path: Path) -> None:
    """Make an empty store as the service does."""

    async def make() -> None:
        async with open_store(path):
            pass

    asyncio.run(make())


class Site:
    """A broker with the plugin, its files and its store in one directory."""

    def __init__(
        self, directory: Path, plugin: Path, *, more: str = "", log_level: str = "all", **options: object
    ) -> None:
        self.directory = directory
        self.plugin = plugin
        self.more = more
        self.log_level = log_level
        self.anonymous = False
        self.persistence = False
        self.user = getpass.getuser()
        self.port = free_port()
        self.broker = Broker(directory, self.port)
        self.store = directory / "data" / "claimsvc.db"
        self.key = secrets.token_bytes(32)
        self.options: dict[str, object] = {"store": self.store, "open_logins": "provision"} | options
        self._writer: sqlite3.Connection | None = None

    # --- files

    def prepare(self, *, with_store: bool = True) -> Site:
        """Write the files; nothing runs yet."""
        shipped = (ROOT / "config" / "acl").read_text()
        (self.directory / "acl").write_text(shipped + _ACL)
        (self.directory / "passwords").write_text(
            "".join(f"{name}:{password_hash('password', 2)}\n" for name in ("foreign", "bootstrap", "a/b", "a+b"))
        )
        (self.directory / "passwords").chmod(0o600)
        self.write_conf()
        if with_store:
            make_store(self.store)
            self.write_key()
            self.add_password("claimsvc", "service-password")
        return self

    def write_conf(self) -> None:
        options = "".join(f"plugin_opt_{name} {value}\n" for name, value in self.options.items())
        (self.directory / "mosquitto.conf").write_text(
            _CONF.format(
                user=self.user,
                port=self.port,
                directory=self.directory,
                plugin=self.plugin,
                options=options,
                more=self.more,
                log_level=self.log_level,
                anonymous=str(self.anonymous).lower(),
                persistence=str(self.persistence).lower(),
            )
        )

    def write_key(self) -> None:
        (self.store.parent / "token.key").write_text(self.key.hex() + "\n")

    # --- the store, written as the service would

    @property
    def writer(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = sqlite3.connect(self.store, isolation_level=None)
        return self._writer

    def close_store(self) -> None:
        """Close the service's side; the last one to close tidies up."""
        if self._writer:
            self._writer.close()
            self._writer = None

    def add_row(self, login: str, principal: str, kind: str, secret_hash: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        self.writer.execute("BEGIN IMMEDIATE")
        self.writer.execute("INSERT OR IGNORE INTO tenant VALUES ('default', 'default', 0)")
        self.writer.execute("INSERT OR IGNORE INTO principal VALUES (?, 'device', 'default')", (principal,))
        self.writer.execute(
            "INSERT INTO credential VALUES (?, ?, ?, ?, NULL, 0, ?, NULL)",
            (login, principal, kind, secret_hash, now_ms),
        )
        self.writer.execute("COMMIT")

    def add_password(self, login: str, password: str, principal: str | None = None, iterations: int = 2) -> None:
        self.add_row(login, principal or login, "password", password_hash(password, iterations))

    def add_token(self, token: str, principal: str) -> None:
        digest = base64.b64encode(hmac.digest(self.key, token.encode(), hashlib.sha256)).decode()
        self.add_row(digest, principal, "access_token", digest)

    def revoke(self, principal: str, at_ms: int = 1) -> None:
        self.writer.execute("UPDATE credential SET revoked_at = ? WHERE principal = ?", (at_ms, principal))

    # --- life

    def start(self) -> Site:
        self.broker.start()
        return self

    def stop(self) -> None:
        self.close_store()
        self.broker.stop()

    @property
    def log(self) -> list[str]:
        """What the plugin has logged."""
        return [line.partition(": ")[2] for line in self.broker.log.splitlines() if " claimsvc: " in line]

    def resident_kb(self) -> int:
        assert self.broker.process
        status = Path(f"/proc/{self.broker.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def processor_s(self) -> float:
        """Return the processor time the broker has taken so far, in seconds."""
        assert self.broker.process
        schedule = Path(f"/proc/{self.broker.process.pid}/schedstat").read_text()
        return int(schedule.split()[0]) / 1e9

    # --- clients

    def service(self, **options: Any) -> Play:
        return Play(self.port, **options)

    def peer(self, username: str | None, password: str | None = None, **options: Any) -> Peer:
        return Peer(self.port, username, password, **options)

    def admits(self, username: str | None, password: str | None = None, **options: Any) -> bool:
        """Return whether this login gets in."""
        try:
            self.peer(username, password, **options).close()
        except (LoginRefusedError, DisconnectedError):
            return False
        return True

    def frees(self, username: str, password: str, client_id: str) -> bool:
        """Return whether this login gets in with a client id whose last client has just left."""
        until = time.monotonic() + PATIENCE_S
        while not (is_free := self.admits(username, password, client_id=client_id)) and time.monotonic() < until:
            pass  # the broker may not have read the DISCONNECT yet
        return is_free


@contextmanager
def running(site: Site) -> Iterator[Site]:
    """Run a prepared site."""
    site.start()
    try:
        yield site
    finally:
        site.stop()
