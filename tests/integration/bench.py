"""A pipeline on a file of its own, and the messages tests send it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from io import StringIO
from typing import Any

from claimsvc.app import open_pipeline
from claimsvc.core.accounts import CreateCustomer, CreateUser
from claimsvc.core.decision import Found
from claimsvc.core.model import Customer
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.log import open_log
from claimsvc.pipeline import Pipeline
from claimsvc.pipeline.journal import Reply, record
from claimsvc.settings import Settings
from claimsvc.wire import Inbound, Receipt

CLAIM = "claimsvc/u/device/v1/devices/me/claim"
STATE = f"{CLAIM}/state"
KEY = b'{"secretKey":"PLANTED-KEY"}'


class Bench:
    """A pipeline with what it logged, and the messages tests send it."""

    def __init__(self, pipeline: Pipeline, settings: Settings, out: StringIO) -> None:
        self.pipeline = pipeline
        self.path = settings.store.path
        self.out = out
        self.log = open_log("debug", "json", out)

    async def handle(self, *batch: Inbound) -> list[Reply]:
        """Handle one batch and log it as the loop does."""
        replies = await self.pipeline.handle(list(batch))
        for reply in replies:
            record(reply, self.log, answered=True)
        await asyncio.sleep(0)  # lines are written at the end of a turn of the loop
        return replies

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def write(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(sql)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Bench]:
    """Open a bench with the admin and two customers' users, `alice` and `bob`."""
    out = StringIO()
    async with open_pipeline(settings, open_log("debug", "json", out)) as pipeline:
        for name in ("alice", "bob"):
            (made,) = await pipeline.execute([CreateCustomer("claimsvc", name)])
            assert isinstance(made, Found)
            assert isinstance(made.item, Customer)
            await pipeline.execute([user(name, made.item.id, "customer")])
        await pipeline.execute([user("root", None, "admin")])
        yield Bench(pipeline, settings, out)


def user(name: str, customer: str | None, role: str) -> CreateUser:
    """Return the command that makes a user."""
    return CreateUser("claimsvc", name, customer, (), (role,), Secret(SecretKind.PASSWORD, None), None)


def message(topic: str, payload: bytes = b"", **fields: Any) -> Inbound:
    """Return a message as the broker hands it over."""
    return Inbound(topic, payload, Receipt(1, 1, 1), time.monotonic(), **fields)


def call(who: str, number: str, method: str, path: str, body: bytes = b"", **fields: Any) -> Inbound:
    """Return a REST request."""
    return message(f"claimsvc/u/{who}/request/{number}/{method}/{path}", body, **fields)


def claim(number: str, body: bytes = KEY, who: str = "alice", **fields: Any) -> Inbound:
    """Return a claim of the device `device`."""
    return call(who, number, "POST", "api/customer/device/device/claim", body, **fields)


def release(number: str, who: str = "alice") -> Inbound:
    """Return a release of it."""
    return call(who, number, "DELETE", "api/customer/device/device/claim")


def answer(reply: Reply) -> Any:
    """Return what the asker is told."""
    for outbound in reply.outbounds:
        is_notice = outbound.topic == STATE or outbound.topic.endswith("/s/dcr")
        if not is_notice and not outbound.topic.startswith("claimsvc/events/"):
            return json.loads(outbound.payload)
    raise AssertionError(reply)


def statuses(replies: list[Reply]) -> list[Any]:
    """Return what each asker is told in one word."""
    return [answer(reply)["status"] for reply in replies]


def topics(reply: Reply) -> list[str]:
    """Return the topics of what goes out for a message, in order."""
    return [outbound.topic for outbound in reply.outbounds]


def lines(bench: Bench) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in bench.out.getvalue().splitlines()]
