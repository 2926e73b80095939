"""Files of rows at work: a task each and a slice at a time, so that everybody else is answered in between.

A file's message is acknowledged when its last slice is durable. A service that died in between gets it again and
goes on behind the last slice that was committed: no row is done twice, and none is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

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
from claimsvc.dialects.exchange import Rejected, Request, Sheet, Slice
from claimsvc.pipeline.batches import Batches, Tools
from claimsvc.pipeline.hardening import harden
from claimsvc.pipeline.journal import Reply, shown
from claimsvc.store.database import StoreError
from claimsvc.wire import Outbound

MOST = 4
"""Files at work at a time; each costs its size in memory."""
MOST_OF_ONE = 2
"""Of these, one sender's: others find a place."""
BUSY_MS = 10_000
"""When to try again where that many are at work."""
_PURPOSE = "import part"
_PROCESSORS = os.cpu_count() or 1
_NICENESS = 10


class Teller(Protocol):
    """What a file at work needs of the session with the broker."""

    def fits(self, outbound: Outbound) -> bool:
        """Return whether the broker takes this message."""

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        """Publish what nobody waits for."""

    def abandon(self, why: str) -> None:
        """Have everything unacknowledged delivered again."""


@dataclass(slots=True)
class Job:
    """A file at work: who sent it, perhaps several times, and how far it is."""

    tenant: str
    requests: list[Request]
    state: Import
    notes: list[object]
    """Of a rehearsal, which leaves nothing in the store."""
    ends: list[Outbound]
    """What made the broker end connections, a message a slice: told again where it may not have got there."""

    @property
    def request(self) -> Request:
        return self.requests[0]


