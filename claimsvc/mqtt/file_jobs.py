"""Files of rows: a task reads and hashes each file, and its slices are executed between batches, one after each.

A file's message is acknowledged when its last slice is durable. A service that dies in between gets it again and
continues after the last slice that was committed: no row is done twice, and none is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from pydantic_core import from_json, to_json

from claimsvc import metrics
from claimsvc.core.bulk import (
    ImportAllowed,
    ImportCounts,
    ImportFinished,
    RowDone,
    RowsDone,
    RowStatus,
    file_imported,
)
from claimsvc.core.decision import Append, Change, Decision, Outcome, Put, Refused, Remove
from claimsvc.core.model import Import, ImportPart
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret
from claimsvc.dialects.message import Outbound, Rejected, Request, Sheet, Slice
from claimsvc.log import Logger
from claimsvc.mqtt.answers import Answers, kept_text
from claimsvc.mqtt.journal import shown
from claimsvc.service.execution import Service
from claimsvc.store.contract import StoreError

MOST = 4
"""Files in work at a time; each costs its size in memory."""
MOST_OF_ONE = 2
"""Files in work of one sender."""
BUSY_MS = 10_000
"""Milliseconds after which a sender may try again if too many files are in work."""
_PURPOSE = "import part"
_PROCESSORS = os.cpu_count() or 1
_NICENESS = 10

T = TypeVar("T")


class Link(Protocol):
    """The part of the session with the broker that files use."""

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker accepts a message of this size."""

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        """Publish without acknowledging anything."""

    def abandon(self, why: str) -> None:
        """Have everything unacknowledged delivered again."""


