"""A minimal MQTT 3.1.1 client, and an admin that uses it, so that no client library is measured."""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from claimsvc.mqtt.packets import split

CONNACK, PUBLISH, PINGRESP = 0x20, 0x30, 0xD0
PING = b"\xc0\0"
PATIENCE_S = 120.0

Login = tuple[str, str]


def text(value: str | bytes) -> bytes:
    """Return a text, prefixed with its length."""
    encoded = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(encoded)) + encoded


def packet(kind: int, body: bytes) -> bytes:
    """Return a packet with its fixed header."""
    head, length = bytearray([kind]), len(body)
    while True:
        head.append(length & 0x7F | (0x80 if length > 0x7F else 0))  # noqa: PLR2004 - 7 bits a byte
        length >>= 7
        if not length:
            return bytes(head) + body


def publish(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH packet of QoS 0. A lost message shows as a missing answer."""
    return packet(PUBLISH, text(topic) + payload)


class Line:
    """One connection. `login_s`: seconds from CONNECT to CONNACK."""

    def __init__(self, port: int, login: Login) -> None:
        self._buffer = bytearray()
        self._arrived: deque[tuple[int, bytes]] = deque()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_id = f"bench-{random.randbytes(8).hex()}"
        began = time.perf_counter()
        self.send(packet(0x10, text("MQTT") + b"\x04\xc2\0\0" + b"".join(map(text, (client_id, *login)))))
        kind, body = self.next()
        self.login_s = time.perf_counter() - began
        if (kind, body) != (CONNACK, b"\0\0"):
            raise SystemExit(f"the broker refuses the login {login[0]}: {body!r}")

    def close(self) -> None:
        """Send DISCONNECT and close."""
        self.send(packet(0xE0, b""))
        self._socket.close()

    def send(self, packets: bytes) -> None:
        """Write packets to the socket."""
        self._socket.sendall(packets)

    def next(self) -> tuple[int, bytes]:
        """Return the next packet: its first byte and its body."""
        while not self._arrived:
            read = self._socket.recv(65_536)
            if not read:
                raise SystemExit("the broker closed a connection")
            self._buffer += read
            self._arrived.extend(split(self._buffer))
        return self._arrived.popleft()

    def has_packet(self, patience_s: float) -> bool:
        """Wait up to this time. Return whether a packet, or a part of one, has arrived."""
        return bool(self._arrived) or bool(select.select([self._socket], [], [], max(0.0, patience_s))[0])

    def await_kind(self, wanted: int) -> bytes:
        """Discard packets until one of this kind comes, and return its body."""
        while True:
            kind, body = self.next()
            if kind & 0xF0 == wanted:
                return body

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 0."""
        self.send(packet(0x82, b"\0\x01" + text(topic) + b"\0"))
        self.await_kind(0x90)

    def answer(self) -> tuple[str, Any]:
        """Return the last topic level and the parsed JSON of the next message."""
        body = self.await_kind(PUBLISH)
        (length,) = struct.unpack_from("!H", body)
        return body[2 : 2 + length].decode().rpartition("/")[2], json.loads(body[2 + length :])


class Admin:
    """An admin that uses REST over MQTT."""

    def __init__(self, port: int, login: Login) -> None:
        self._line = Line(port, login)
        self._lane = f"claimsvc/u/{login[0]}"
        self._line.subscribe(f"{self._lane}/response/+")
        self._asked = 0
        self._session = random.randbytes(4).hex()

    def _ask(self, method: str, path: str, body: Any = None) -> None:
        self._asked += 1
        payload = json.dumps(body).encode() if body else b""
        topic = f"{self._lane}/request/{self._session}-{self._asked}/{method}{path}"
        self._line.send(publish(topic, payload))

    def _answer(self) -> Any:
        _, answer = self._line.answer()
        if answer["status"] != 200:  # noqa: PLR2004 - HTTP's
            raise SystemExit(f"refused: {answer}")
        return answer["body"]

    def issue(self, names: Sequence[str], in_flight: int = 1) -> dict[str, str]:
        """Create devices with logins, `in_flight` requests at a time. Return their ids by name."""
        ids: dict[str, str] = {}
        waiting = iter(names[in_flight:])
        for name in names[:in_flight]:
            self._ask("POST", "/api/device", {"name": name})
        while len(ids) < len(names):
            made = self._answer()
            ids[made["name"]] = made["id"]["id"]
            for name in islice(waiting, 1):
                self._ask("POST", "/api/device", {"name": name})
        return ids

    def login_of(self, device_id: str) -> Login:
        """Return the username and the generated password of a device."""
        self._ask("GET", f"/api/device/{device_id}/credentials")
        login = json.loads(self._answer()["credentialsValue"])
        return login["userName"], login["password"]
