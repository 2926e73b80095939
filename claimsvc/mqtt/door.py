"""The loop: receive, read, execute, answer, acknowledge.

    session -- Inbound --> lanes -- Request --> service.execute -- Decision --> answers --> session

A request is acknowledged after its batch is durable and its answer was handed to the same connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from claimsvc import metrics
from claimsvc.core.bulk import ImportAllowed
from claimsvc.core.decision import Decision, Refused
from claimsvc.core.policy import DAY_MS
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Inbound, Outbound, Request
from claimsvc.log import Logger, now_iso
from claimsvc.mqtt.answers import Answers
from claimsvc.mqtt.file_jobs import FileJobs
from claimsvc.mqtt.journal import record, record_flood, shown
from claimsvc.mqtt.lanes import Lanes, unanswerable
from claimsvc.service.execution import Service
from claimsvc.service.rates import Rates
from claimsvc.store.contract import StoreError

BATCH = 512
SMALL_BATCH = 128
"""A batch of fewer messages does not keep the answers of the batch before waiting."""
DELETE_EVERY_MS = 60_000
_PATIENCE_S = 30.0
_RETRY_S = 1.0
MOST_HELD = 500
"""Answers that may wait for the broker's logins; each holds a place of what the broker may deliver."""

T = TypeVar("T")


