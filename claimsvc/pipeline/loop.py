"""The batch loop: receive, load, decide, commit, answer, acknowledge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from claimsvc import metrics
from claimsvc.core.command import Command
from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.policy import DAY_MS
from claimsvc.core.reasons import Reason
from claimsvc.pipeline.batches import Batches, Decided, Read, Tools
from claimsvc.pipeline.imports import Imports
from claimsvc.pipeline.journal import Reply, record, record_flood
from claimsvc.store.database import StoreError
from claimsvc.wire import Inbound, Outbound

BATCH = 512
SMALL_BATCH = 128
"""A batch of fewer messages does not keep the answers of the one before waiting."""
SWEEP_EVERY_MS = 60_000
_PATIENCE_S = 30.0
_RETRY_S = 1.0
MOST_HELD = 500
"""Answers that wait for the broker's logins; each holds a place of what the broker may deliver."""


class Link(Protocol):
    """The pipeline's side of the session with the broker."""

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""

    @property
    def waiting(self) -> bool:
        """Whether a message has arrived that was not taken."""

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker takes this message."""

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        """Return what has arrived, at most `limit`; nothing after `patience_s` without a message."""

    def take(self, limit: int) -> list[Inbound]:
        """Return what has arrived by now, at most `limit`."""

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        """Publish the answers to a request, then acknowledge it; False where its connection is gone."""

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        """Publish what nobody waits for, where a connection stands."""

    def abandon(self, why: str) -> None:
        """Have everything unacknowledged delivered again."""


class Pipeline:
    """Moves batches from the broker through the store and their answers back.

    `events_days` is how long the audit trail is kept.
    """

    def __init__(self, tools: Tools, batches: Batches, events_days: int) -> None:
        self._tools = tools
        self._batches = batches
        self._events_days = events_days
        self._held: list[Reply] = []
        """Answered when the broker's logins have caught up: a login works when its answer is out."""
        self._next_sweep_ms = 0
        """On the steady clock."""
        self._stopping = False
        self._turn = asyncio.Lock()
        """Held from reading the store to the commit that follows: nobody decides on what another is changing."""

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stopping = True

    async def run(self, link: Link) -> None:
        """Handle batches until stopped, and work files through in between."""
        async with Imports(
            self._tools, self._batches, self._turn, link, lambda replies: self._send(replies, link)
        ) as self._imports:
            await self._run(link)

    async def _run(self, link: Link) -> None:
        """Handle batches. Whatever has arrived during a commit is the next batch.

        While the store commits a large batch, the answers of the one before are sent, and the next one is read; but
        nothing is loaded or decided before the commit is over.
        """
        read: list[Read] = []
        durable: list[Reply] = []
        while not self._stopping:
            if not read and not link.waiting:
                self._send(durable, link)
                durable = []
                read = self._batches.read(await link.receive(BATCH, self._patience_s))
            if len(read) < SMALL_BATCH:
                read += self._batches.read(link.take(BATCH - len(read)))
            if len(read) < SMALL_BATCH:
                self._send(durable, link)
                durable = []
            if not read:
                async with self._turn:
                    await self._between_batches(link)
                continue
            async with self._turn:
                decided = await self._batches.decide(read)
                committing = asyncio.create_task(self._committed(decided, link), name="commit")
                await asyncio.sleep(0)  # now the store's thread has it
                self._send(durable, link)
                read = self._batches.read(link.take(BATCH))
                done = await committing
            # What comes again keeps its place: nothing that was read behind it may be done before it.
            read, durable = (read, done) if done is not None else ([], [])
        self._send(durable, link)

    @property
    def logins_behind(self) -> bool:
        """Whether the broker's logins are not yet the store's."""
        return self._tools.logins.behind

    @property
    def _patience_s(self) -> float:
        logins = self._tools.logins
        return _RETRY_S if logins.behind else min(_PATIENCE_S, logins.due_in_s)

    async def _committed(self, decided: Decided, link: Link) -> list[Reply] | None:
        """Return the replies of a batch that is durable; None where it could not be made so, and comes again."""
        try:
            replies = await self._batches.commit(decided)
        except StoreError as error:
            metrics.REDONE.inc()
            self._tools.log.error("batch_failed", error=str(error), messages=len(decided.read))  # noqa: TRY400
            link.abandon("a batch could not be committed")
            return None
        await self._between_batches(link)
        return replies

    async def _between_batches(self, link: Link) -> None:
        await self._tools.logins.catch_up()
        await self._sweep(link)

    def _send(self, replies: list[Reply], link: Link) -> None:
        waiting, self._held = [*self._held, *replies], []
        flood: list[Reply] = []
        sent: list[float] = []
        for reply in waiting:
            if reply.begins_import:
                self._imports.begin(reply)
                continue
            if self._tools.logins.behind and reply.promises_login:
                if len(self._held) < MOST_HELD:
                    self._held.append(reply)
                    continue
                # Its repeat gets the first answer, later.
                reply = self._batches.broken(reply.inbound, reply.request)  # noqa: PLW2901
            fitting = self._fitting(reply, link)
            answered = link.answer(reply.inbound, fitting.outbounds)
            if answered:
                sent.append(reply.inbound.arrived)
            if fitting.is_flood:
                flood.append(fitting)
            else:
                record(fitting, self._tools.log, answered=answered)
        metrics.LATENCY.observe(sent)
        if flood:
            record_flood(flood, self._tools.log)

    def _fitting(self, reply: Reply, link: Link) -> Reply:
        """Say `too_large` where the broker would not take the answer."""
        request = reply.request
        if request is None or all(link.fits(each) for each in reply.outbounds if each.topic == request.answer_topic):
            return reply
        refused = Refused(Reason.TOO_LARGE, "the answer is larger than the broker takes")
        return replace(reply, outbounds=request.answer(refused, self._tools.clock()))

    # --- for the service itself

    async def handle(self, batch: Sequence[Inbound]) -> list[Reply]:
        """Decide and commit a batch, and return its replies. Raises StoreError: then it may be handled again."""
        return await self._batches.commit(await self._batches.decide(self._batches.read(batch)))

    async def execute(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit commands of the service's own. Raises StoreError."""
        outcomes = await self._batches.execute(commands)
        await self.catch_up()
        return outcomes

    async def catch_up(self) -> None:
        """Bring the broker's logins to the store's."""
        await self._tools.logins.catch_up()

    # --- between batches

    async def _sweep(self, link: Link) -> None:
        clock = self._tools.clock
        now_ms = clock.steady_ms()
        by_ms = clock.sweeping_ms()  # read often: so the clock sees for how long a step lasts
        if not link.connected or not self._next_sweep_ms:
            # What the broker is about to deliver again must find its first answer.
            self._next_sweep_ms = now_ms + SWEEP_EVERY_MS
        if by_ms is None or now_ms < self._next_sweep_ms:
            return
        try:
            await self._batches.cut()
            more = await self._tools.store.sweep(by_ms, by_ms - self._events_days * DAY_MS)
            self._next_sweep_ms = now_ms + (0 if more else SWEEP_EVERY_MS)
        except StoreError as error:
            self._next_sweep_ms = now_ms + SWEEP_EVERY_MS
            self._tools.log.error("sweep_failed", error=str(error))  # noqa: TRY400 - the text says all
