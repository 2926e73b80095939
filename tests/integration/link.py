"""The broker's side of a link to the pipeline, without a broker: what is delivered, answered, told, abandoned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from claimsvc.dialects.message import Inbound, Outbound
from tests.integration.bench import Bench

PATIENCE_S = 20.0


class Broker:
    """The broker's side of a link: hands messages out, and again what was not acknowledged when it is abandoned."""

    connected = True

    def __init__(self) -> None:
        self.waiting_messages: list[Inbound] = []
        self.unacknowledged: list[Inbound] = []
        self.answers: list[Any] = []
        self.told: list[Outbound] = []
        self._arrived = asyncio.Event()
        self._changed = asyncio.Condition()

    def deliver(self, *messages: Inbound) -> None:
        self.waiting_messages += messages
        self.unacknowledged += messages
        self._arrived.set()

    @property
    def waiting(self) -> bool:
        return bool(self.waiting_messages)

    def fits(self, outbound: Outbound) -> bool:
        return True

    def take(self, limit: int) -> list[Inbound]:
        taken, self.waiting_messages = self.waiting_messages[:limit], self.waiting_messages[limit:]
        return taken

    def wake(self) -> None:
        self._arrived.set()

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        if not self.waiting:
            self._arrived.clear()
            async with asyncio.timeout(PATIENCE_S):
                await self._arrived.wait()
        return self.take(limit)

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        if inbound not in self.unacknowledged:
            return False
        self.unacknowledged.remove(inbound)
        self.answers += [json.loads(each.payload) for each in outbounds if "/response" in each.topic]
        if not self.unacknowledged:
            asyncio.get_running_loop().call_soon(self.done.set)
        return True

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        self.told += outbounds

    def abandon(self, why: str) -> None:
        again = [replace(each, redelivered=True) for each in self.unacknowledged]
        self.waiting_messages, self.unacknowledged = [], []
        asyncio.get_running_loop().call_soon(self.deliver, *again)

    @property
    def done(self) -> asyncio.Event:
        return self.__dict__.setdefault("_done", asyncio.Event())  # type: ignore[no-any-return]


async def until_answered(bench: Bench, link: Broker) -> None:
    """Run the loop until everything that was delivered is answered."""
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.door.run(link))
        await link.done.wait()
        running.cancel()
