"""The batch loop: receive, load, decide, commit, answer, acknowledge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from claimsvc import metrics
from claimsvc.core.commands.base import Command
from claimsvc.core.decide import decide, permitted
from claimsvc.core.facts import Facts
from claimsvc.core.outcomes import (
    Change,
    Listing,
    Outcome,
    Refused,
)
from claimsvc.core.policy import DAY_MS, Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import SecretKind
from claimsvc.dialects.exchange import Dialects, Request
from claimsvc.log import Logger
from claimsvc.pipeline.hardening import harden
from claimsvc.pipeline.journal import Reply, record, shown
from claimsvc.pipeline.message import Replies, changes_logins
from claimsvc.sealing import Sealing, new_id
from claimsvc.store.database import StoreError
from claimsvc.store.repository import Repository
from claimsvc.wire import Inbound, Outbound

BATCH = 512
SWEEP_EVERY_MS = 60_000
_PATIENCE_S = 30.0
_RETRY_S = 1.0
_RETRY_MS, _RETRY_MOST_MS = 500, 60_000
MOST_HELD = 500
"""Answers that wait for the broker's logins; each holds a place of what the broker may deliver."""


class Link(Protocol):
    """The pipeline's side of the session with the broker."""

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker takes this message."""

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        """Return what has arrived, at most `limit`; nothing after `patience_s` without a message."""

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        """Publish the answers to a request, then acknowledge it; False where its connection is gone."""

    def abandon(self, why: str) -> None:
        """Have everything unacknowledged delivered again."""


class Logins(Protocol):
    """Who makes the broker admit the logins of the store."""

    async def sync(self) -> str | None:
        """Bring the broker's logins to the store's; returns what went wrong, or None. Raises StoreError."""

    async def foreign(self) -> frozenset[str]:
        """Return the logins the broker admits that are not the store's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the pipeline works with. `clock` gives epoch milliseconds."""

    dialects: Dialects
    store: Repository
    sealing: Sealing
    logins: Logins | None
    log: Logger
    clock: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The operator's choices the pipeline needs."""

    policy: Policy
    repeat_window_ms: int
    events_days: int