class Link(Protocol):
    """The part of the session with the broker that the loop uses."""

    @property
    def connected(self) -> bool:
        """Return True if there is a connection."""

    @property
    def waiting(self) -> bool:
        """Return True if a message has arrived and may be taken."""

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker accepts a message of this size."""

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        """Return what has arrived, at most `limit`; nothing after `patience_s` without a message, or at `wake`."""

    def wake(self) -> None:
        """End a `receive` that waits."""

    def take(self, limit: int) -> list[Inbound]:
        """Return what has arrived by now, at most `limit`."""

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        """Publish the answers to a message, then acknowledge it; False if its connection is gone."""

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        """Publish without acknowledging anything; no-op without a connection."""

    def abandon(self, why: str) -> None:
        """Drop the connection, so that everything unacknowledged is delivered again."""


class Door:
    """Takes requests from the session to the service, and their answers back."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        service: Service,
        rates: Rates,
        log: Logger,
        events_days: int,
        end_sessions: Callable[[Sequence[str]], Outbound] | None,
    ) -> None:
        """`events_days` is how long the audit trail is kept; `end_sessions` as for `Answers`."""
        self._lanes = lanes
        self._service = service
        self._rates = rates
        self.log = log
        self._events_days = events_days
        self._answers = Answers(lanes, service.clock, end_sessions, log)
        self._held: list[Request] = []
        """Answered when the broker's logins have caught up: a login works when its answer is out."""
        self._between: deque[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = deque()
        """Work to do between batches, one piece after each batch."""
        self._queued = asyncio.Event()
        self._next_deletion_ms = 0
        """On the steady clock."""
        self._stopping = False

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._stopping = True

    async def run(self, link: Link) -> None:
        """Handle batches until stopped, and files of rows between them."""
        self._files = files = FileJobs(
            self._service,
            self._answers,
            link,
            between=lambda work: self._do_between(work, link),
            send=lambda request: self._send([request], link),
            log=self.log,
        )
        try:
            await self._handle_batches(link)
        finally:
            await self._drain(files)

    async def _handle_batches(self, link: Link) -> None:
        """Handle batches. Whatever has arrived during a commit is the next batch.

        While the store commits a large batch, the answers of the batch before are sent and the next one is read; but
        nothing is loaded or decided before the commit has ended.
        """
        read: list[Request] = []
        done: list[Request] = []
        while not self._stopping:
            if not read and not link.waiting and not self._between:
                self._send(done, link)
                done = []
                read = self.read(await link.receive(BATCH, self._patience_s))
            if len(read) < SMALL_BATCH:
                read += self.read(link.take(BATCH - len(read)))
            if len(read) < SMALL_BATCH:
                self._send(done, link)
                done = []
            if read:
                executing = asyncio.create_task(self._executed(read, link), name="batch")
                await asyncio.sleep(0)  # from here on the store's thread commits
                self._send(done, link)
                ahead = self.read(link.take(BATCH))
                # A batch that is delivered again keeps its place: nothing that was read after it may come first.
                read, done = (ahead, read) if await executing else ([], [])
            await self._between_batches(link)
        self._send(done, link)

    # --- in

    def read(self, inbounds: Iterable[Inbound]) -> list[Request]:
        """Return the request of each message; a message that breaks the service costs the others nothing."""
        clock = self._service.clock
        lag_ms, steady_ms = clock.lag_ms(), clock.steady_ms()
        return [self._read(_dated(inbound, lag_ms), steady_ms) for inbound in inbounds]

    def _read(self, inbound: Inbound, steady_ms: int) -> Request:
        try:
            wait_ms = 0 if inbound.redelivered else self._rates.wait_ms(self._lanes.lane_of(inbound.topic), steady_ms)
            if not wait_ms:
                return self._lanes.read(inbound)
            # The topic says where to answer; the rest may be large.
            request = self._lanes.read(replace(inbound, payload=b""))
            if request.lane:
                request.asked = Refused(Reason.RATE_LIMITED, retry_after_ms=wait_ms)
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            self.log.exception("internal_error", topic=shown(inbound.topic))
            return unanswerable(inbound, Reason.INTERNAL)
        return request

    async def _executed(self, requests: Sequence[Request], link: Link) -> bool:
        """Execute a batch; returns False if it could not be committed, and is delivered again."""
        try:
            await self.execute(requests)
        except StoreError as error:
            metrics.REDONE.inc()
            self.log.error("batch_failed", error=str(error), messages=len(requests))  # noqa: TRY400
            link.abandon("a batch could not be committed")
            return False
        return True

    async def execute(self, requests: Sequence[Request]) -> None:
        """Decide and commit a batch, and give each request what is to be published. Raises StoreError."""
        metrics.BATCH_SIZE.observe(len(requests))
        calls = [request for request in requests if not isinstance(request.asked, Refused)]
        decisions = await self._service.execute(calls, self._answers.keep) if calls else []
        for request, decision in zip(calls, decisions, strict=True):
            if request.decision is not decision:  # `keep` has prepared the others
                request.decision, request.outbounds = decision, ()
        now_ms = self._service.clock()
        for request in requests:
            if isinstance(request.asked, Refused):
                request.decision = Decision(request.asked)
            self._answers.prepare(request, now_ms)

    # --- out

    def _send(self, requests: Sequence[Request], link: Link) -> None:
        if not requests and not self._held:
            return
        waiting, self._held = [*self._held, *requests], []
        floods: list[Request] = []
        sent: list[float] = []
        at = now_iso()
        for request in waiting:
            outcome = request.decision.outcome if request.decision else None
            if isinstance(outcome, ImportAllowed):
                self._files.begin(request, outcome)
                continue
            if request.promises_login and self._service.logins.behind:
                if len(self._held) < MOST_HELD:
                    self._held.append(request)
                    continue
                self._answers.break_off(request)  # a repeat gets the first answer, later
            self._fit(request, link)
            answered = link.answer(request.inbound, request.outbounds)
            if answered:
                sent.append(request.inbound.arrived)
            if isinstance(outcome, Refused) and outcome.reason is Reason.RATE_LIMITED:
                floods.append(request)
            else:
                record(request, self.log, at, answered=answered)
        metrics.LATENCY.observe(sent)
        if floods:
            record_flood(floods, self.log)

    def _fit(self, request: Request, link: Link) -> None:
        """Replace an answer that the broker would not accept by `too_large`."""
        if all(link.fits(each) for each in request.outbounds if each.topic.startswith(request.lane)):
            return
        refused = Refused(Reason.TOO_LARGE, "the answer is larger than the broker accepts")
        request.outbounds = request.answer(refused, self._service.clock())

    # --- between batches

    async def _drain(self, files: FileJobs) -> None:
        """Finish the slices in hand."""
        files.stop()
        while files.tasks:
            await self._work_off()
            queued = asyncio.create_task(self._queued.wait(), name="queued")
            await asyncio.wait({*files.tasks, queued}, return_when=asyncio.FIRST_COMPLETED)
            queued.cancel()
        files.close()

    async def _do_between(self, work: Callable[[], Awaitable[T]], link: Link) -> T:
        """Have `work` done between two batches, and return its result: nothing else uses the store meanwhile."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._between.append((work, done))
        self._queued.set()
        link.wake()
        return await done

    async def _work_off(self) -> None:
        """Do one piece of the work that waits; no-op without any."""
        if not self._between:
            return
        work, done = self._between.popleft()
        if not self._between:
            self._queued.clear()
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            if not done.cancelled():
                done.set_exception(error)
        else:
            if not done.cancelled():
                done.set_result(result)

    async def _between_batches(self, link: Link) -> None:
        await self._work_off()
        await self._service.logins.catch_up()
        await self._delete_expired(link)

    @property
    def logins_behind(self) -> bool:
        """Return True if the broker does not have the store's logins yet."""
        return self._service.logins.behind

    @property
    def _patience_s(self) -> float:
        logins = self._service.logins
        return _RETRY_S if logins.behind else min(_PATIENCE_S, logins.due_in_s)

    async def _delete_expired(self, link: Link) -> None:
        clock = self._service.clock
        now_ms = clock.steady_ms()
        by_ms = clock.sweeping_ms()  # read often, so that the clock sees for how long a step lasts
        if not link.connected or not self._next_deletion_ms:
            # What the broker is about to deliver again must find its first answer.
            self._next_deletion_ms = now_ms + DELETE_EVERY_MS
        if by_ms is None or now_ms < self._next_deletion_ms:
            return
        try:
            more = await self._service.delete_expired(by_ms, by_ms - self._events_days * DAY_MS)
            self._next_deletion_ms = now_ms + (0 if more else DELETE_EVERY_MS)
        except StoreError as error:
            self._next_deletion_ms = now_ms + DELETE_EVERY_MS
            self.log.error("sweep_failed", error=str(error))  # noqa: TRY400


def _dated(inbound: Inbound, lag_ms: int) -> Inbound:
    """Return a message with the plugin's stamp, which is wall-clock time, converted to the service's clock."""
    stamp_ms = inbound.received_at_ms
    return inbound if not lag_ms or stamp_ms is None else replace(inbound, received_at_ms=stamp_ms + lag_ms)
