"""A real Mosquitto with the plugin on a store that a test fills by hand, and clients of every sort."""

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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from claimsvc.sealing import password_hash
from claimsvc.store.repository import open_store
from tests.support.clients import PATIENCE_S, V5, Client, DisconnectedError, LoginRefusedError
from tests.support.processes import Broker, free_port

ROOT = Path(__file__).parents[2]
SERVICE_ID = "claimsvc-" + "0123456789abcdef" * 2
STAMP = "received-at"

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
pattern write claimsvc/c/%c/s/ucr
pattern write claimsvc/c/%c//provision/request
pattern read claimsvc/c/%c/s/dcr
pattern read claimsvc/c/%c//provision/response
pattern readwrite telemetry/%u
"""


def build_plugin() -> Path:
    """Return the plugin's path, built. CLAIMSVC_TEST_PLUGIN names one that was built for another broker."""
    if given := os.environ.get("CLAIMSVC_TEST_PLUGIN"):
        return Path(given)
    subprocess.run(["make", "--silent", "-C", str(ROOT / "plugin")], check=True)
    return ROOT / "plugin" / "build" / "claimsvc.so"


def make_store(path: Path) -> None:
    """Make an empty store as the service does."""

    async def make() -> None:
        async with open_store(path):
            pass

    asyncio.run(make())


@dataclass(frozen=True)
class Will:
    """What a client leaves behind."""

    topic: str
    payload: bytes = b"will"
    qos: int = 1
    retain: bool = False
    delay_s: int = 0
    stamp: str | None = None


class Peer(Client):
    """A client that says exactly what a test wants it to say."""

    def __init__(  # noqa: PLR0913 - CONNECT has that many parts
        self,
        port: int,
        username: str | None,
        password: str | None = None,
        *,
        version: Any = V5,
        client_id: str = "",
        clean: bool = True,
        expiry_s: int = 0,
        will: Will | None = None,
        manual_ack: bool = False,
    ) -> None:
        self.username = username or ""
        self.inbox: Queue[paho.MQTTMessage] = Queue()
        self.disconnected: Queue[Any] = Queue()
        self.granted: Queue[list[int]] = Queue()
        self._connected: Queue[Any] = Queue()
        self._done: Queue[int] = Queue()
        self._version = version
        self._paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            clean_session=None if version == V5 else clean,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        if username is not None:
            self._paho.username_pw_set(username, password)
        self._paho.max_inflight_messages_set(0)
        self._set_will(will)
        self._paho.on_connect = self._on_connect
        self._paho.on_message = lambda _c, _u, message: self.inbox.put(message)
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_disconnect = self._on_disconnect
        self.client_id = client_id
        self.session_present = False
        self._connect(port, clean, expiry_s)

    def _set_will(self, will: Will | None) -> None:
        if will is None:
            return
        properties = None
        if self._version == V5:
            properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
            if will.delay_s:
                properties.WillDelayInterval = will.delay_s
            if will.stamp:
                properties.UserProperty = [(STAMP, will.stamp)]
        self._paho.will_set(will.topic, will.payload, will.qos, will.retain, properties)

    def _connect(self, port: int, clean: bool, expiry_s: int) -> None:  # noqa: FBT001 - as CONNECT's flag
        if self._version == V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = expiry_s
            self._paho.connect("127.0.0.1", port, clean_start=clean, properties=properties)
        else:
            self._paho.connect("127.0.0.1", port)
        self._paho.loop_start()
        try:
            reason = self._connected.get(timeout=PATIENCE_S)
        except Empty:
            reason = None
        if reason is None or reason.is_failure:
            self.close()
            raise LoginRefusedError(str(reason))

    def _on_connect(self, _c: Any, _u: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.session_present = flags.session_present
        self.client_id = getattr(properties, "AssignedClientIdentifier", self.client_id)
        self._connected.put(reason)

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self._connected.put(None)
        self.disconnected.put(reason)
        self._done.put(-1)

    def _on_subscribe(self, _c: Any, _u: Any, mid: int, codes: Any, _p: Any) -> None:
        self.granted.put([int(getattr(code, "value", code)) for code in codes])
        self._done.put(mid)

    def asks_for(self, topic: str, qos: int = 1) -> bool:
        """Subscribe; return whether the broker agreed."""
        while not self.granted.empty():
            self.granted.get()
        self.subscribe(topic, qos=qos)
        return self.granted.get(timeout=PATIENCE_S)[0] < 0x80

    def unsubscribe(self, topic: str) -> list[int]:
        """Unsubscribe; return the broker's codes (MQTT 5)."""
        done: Queue[list[int]] = Queue()
        self._paho.on_unsubscribe = lambda _c, _u, _m, codes, _p: done.put([int(code.value) for code in codes])
        self._paho.unsubscribe(topic)
        return done.get(timeout=PATIENCE_S)

    def says(self, topic: str, payload: bytes = b"hello", **options: Any) -> int:
        """Publish at QoS 1 and return the broker's reason code (MQTT 5)."""
        done: Queue[int] = Queue()
        self._paho.on_publish = lambda _c, _u, _m, code, _p: done.put(int(code.value))
        self.publish(topic, payload, qos=1, **options)
        return done.get(timeout=PATIENCE_S)

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        """Acknowledge a message of a client that does so by hand."""
        self._paho.ack(message.mid, message.qos)

    def trip(self) -> None:
        """Return when the broker has handled what this client sent, and it has what the broker sent before."""
        self.subscribe("claimsvc/status")

    def hears(self) -> list[str]:
        """Return the topics that have come by now."""
        self.trip()
        self.trip()  # what a plugin publishes is handed over when the broker's loop turns, that is before this
        return [message.topic for message in self.drain()]


class Play(Peer):
    """The service, played by the test: it sees all lanes and answers into them."""

    def __init__(self, port: int, **options: Any) -> None:
        super().__init__(port, "claimsvc", "service-password", client_id=SERVICE_ID, **options)
        self._paho.subscribe("claimsvc/#", options=SubscribeOptions(qos=2, noLocal=True, retainAsPublished=True))
        self._done.get(timeout=PATIENCE_S)

    def disconnect_principal(self, *principals: str) -> None:
        """Ask the broker to disconnect whoever is logged in as these."""
        self.publish("$CONTROL/claimsvc/v1", "".join(f"disconnect {name}\n" for name in principals))


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


@contextmanager
def running(site: Site) -> Iterator[Site]:
    """Run a prepared site."""
    site.start()
    try:
        yield site
    finally:
        site.stop()


def stamps(message: paho.MQTTMessage) -> list[str]:
    """Return the values of the stamp on a message."""
    pairs = getattr(message.properties, "UserProperty", [])
    return [value for name, value in pairs if name == STAMP]


def count_rows(path: Path) -> int:
    """Return how many logins a store file has."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM credential").fetchone()[0])