class Pipeline:
    """Turns batches of messages into durable changes and answers."""

    def __init__(self, tools: Tools, choices: Choices) -> None:
        self._tools = tools
        self._choices = choices
        self._replies = Replies(tools.dialects, tools.sealing, choices.repeat_window_ms)
        self._logins_behind = tools.logins is not None
        """From the start: the last run may have died between its commit and the broker's logins."""
        self._held: list[Reply] = []
        """Answered when the broker's logins have caught up: a login works when its answer is out."""
        self._next_sync_ms = 0
        self._failed_syncs = 0
        self._next_sweep_ms = 0
        self._stopping = False

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stopping = True

    async def run(self, link: Link) -> None:
        """Handle batches until stopped. Whatever has arrived during a commit is the next batch."""
        while not self._stopping:
            batch = await link.receive(BATCH, _RETRY_S if self._logins_behind else _PATIENCE_S)
            try:
                replies = await self.handle(batch) if batch else []
            except StoreError as error:
                metrics.REDONE.inc()
                self._tools.log.error("batch_failed", error=str(error), messages=len(batch))  # noqa: TRY400
                link.abandon("a batch could not be committed")
                continue
            await self.catch_up()
            self._send(replies, link)
            await self._sweep(link)

    def _send(self, replies: list[Reply], link: Link) -> None:
        waiting, self._held = [*self._held, *replies], []
        for reply in waiting:
            if self._logins_behind and reply.promises_login:
                if len(self._held) < MOST_HELD:
                    self._held.append(reply)
                    continue
                reply = self._broken(reply.inbound)  # noqa: PLW2901 - its repeat gets the first answer, later
            fitting = self._fitting(reply, link)
            record(fitting, self._tools.log, answered=link.answer(reply.inbound, fitting.outbounds))

    def _fitting(self, reply: Reply, link: Link) -> Reply:
        """Say `too_large` where the broker would not take the answer."""
        request = reply.request
        if request is None or all(link.fits(each) for each in reply.outbounds if each.topic == request.answer_topic):
            return reply
        refused = Refused(Reason.TOO_LARGE, "the answer is larger than the broker takes")
        return replace(reply, outbounds=(request.answer(refused, self._tools.clock()),))

    # --- a batch

    async def handle(self, batch: Sequence[Inbound]) -> list[Reply]:
        """Decide and commit a batch, and return its answers. Raises StoreError: then it may be handled again."""
        metrics.BATCH_SIZE.observe(len(batch))
        return [await self._filled(reply) for reply in await self._commit_or_halve(batch)]

    async def execute(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit commands of the service's own. Raises StoreError."""
        facts = await self._load(commands, ())
        given = await self._given(commands)
        decisions = [decide(command, facts, given) for command in commands]
        await self._make_durable([change for decision in decisions for change in decision.changes])
        await self.catch_up()
        return [decision.outcome for decision in decisions]

    async def _commit_or_halve(self, batch: Sequence[Inbound]) -> list[Reply]:
        """Commit a batch; a message that breaks us is found by halving.

        It is answered `internal`, costs the others nothing, and does not come back.
        """
        try:
            return await self._commit(batch)
        except StoreError:
            raise
        except Exception:
            if len(batch) == 1:
                self._tools.log.exception("internal_error", topic=shown(batch[0].topic))
                return [self._broken(batch[0])]
        middle = len(batch) // 2
        return [*await self._commit_or_halve(batch[:middle]), *await self._commit_or_halve(batch[middle:])]

    async def _commit(self, batch: Sequence[Inbound]) -> list[Reply]:
        read = [(inbound, self._tools.dialects.decode(inbound)) for inbound in batch]
        asked = [request for _, request in read if request and request.command]
        commands = [request.command for request in asked if request.command]
        facts = await self._load(commands, _request_ids(asked))
        given = await self._given(commands)
        replies = [self._replies.reply(inbound, request, facts, given) for inbound, request in read]
        await self._make_durable([change for reply in replies for change in reply.changes])
        return replies

    async def _load(self, commands: Sequence[Command], request_ids: Iterable[tuple[str, str]]) -> Facts:
        """Harden what clients told us in confidence and load what the rules must see.

        Passwords take milliseconds each, so only those are hashed whose sender may set one.
        """
        sealing = self._tools.sealing
        for command in commands:
            for secret in command.secrets:
                if secret.kind is not SecretKind.PASSWORD:
                    harden(secret, sealing)
        facts = await self._tools.store.load(commands, self._choices.policy, request_ids)
        slow = [
            secret
            for command in commands
            if permitted(command, facts)
            for secret in command.secrets
            if secret.kind is SecretKind.PASSWORD
        ]
        if slow:
            await asyncio.gather(*(asyncio.to_thread(harden, secret, sealing) for secret in slow))
        return facts

    async def _given(self, commands: Sequence[Command]) -> Given:
        foreign: frozenset[str] = frozenset()
        if self._tools.logins and any(
            secret.kind is not SecretKind.CLAIM_KEY for command in commands for secret in command.secrets
        ):
            foreign = await self._tools.logins.foreign()
        return Given(self._choices.policy, self._tools.clock(), new_id, foreign)

    async def _make_durable(self, changes: Sequence[Change]) -> None:
        with metrics.COMMIT_SECONDS.time():
            await self._tools.store.apply(changes)
        if self._tools.logins is not None:
            self._logins_behind = self._logins_behind or any(map(changes_logins, changes))

    async def _filled(self, reply: Reply) -> Reply:
        """Fill a listing from what is committed by now."""
        if reply.request is None or not isinstance(reply.outcome, Listing):
            return reply
        try:
            page = await self._tools.store.read(reply.outcome)
            answer = reply.request.answer(page, self._tools.clock())
        except Exception:
            self._tools.log.exception("internal_error", topic=shown(reply.inbound.topic))
            return self._broken(reply.inbound)
        return replace(reply, outcome=page, outbounds=(answer,))

    def _broken(self, inbound: Inbound) -> Reply:
        outcome = Refused(Reason.INTERNAL)
        try:
            request = self._tools.dialects.decode(inbound)
            outbounds = (request.answer(outcome, self._tools.clock()),) if request else ()
        except Exception:
            self._tools.log.exception("internal_error", topic=shown(inbound.topic))
            return Reply(inbound, None, outcome)
        return Reply(inbound, request, outcome, outbounds)

    # --- between batches

    async def catch_up(self) -> None:
        """Bring the broker's logins to the store's; what fails is tried again, ever more rarely.

        A reload that hangs holds everybody up while it is tried.
        """
        now_ms = self._tools.clock()
        if not self._logins_behind or now_ms < self._next_sync_ms:
            return
        error = await self._sync_logins()
        self._logins_behind = error is not None
        self._failed_syncs = self._failed_syncs + 1 if error else 0
        if error:
            self._next_sync_ms = now_ms + min(_RETRY_MS << min(self._failed_syncs, 16), _RETRY_MOST_MS)
            self._tools.log.error("logins_behind", error=error)

    async def _sync_logins(self) -> str | None:
        """Return what went wrong, or None."""
        try:
            return await self._tools.logins.sync() if self._tools.logins else None
        except StoreError as error:
            return str(error)

    async def _sweep(self, link: Link) -> None:
        now_ms = self._tools.clock()
        if not link.connected or not self._next_sweep_ms:
            # What the broker is about to deliver again must find its first answer.
            self._next_sweep_ms = now_ms + SWEEP_EVERY_MS
        if now_ms < self._next_sweep_ms:
            return
        try:
            more = await self._tools.store.sweep(now_ms, now_ms - self._choices.events_days * DAY_MS)
            self._next_sweep_ms = now_ms + (0 if more else SWEEP_EVERY_MS)
        except StoreError as error:
            self._next_sweep_ms = now_ms + SWEEP_EVERY_MS
            self._tools.log.error("sweep_failed", error=str(error))  # noqa: TRY400 - the text says all


def _request_ids(requests: Iterable[Request]) -> list[tuple[str, str]]:
    return [
        (request.lane, request.reading.request_id) for request in requests if request.reading.request_id is not None
    ]
