"""Shows that the plugin does not leak: prints the broker's resident memory over many messages and logins.

.venv/bin/python benchmarks/plugin_memory.py [--messages N] [--logins N]

Each message is a plain request with a forged `received-at`, which the plugin moves to its lane and stamps, and its
answer, which it copies to the plain topic. Each round of logins has one by access token, one by password and one that
is refused. Starts its own broker.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.clients import CLAIM
from tests.support.peers import SERVICE_ID, STAMP
from tests.support.plugin import Site, build_plugin, running

BATCH = 200
PUBLISH = 0x30
MORE = 128  # continuation bit of a variable byte integer


def number(value: int) -> bytes:
    """Return a variable byte integer."""
    encoded = b""
    while True:
        value, low = divmod(value, MORE)
        encoded += bytes([low | (MORE if value else 0)])
        if not value:
            return encoded


def text(value: str) -> bytes:
    """Return a text, prefixed with its length."""
    return len(value.encode()).to_bytes(2) + value.encode()


def packet(kind: int, body: bytes) -> bytes:
    """Return a packet with its fixed header."""
    return bytes([kind]) + number(len(body)) + body


class Wire:
    """A minimal MQTT 5 client."""

    def __init__(self, port: int, username: str, password: str | None, client_id: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = self.socket.makefile("rb")
        flags = 0x82 | (0x40 if password else 0)
        login = text(username) + (text(password) if password else b"")
        self.socket.sendall(packet(0x10, text("MQTT") + bytes([5, flags]) + b"\0\0\0" + text(client_id) + login))
        self.accepted = self.next()[1][1] == 0

    def next(self) -> tuple[int, bytes]:
        """Return the next packet's kind and body."""
        kind, length, shift = self.read.read(1)[0], 0, 0
        while True:
            (byte,) = self.read.read(1)
            length |= (byte & ~MORE) << shift
            shift += 7
            if byte < MORE:
                return kind & 0xF0, self.read.read(length)

    def expect(self, kind: int, count: int) -> None:
        """Read until `count` packets of this kind have come."""
        while count:
            count -= self.next()[0] == kind

    def close(self) -> None:
        self.read.close()
        self.socket.close()


def rounds(site: Site, messages: int) -> None:
    """Send requests and answers in batches, and print the broker's memory."""
    device = Wire(site.port, "token", None)
    service = Wire(site.port, "claimsvc", "service-password", SERVICE_ID)
    service.socket.sendall(packet(0x82, b"\0\1\0" + text("claimsvc/u/+/" + CLAIM) + b"\0"))
    service.expect(0x90, 1)
    forged = b"\x26" + text(STAMP) + text("1") + b"\x26" + text("kept") + text("x" * 40)
    properties = number(len(forged)) + forged
    requests = b"".join(
        packet(0x32, text(CLAIM) + mid.to_bytes(2) + properties + b'{"secretKey":"value"}')
        for mid in range(1, BATCH + 1)
    )
    answers = packet(PUBLISH, text(f"claimsvc/u/Device A/{CLAIM}/response") + b"\0" + b'{"status":"SUCCESS"}') * BATCH
    start, step = time.monotonic(), max(BATCH, messages // 10)
    for sent in range(0, messages, BATCH):
        if sent % step < BATCH:
            print(f"{sent:>9} messages {site.resident_kb():>7} kB {time.monotonic() - start:>6.1f} s", flush=True)
        device.socket.sendall(requests)
        service.expect(PUBLISH, BATCH)
        service.socket.sendall(answers)
        device.expect(PUBLISH, BATCH)
    print(f"{messages:>9} messages {site.resident_kb():>7} kB {time.monotonic() - start:>6.1f} s", flush=True)
    device.close()
    service.close()


def logins(site: Site, count: int) -> None:
    """Log in and disconnect repeatedly, and print the broker's memory."""
    start = time.monotonic()
    for done in range(count + 1):
        if done % max(1, count // 5) == 0:
            print(f"{done:>9} logins   {site.resident_kb():>7} kB {time.monotonic() - start:>6.1f} s", flush=True)
        for username, password in (("token", None), ("device", "password"), (f"stranger-{done}", "wrong")):
            wire = Wire(site.port, username, password, f"id-{done}-{username}")
            assert wire.accepted == (password != "wrong")
            wire.close()


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--logins", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), build_plugin(), log_level="error").prepare()
        site.add_token("token", "Device A")
        site.add_password("device", "password")
        with running(site):
            rounds(site, given.messages)
            logins(site, given.logins)


if __name__ == "__main__":
    main()