class Between(Protocol):
    """Has work done between two batches, while nothing else uses the store."""

    def __call__(self, work: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """Return the result of `work`."""


@dataclass(slots=True)
class Job:
    """A file in work: its request, several if it was sent again, and how far it is."""

    tenant: str
    requests: list[Request]
    state: Import
    notes: list[object]
    """The notes of each slice of a rehearsal, which stores nothing."""
    ends: list[Outbound]
    """The messages that make the broker end connections, one per slice. Sent again if they may not have arrived."""

    @property
    def request(self) -> Request:
        return self.requests[0]


class FileJobs:
    """Works through files. `send` answers and acknowledges a request."""

    def __init__(
        self,
        service: Service,
        answers: Answers,
        link: Link,
        *,
        between: Between,
        send: Callable[[Request], None],
        log: Logger,
    ) -> None:
        self._service = service
        self._answers = answers
        self._link = link
        self._between = between
        self._send = send
        self.log = log
        self._jobs: dict[tuple[str, str], Job] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._hashers = ThreadPoolExecutor(_PROCESSORS, "hashing", _lower_priority)
        """Threads of their own, so that the hash of a single password does not wait for a file's."""
        self._stopping = False

    def stop(self) -> None:
        """Finish the slices in hand; the next start continues the files."""
        self._stopping = True

    def close(self) -> None:
        """Release the threads, after the last task."""
        self._hashers.shutdown()

    def begin(self, request: Request, allowed: ImportAllowed) -> None:
        """Start a file that its sender may have worked through."""
        key = request.repeat_key
        if key is None or request.open_sheet is None:
            raise TypeError("this request carries no file")
        digest = self._service.sealing.digest(request.content)
        in_work = self._jobs.get(key)
        if in_work is not None and in_work.state.digest == digest:
            in_work.requests.append(request.without_content())
            if request.redelivered:
                self._link.tell(in_work.ends)  # the connection that carried them is gone
        elif in_work is not None:
            self._refuse(request, Refused(Reason.REQUEST_ID_REUSED))
        elif len(self._jobs) >= MOST or [lane for lane, _ in self._jobs].count(request.lane) >= MOST_OF_ONE:
            busy = Refused(Reason.RATE_LIMITED, "too many files are in work", retry_after_ms=BUSY_MS)
            self._refuse(request, busy)
        else:
            open_sheet = request.open_sheet
            fresh = Import(*key, digest, 0, 0, 0, 0, self._service.clock())
            job = self._jobs[key] = Job(allowed.tenant, [request.without_content()], fresh, [], [])
            task = asyncio.create_task(self._run(job, open_sheet), name=f"file {key[1]}")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _run(self, job: Job, open_sheet: Callable[[], Sheet]) -> None:
        try:
            await self._work(job, await asyncio.to_thread(open_sheet))
        except Rejected as rejected:
            self._refuse_all(job, rejected.refused)
        except StoreError as error:
            self._service.logins.note_all()  # those of the slices before
            self.log.error("import_failed", error=str(error), done=job.state.done)  # noqa: TRY400
            self._link.abandon("a slice of a file could not be committed")
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            self._service.logins.note_all()
            self.log.exception("internal_error", topic=shown(job.request.inbound.topic))
            self._refuse_all(job, Refused(Reason.INTERNAL))
        finally:
            self._put_away(job)

    def _put_away(self, job: Job) -> None:
        """Forget a file: a sender who sends it from now on begins anew."""
        if self._jobs.get(job.state.key) is job:
            del self._jobs[job.state.key]

    async def _work(self, job: Job, sheet: Sheet) -> None:
        if await self._is_answered(job):
            return
        earlier = await self._service.store.read_import(*job.state.key)
        if earlier is not None and earlier.digest != job.state.digest:
            raise Rejected(Reason.REQUEST_ID_REUSED)
        if earlier is not None:
            job.state = earlier
            job.ends = [end for _, ended in await self._parts(job) for end in self._answers.ends(ended)]
            self._link.tell(job.ends)  # the service that committed these slices may have died before it said so
        elif not self._link.fits(job.request.to_asker(bytes(sheet.answer_bytes))):
            # Before anything is done: what is shown once would be shown to nobody.
            raise Rejected(
                Reason.TOO_LARGE, "the broker does not accept so long an answer: send fewer rows at a time"
            )
        slices = sheet.slices(job.state.done)
        upcoming = asyncio.create_task(self._prepared(slices), name="slice")
        try:
            while part := await upcoming:
                upcoming = asyncio.create_task(self._prepared(slices), name="slice")
                refused = await self._slice(job, sheet, part)
                if refused is not None:
                    await self._finish(job, refused)
                    return
                if self._stopping:
                    return
        finally:
            await asyncio.gather(upcoming, return_exceptions=True)
        await self._finish(job, await self._finished(job, sheet))

    async def _is_answered(self, job: Job) -> bool:
        """Answer the senders of a file that was finished while this one waited."""
        for request in job.requests:  # more may come meanwhile
            recalled = await self._service.recall(request, job.state.digest)
            if recalled is None:
                return False
            request.decision = recalled
            self._answers.prepare(request, self._service.clock())
            self._send(request)
        return True

    async def _prepared(self, slices: Iterator[Slice]) -> Slice | None:
        """Return the next slice, read and with its secrets hashed, on as many processors as there are."""
        part = await asyncio.to_thread(next, slices, None)
        if part is not None:
            loop, secrets = asyncio.get_running_loop(), part.command.secrets
            shares = (secrets[first::_PROCESSORS] for first in range(_PROCESSORS))
            hashing = (loop.run_in_executor(self._hashers, self._harden, share) for share in shares if share)
            await asyncio.gather(*hashing)
        return part

    def _harden(self, secrets: Sequence[Secret]) -> None:
        for secret in secrets:
            self._service.sealing.harden(secret)

    async def _slice(self, job: Job, sheet: Sheet, part: Slice) -> Refused | None:
        """Execute a slice and publish how far the file is; return why its sender may not continue."""
        before, now_ms = job.state, self._service.clock()

        def progress_rows(decision: Decision) -> tuple[Change, ...]:
            outcome = decision.outcome
            if not isinstance(outcome, RowsDone):
                return ()
            sealed = self._service.sealing.seal(to_json([part.note(outcome), decision.ended]), _PURPOSE)
            return Put(_after(before, outcome, now_ms)), Put(ImportPart(*before.key, before.done, sealed))

        decision = await self._between(
            lambda: self._service.execute_slice(part.command, progress_rows, is_rehearsal=sheet.is_rehearsal)
        )
        outcome = decision.outcome
        if not isinstance(outcome, RowsDone):
            return outcome if isinstance(outcome, Refused) else Refused(Reason.INTERNAL)
        job.state = _after(before, outcome, now_ms)
        progress = sheet.encode_progress(_counts(job.state, sheet.rows))
        outbounds = [job.request.progress(progress)]
        if sheet.is_rehearsal:
            job.notes.append(part.note(outcome))
        else:
            job.ends += self._answers.ends(decision.ended)
            outbounds = [*self._answers.told(decision), *outbounds]
        self._link.tell(outbounds)
        return None

    async def _finished(self, job: Job, sheet: Sheet) -> ImportFinished:
        parts = job.notes if sheet.is_rehearsal else [note for note, _ in await self._parts(job)]
        return ImportFinished(_counts(job.state, sheet.rows), tuple(parts), is_rehearsal=sheet.is_rehearsal)

    async def _parts(self, job: Job) -> list[tuple[object, list[str]]]:
        """Return what was noted of each slice that is durable, and whose connections it ended."""
        sealed = await self._service.store.read_import_parts(*job.state.key)
        return await asyncio.to_thread(self._opened, sealed)

    def _opened(self, sealed: Sequence[str]) -> list[tuple[object, list[str]]]:
        opened = (from_json(self._service.sealing.open(each, _PURPOSE)) for each in sealed)
        return [(note, ended) for note, ended in opened]

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Keep the answer in place of the slices, then give it."""
        now_ms = self._service.clock()
        # The answer may have megabytes: encoded in a thread.
        (answer,) = await asyncio.to_thread(job.request.answer, outcome, now_ms)
        events: tuple[Outbound, ...] = ()
        if isinstance(outcome, ImportFinished) and not outcome.is_rehearsal:
            job.request.promises_login = True
            kept = await asyncio.to_thread(kept_text, job.request, outcome, answer, (), job.ends)
            remembered = await asyncio.to_thread(
                self._service.remember, job.state.key, job.state.digest, kept, now_ms
            )
            event = file_imported(job.tenant, job.request.inbound.caller, outcome.counts, now_ms)
            changes: list[Change] = [Remove(Import, job.state.key), Put(remembered), Append(event)]
            await self._between(lambda: self._service.end_file(changes))
            events = (self._answers.event(event),)
        elif job.state.done and not isinstance(outcome, ImportFinished):
            await self._between(lambda: self._service.end_file(()))  # the slices before stay
        self._put_away(job)  # a request that comes after this would not be among them
        for request in job.requests:
            request.decision, request.promises_login = Decision(outcome), True
            request.outbounds = (request.to_asker(answer.payload), *events)
            self._send(request)

    def _refuse_all(self, job: Job, refused: Refused) -> None:
        for request in job.requests:
            self._refuse(request, refused)

    def _refuse(self, request: Request, refused: Refused) -> None:
        self._answers.refuse(request, refused)
        self._send(request)


def _lower_priority() -> None:
    """Let a thread that hashes for minutes give way to the service, if the system can."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _after(state: Import, outcome: RowsDone, now_ms: int) -> Import:
    """Return how far a file is after a slice."""
    done = [result.status for result in outcome.results if isinstance(result, RowDone)]
    return replace(
        state,
        done=state.done + len(outcome.results),
        created=state.created + done.count(RowStatus.CREATED),
        updated=state.updated + done.count(RowStatus.UPDATED),
        failed=state.failed + len(outcome.results) - len(done),
        touched_at_ms=now_ms,
    )


def _counts(state: Import, rows: int) -> ImportCounts:
    return ImportCounts(rows, state.created, state.updated, state.failed)