class Imports:
    """Works files through. `turn` is held by whoever decides and commits; `send` answers and acknowledges."""

    def __init__(
        self, tools: Tools, batches: Batches, turn: asyncio.Lock, link: Teller, send: Callable[[list[Reply]], None]
    ) -> None:
        self._tools = tools
        self._batches = batches
        self._turn = turn
        self._link = link
        self._send = send
        self._in_line = asyncio.Lock()
        """One slice of all files stands for the turn at a time: the others' requests come every second time."""
        self._jobs: dict[tuple[str, str], Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hashers = ThreadPoolExecutor(_PROCESSORS, "hashing", _stand_back)
        """Of their own: who sets one password waits for none of a file's."""
        self._stopping = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the slices in hand; the rest is for the next start."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        self._hashers.shutdown()

    def begin(self, reply: Reply) -> None:
        """Work a file through that its sender may have worked through."""
        request, allowed = reply.request, reply.outcome
        if not isinstance(allowed, ImportAllowed) or not request or not request.reading.open_sheet:
            raise TypeError("this reply begins no file")
        digest = self._tools.sealing.digest(request.reading.content)
        place = (request.lane, request.reading.request_id or "")
        at_work = self._jobs.get(place)
        if at_work is not None and at_work.state.digest == digest:
            at_work.requests.append(request.without_content())
            if request.inbound.redelivered:
                self._link.tell(at_work.ends)  # the connection they went out by is gone
        elif at_work is not None:
            self._refuse(request, Refused(Reason.REQUEST_ID_REUSED))
        elif len(self._jobs) >= MOST or [lane for lane, _ in self._jobs].count(request.lane) >= MOST_OF_ONE:
            busy = Refused(Reason.RATE_LIMITED, "as many files are at work as may be", retry_after_ms=BUSY_MS)
            self._refuse(request, busy)
        else:
            fresh = Import(*place, digest, 0, 0, 0, 0, self._tools.clock())
            job = self._jobs[place] = Job(allowed.tenant, [request.without_content()], fresh, [], [])
            task = asyncio.create_task(self._run(job, request.reading.open_sheet), name=f"import {place[1]}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job, open_sheet: Callable[[], Sheet]) -> None:
        try:
            await self._work(job, await asyncio.to_thread(open_sheet))
        except Rejected as rejected:
            self._refuse_all(job, rejected.refused)
        except StoreError as error:
            self._tools.logins.note_all()  # of the slices before
            self._tools.log.error("import_failed", error=str(error), done=job.state.done)  # noqa: TRY400
            self._link.abandon("a slice of a file could not be committed")
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            self._tools.logins.note_all()
            self._tools.log.exception("internal_error", topic=shown(job.request.inbound.topic))
            self._refuse_all(job, Refused(Reason.INTERNAL))
        finally:
            self._put_away(job)

    def _put_away(self, job: Job) -> None:
        """Let go of a file: whoever sends it from now on asks anew."""
        if self._jobs.get(job.state.key) is job:
            del self._jobs[job.state.key]

    async def _work(self, job: Job, sheet: Sheet) -> None:
        if await self._is_answered(job):
            return
        stood = await self._tools.store.read_import(*job.state.key)
        if stood is not None and stood.digest != job.state.digest:
            raise Rejected(Reason.REQUEST_ID_REUSED)
        if stood is not None:
            job.state = stood
            job.ends = [end for _, ended in await self._parts(job) for end in self._batches.ends(ended)]
            self._link.tell(job.ends)  # the service that did may have died before it did
        elif not self._link.fits(job.request.to_asker(bytes(sheet.answer_bytes))):
            # Before anything is done: what is told once would be told to nobody.
            raise Rejected(Reason.TOO_LARGE, "the broker does not take so long an answer: send fewer rows at a time")
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
        """Answer whoever sent a file that was finished while this one waited for its turn."""
        for request in job.requests:  # may grow meanwhile
            earlier = await self._batches.answered_before(request, job.state.digest)
            if earlier is None:
                return False
            self._send([earlier])
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

    def _harden(self, secrets: Sequence[Any]) -> None:
        for secret in secrets:
            harden(secret, self._tools.sealing)

    async def _slice(self, job: Job, sheet: Sheet, part: Slice) -> Refused | None:
        """Decide and commit a slice and say how far the file is; returns why its sender may not go on."""
        before, now_ms = job.state, self._tools.clock()

        def keep(decision: Decision) -> tuple[Change, ...]:
            outcome = decision.outcome
            if not isinstance(outcome, RowsDone):
                return ()
            sealed = self._tools.sealing.seal(to_json([part.note(outcome), decision.ended]), _PURPOSE)
            return Put(_behind(before, outcome, now_ms)), Put(ImportPart(*before.key, before.done, sealed))

        async with self._in_line, self._turn:
            worked = await self._batches.work(part, is_rehearsal=sheet.is_rehearsal, keep=keep)
        outcome = worked.outcome
        if not isinstance(outcome, RowsDone):
            return outcome if isinstance(outcome, Refused) else Refused(Reason.INTERNAL)
        job.state = _behind(before, outcome, now_ms)
        if sheet.is_rehearsal:
            job.notes.append(part.note(outcome))
        progress = sheet.encode_progress(_counts(job.state, sheet.rows))
        job.ends += worked.ends
        self._link.tell([*worked.outbounds, *worked.ends, job.request.progress(progress)])
        return None

    async def _finished(self, job: Job, sheet: Sheet) -> ImportFinished:
        parts = job.notes if sheet.is_rehearsal else [note for note, _ in await self._parts(job)]
        return ImportFinished(_counts(job.state, sheet.rows), tuple(parts), is_rehearsal=sheet.is_rehearsal)

    async def _parts(self, job: Job) -> list[tuple[object, list[str]]]:
        """Return what was noted of each slice that is durable, and whose connections it ended."""
        sealed = await self._tools.store.read_import_parts(*job.state.key)
        return await asyncio.to_thread(self._opened, sealed)

    def _opened(self, sealed: Sequence[str]) -> list[tuple[object, list[str]]]:
        opened = (from_json(self._tools.sealing.open(each, _PURPOSE)) for each in sealed)
        return [(note, ended) for note, ended in opened]

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Remember the answer in the place of the slices, then give it."""
        now_ms = self._tools.clock()
        # The answer may be megabytes: made beside the loop.
        answer = await asyncio.to_thread(job.request.answer, outcome, now_ms)
        if isinstance(outcome, ImportFinished) and not outcome.is_rehearsal:
            remembered = await asyncio.to_thread(
                self._batches.remembered, job.request, answer[0].payload, job.ends, job.state.digest, now_ms
            )
            event = file_imported(job.tenant, job.request.principal, outcome.counts, now_ms)
            changes: list[Change] = [Remove(Import, job.state.key), Put(remembered), Append(event)]
            async with self._turn:
                await self._batches.finish(changes)
            answer = (*answer, self._tools.dialects.event(event))
        elif job.state.done and not isinstance(outcome, ImportFinished):
            async with self._turn:
                await self._batches.finish(())  # the slices before stand
        self._put_away(job)  # one that comes behind these would not be among them
        for request in job.requests:
            outbounds = (request.to_asker(answer[0].payload), *answer[1:])
            self._send([Reply(request.inbound, request, outcome, outbounds, promises_login=True)])

    def _refuse_all(self, job: Job, refused: Refused) -> None:
        for request in job.requests:
            self._refuse(request, refused)

    def _refuse(self, request: Request, refused: Refused) -> None:
        outbounds = request.answer(refused, self._tools.clock())
        self._send([Reply(request.inbound, request, refused, outbounds)])


def _stand_back() -> None:
    """Let a thread that hashes for minutes leave the processor to whoever answers; where the system can."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _behind(state: Import, outcome: RowsDone, now_ms: int) -> Import:
    """Return how far a file is behind a slice."""
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
