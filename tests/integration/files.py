"""Files for a pipeline: what brings them, a link that keeps what goes out in order, and what a death leaves."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from claimsvc.app import open_service
from claimsvc.dialects.message import Inbound, Outbound
from claimsvc.log import open_log
from claimsvc.settings import Settings
from tests.integration.bench import Bench, call
from tests.integration.link import PATIENCE_S, Broker

ROWS = 1_000
SLICES = 5
WINDOW = "v1/devices/me/claim"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Word:
    """What a link was asked to publish, whether somebody waits for it or not."""

    topic: str
    body: Any


class Desk(Broker):
    """A link that knows messages by their receipt, as a broker does, and keeps what went out in order."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = 1
        self.out: list[Word] = []
        self.on_progress: Callable[[int], None] = lambda _done: None
        self.on_answer: Callable[[], None] = lambda: None
        self.abandoned = 0

    def deliver(self, *messages: Inbound) -> None:
        numbered = [replace(each, connection=self.connection, packet_id=next(_numbers)) for each in messages]
        self.waiting_messages += numbered
        self.unacknowledged += numbered
        self.done.clear()
        self._arrived.set()

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        if inbound.connection != self.connection:
            return False
        self._publish(outbounds)
        self.unacknowledged = [each for each in self.unacknowledged if each.packet_id != inbound.packet_id]
        if not self.unacknowledged:
            self.done.set()
        return True

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        self._publish(outbounds)

    def _publish(self, outbounds: Sequence[Outbound]) -> None:
        for each in outbounds:
            self.out.append(Word(each.topic, json.loads(each.payload) if each.payload[:1] in b"{[" else each.payload))
            if each.topic.endswith("/progress"):
                self.on_progress(self.out[-1].body["numberOfProcessed"])
            elif each.topic.endswith("/response/1"):
                self.on_answer()

    def abandon(self, why: str) -> None:
        self.connection += 1
        self.abandoned += 1
        again = [replace(each, redelivered=True) for each in self.unacknowledged if each.qos]
        self.waiting_messages, self.unacknowledged = [], []
        act = partial(self.deliver, *again) if again else self.done.set
        asyncio.get_running_loop().call_soon(act)

    def heard(self, tail: str) -> list[Any]:
        """Return what was published on topics that end so."""
        return [word.body for word in self.out if word.topic.endswith(tail)]

    def at(self, done: int, act: Callable[[], None]) -> None:
        """Act when so many rows of a file are done, once."""

        def on_progress(processed: int) -> None:
            if processed == done:
                self.on_progress = lambda _done: None
                act()

        self.on_progress = on_progress


def counted(name: str, **labels: str) -> float:
    """Return a metric's value; what was never counted is 0."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def devices(count: int = ROWS, stem: str = "id", secret: str = "abcd1234") -> bytes:
    """Return a file of so many devices, each third in a group, the last row of which is bad."""
    rows = [
        f"{stem}{number};{secret};t;Device {number};{'g/h' if number % 3 == 0 else ''}" for number in range(count - 1)
    ]
    return "\n".join(["ID;CREDENTIALS;TYPE;NAME;PATH", *rows, f"{stem}bad;short;t;n;", ""]).encode()


def boxes(count: int, *rows: str) -> bytes:
    """Return a list of so many devices that want a key, and these rows."""
    return "\n".join(["name;secretKey", *(f"box {number};" for number in range(count)), *rows, ""]).encode()


def send(body: bytes, number: str = "1", who: str = "root", query: str = "", **fields: Any) -> Inbound:
    """Return the message that brings a file of devices."""
    return call(who, number, "POST", f"devicecontrol/bulkNewDeviceRequests{query}", body, **fields)


def send_keys(body: bytes, number: str = "1", query: str = "", **fields: Any) -> Inbound:
    """Return the message that brings a list of claim keys."""
    return call("root", number, "POST", f"claimsvc/claimKeys{query}", body, **fields)


async def work(bench: Bench, link: Desk, *messages: Inbound) -> None:
    """Deliver messages and run the loop until everything is answered, then stop as a service does."""
    link.deliver(*messages)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.door.run(link))
        await link.done.wait()
        running.cancel()


@asynccontextmanager
async def reopened(settings: Settings) -> AsyncIterator[Bench]:
    """Open a bench on a store that is there."""
    out = StringIO()
    async with open_service(settings, open_log("debug", "json", out)) as service:
        yield Bench(service, settings, out)


def at(settings: Settings, directory: Path) -> Settings:
    """Return these settings with a store in another directory."""
    store = settings.store.model_copy(update={"path": directory / "claimsvc.db"})
    credentials = settings.credentials.model_copy(update={"password_file": directory / "passwd"})
    return settings.model_copy(update={"store": store, "credentials": credentials})


def snapshot(settings: Settings, directory: Path) -> None:
    """Copy what is durable now, as a process that is killed leaves it."""
    directory.mkdir()
    for path in settings.store.path.parent.iterdir():
        if path.is_file() and not path.name.startswith("claimsvc.db"):
            shutil.copy(path, directory)
    with (
        closing(sqlite3.connect(settings.store.path)) as here,
        closing(sqlite3.connect(directory / "claimsvc.db")) as there,
    ):
        here.backup(there)


COUNTS = {"numberOfAll": ROWS, "numberOfCreated": ROWS - 1, "numberOfFailed": 1, "numberOfSuccessful": ROWS - 1}


def counts(answer: Any) -> dict[str, int]:
    """Return an answer's counters."""
    return {name: value for name, value in answer["body"].items() if name.startswith("number")}


def assert_done_once(bench: Bench, rows: int = ROWS - 1) -> None:
    """Every device is there with its login and its audit event, and nothing is left of the file at work."""
    made = bench.rows("SELECT count(*), count(DISTINCT name) FROM device WHERE name LIKE 'id%'")
    assert made == [(rows, rows)]
    assert bench.rows("SELECT count(*) FROM credential WHERE login LIKE 'device\\_id%' ESCAPE '\\'") == [(rows,)]
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'device_created' AND device LIKE 'id%'") == [(rows,)]
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'file_imported'") == [(1,)]
    assert bench.rows("SELECT path FROM device_group ORDER BY path") == [("g",), ("g/h",)]
    assert bench.rows("SELECT count(*) FROM device_group_member") == [(len(range(0, rows, 3)),)]
    assert bench.rows("SELECT (SELECT count(*) FROM import), (SELECT count(*) FROM import_part)") == [(0, 0)]
