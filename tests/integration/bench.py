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

from claimsvc.app import door_of, open_service
from claimsvc.core.accounts import CreateCustomer, CreateUser
from claimsvc.core.decision import Change, Found
from claimsvc.core.model import Customer
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.message import Inbound, Request
from claimsvc.log import now_iso, open_log
from claimsvc.mqtt.journal import record
from claimsvc.service.execution import Service
from claimsvc.settings import Settings

CLAIM = "claimsvc/u/device/v1/devices/me/claim"
STATE = f"{CLAIM}/state"
KEY = b'{"secretKey":"PLANTED-KEY"}'


class Bench:
    """A service and its door with what they logged, and the messages tests send them."""

    def __init__(self, service: Service, settings: Settings, out: StringIO) -> None:
        self.service = service
        self.log = open_log("debug", "json", out)
        self.door = door_of(settings, service, self.log)
        self.path = settings.store.path
        self.out = out

    async def handle(self, *batch: Inbound) -> list[Request]:
        """Handle one batch and log it as the loop does."""
        requests = await self.tried(list(batch))
        for request in requests:
            record(request, self.log, now_iso(), answered=True)
        await asyncio.sleep(0)  # lines are written at the end of a turn of the loop
        return requests

    async def tried(self, batch: list[Inbound]) -> list[Request]:
        """Handle one batch without a log. Raises StoreError."""
        requests = self.door.read(batch)
        await self.door.execute(requests)
        return requests

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
    async with open_service(settings, open_log("debug", "json", out)) as service:
        for name in ("alice", "bob"):
            (made,) = await service.execute_own([CreateCustomer("claimsvc", name)])
            assert isinstance(made, Found)
            assert isinstance(made.item, Customer)
            await service.execute_own([user(name, made.item.id, "customer")])
        await service.execute_own([user("root", None, "admin")])
        yield Bench(service, settings, out)


def user(name: str, customer: str | None, role: str) -> CreateUser:
    """Return the command that makes a user."""
    return CreateUser("claimsvc", name, customer, (), (role,), Secret(SecretKind.PASSWORD, None), None)


def message(topic: str, payload: bytes = b"", **fields: Any) -> Inbound:
    """Return a message as the broker hands it over."""
    return Inbound(topic, payload, 1, 1, 1, time.monotonic(), **fields)


def call(who: str, number: str, method: str, path: str, body: bytes = b"", **fields: Any) -> Inbound:
    """Return a REST request."""
    return message(f"claimsvc/u/{who}/request/{number}/{method}/{path}", body, **fields)


def claim(number: str, body: bytes = KEY, who: str = "alice", **fields: Any) -> Inbound:
    """Return a claim of the device `device`."""
    return call(who, number, "POST", "api/customer/device/device/claim", body, **fields)


def release(number: str, who: str = "alice") -> Inbound:
    """Return a release of it."""
    return call(who, number, "DELETE", "api/customer/device/device/claim")


def answer(reply: Request) -> Any:
    """Return what the asker is told."""
    for outbound in reply.outbounds:
        is_notice = outbound.topic == STATE or outbound.topic.endswith("/s/dcr")
        if not is_notice and not outbound.topic.startswith("claimsvc/events/"):
            return json.loads(outbound.payload)
    raise AssertionError(reply)


def statuses(replies: list[Request]) -> list[Any]:
    """Return what each asker is told in one word."""
    return [answer(reply)["status"] for reply in replies]


def topics(reply: Request) -> list[str]:
    """Return the topics of what goes out for a message, in order."""
    return [outbound.topic for outbound in reply.outbounds]


def lines(bench: Bench) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in bench.out.getvalue().splitlines()]


def changes(request: Request) -> tuple[Change, ...]:
    """Return what a request changed."""
    return request.decision.changes if request.decision else ()
