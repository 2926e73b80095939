"""A batch from bytes to durable replies: read, load, decide, commit."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from claimsvc import metrics
from claimsvc.clock import Clock
from claimsvc.core.command import Command
from claimsvc.core.decision import Change, Decision, Listing, Outcome, Refused
from claimsvc.core.facts import Facts
from claimsvc.core.inventory import ClaimingQuestion
from claimsvc.core.model import Answered
from claimsvc.core.policy import Given, Policy
from claimsvc.core.provisioning import ProfileListing
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import RequestListing
from claimsvc.core.rules import decide, permitted
from claimsvc.core.secrets import LOGIN_KINDS, Secret, SecretKind
from claimsvc.dialects.exchange import Dialects, Request, Slice
from claimsvc.immutable import immutable
from claimsvc.log import Logger
from claimsvc.pipeline.hardening import harden
from claimsvc.pipeline.journal import Reply, count_events, shown
from claimsvc.pipeline.login_sync import LoginSync
from claimsvc.pipeline.message import LISTINGS, Replies
from claimsvc.pipeline.rates import Rates
from claimsvc.sealing import Sealing, new_id, random_token
from claimsvc.store.database import StoreError
from claimsvc.store.repository import Repository
from claimsvc.wire import Inbound, Outbound


@immutable
class Read:
    """A message, and the request it makes; None where it makes none, or reading it broke us."""

    inbound: Inbound
    request: Request | None
    broken: bool = False


@immutable
class Decided:
    """A batch's replies with the changes they stand on, or what went wrong before there were any."""

    read: Sequence[Read]
    replies: Sequence[Reply]
    error: Exception | None = None

    def changes(self) -> list[Change]:
        """Return what must be durable before a reply is sent. Raises what went wrong."""
        if self.error is not None:
            raise self.error
        return [change for reply in self.replies for change in reply.changes]


@immutable
class Worked:
    """A slice of a file that is durable, whom to tell of it, and which connections end."""

    outcome: Outcome
    outbounds: tuple[Outbound, ...] = ()
    ends: tuple[Outbound, ...] = ()


@immutable(kw_only=True)
class Tools:
    """What a batch is handled with."""

    dialects: Dialects
    store: Repository
    sealing: Sealing
    logins: LoginSync
    end_sessions: Callable[[Sequence[str]], Outbound] | None
    """Returns the message that makes the broker end the connections of principals, where it can."""
    rates: Rates
    log: Logger
    clock: Clock


class Batches:
    """Turns messages into durable changes and replies, many at a time."""

    def __init__(self, tools: Tools, policy: Policy, repeat_window_ms: int) -> None:
        self._tools = tools
        self._policy = policy
        self._repeat_window_ms = repeat_window_ms
        self._replies = Replies(tools.dialects, tools.sealing, repeat_window_ms, tools.end_sessions)

    def read(self, inbounds: Iterable[Inbound]) -> list[Read]:
        """Return what each message asks, its claim keys hashed; one that breaks us costs the others nothing."""
        clock = self._tools.clock
        lag_ms, steady_ms = clock.lag_ms(), clock.steady_ms()
        return [self._read(_dated(inbound, lag_ms), steady_ms) for inbound in inbounds]

    async def cut(self) -> None:
        """End what would last longer than it can: a clock that was ahead has written it. Raises StoreError."""
        now_ms = self._tools.clock()
        await self._tools.store.cut(now_ms + self._repeat_window_ms, now_ms + self._policy.reissue_window_ms)

    def _read(self, inbound: Inbound, steady_ms: int) -> Read:
        try:
            dialects = self._tools.dialects
            wait_ms = 0
            if not inbound.redelivered:  # that it comes again is the broker's doing, or ours
                wait_ms = self._tools.rates.wait_ms(dialects.lane_of(inbound.topic), steady_ms)
            if wait_ms:
                # Who is to be answered stands in the topic. The rest is not looked at: it may be large.
                request = dialects.decode(replace(inbound, payload=b""))
                refused = Refused(Reason.RATE_LIMITED, retry_after_ms=wait_ms)
                return Read(inbound, request.refused(refused) if request else None)
            request = dialects.decode(inbound)
            if request is not None and request.command is not None:
                for secret in request.command.secrets:
                    # Passwords take milliseconds: later, and only of those who may set one. Tokens likewise.
                    if secret.kind not in LOGIN_KINDS:
                        harden(secret, self._tools.sealing)
        except Exception:
            self._tools.log.exception("internal_error", topic=shown(inbound.topic))
            return Read(inbound, None, broken=True)
        return Read(inbound, request)

    async def decide(self, read: Sequence[Read]) -> Decided:
        """Decide a batch on what is committed. What goes wrong is for `commit` to tell."""
        metrics.BATCH_SIZE.observe(len(read))
        try:
            asked = [each.request for each in read if each.request and each.request.command]
            commands = [request.command for request in asked if request.command]
            facts = await self._load(commands, _request_ids(asked))
            given = await self._given(commands, facts)
            return Decided(read, [self._reply(each, facts, given) for each in read])
        except Exception as error:  # noqa: BLE001 - raised again by `commit`
            return Decided(read, (), error)

    def _reply(self, read: Read, facts: Facts, given: Given) -> Reply:
        if read.broken:
            return self.broken(read.inbound, None)
        return self._replies.reply(read.inbound, read.request, facts, given)

    async def commit(self, decided: Decided) -> list[Reply]:
        """Make a batch durable and return its replies. Raises StoreError: then it may be handled again.

        A message that breaks us is found by halving. It is answered `internal`, costs the others nothing, and
        does not come back.
        """
        read = decided.read
        try:
            await self._make_durable(decided.changes())
        except StoreError:
            raise
        except Exception:
            if len(read) == 1:
                self._tools.log.exception("internal_error", topic=shown(read[0].inbound.topic))
                return [self.broken(read[0].inbound, read[0].request)]
            middle = len(read) // 2
            first = await self.commit(await self.decide(read[:middle]))
            return [*first, *await self.commit(await self.decide(read[middle:]))]
        return [await self._filled(reply) for reply in decided.replies]

    async def work(self, part: Slice, *, is_rehearsal: bool, keep: Callable[[Decision], Sequence[Change]]) -> Worked:
        """Decide a slice of a file, its secrets hashed already, and commit it with what `keep` makes of that.

        A rehearsal commits nothing. Raises StoreError.
        """
        facts = await self._load([part.command], ())
        given = await self._given([part.command], facts)
        decision = decide(part.command, facts, given)
        if is_rehearsal:
            return Worked(decision.outcome)
        await self._apply([*decision.changes, *keep(decision)])
        return Worked(decision.outcome, self._replies.told(decision), self._replies.ends(decision.ended))

    def ends(self, principals: Sequence[str]) -> tuple[Outbound, ...]:
        """Return what makes the broker end the connections of principals, where it can."""
        return self._replies.ends(principals)

    async def answered_before(self, request: Request, digest: str) -> Reply | None:
        """Return the first answer to a file's request id again, where there is one. Raises StoreError."""
        facts = await self._load((), _request_ids([request]))
        return self._replies.answered_before(request, digest, facts, self._tools.clock())

    def remembered(
        self, request: Request, payload: bytes, ends: Sequence[Outbound], digest: str, now_ms: int
    ) -> Answered:
        """Return a file's answer as it is kept for a repeat, with what a redelivery tells the broker again."""
        return self._replies.remembered(request, payload, ends, digest, now_ms)

    async def finish(self, changes: Sequence[Change]) -> None:
        """Commit what ends a file. The logins of all its slices go to the broker together. Raises StoreError."""
        await self._make_durable(changes)
        self._tools.logins.note_all()
        await self._tools.logins.catch_up()  # nobody else would before the next message comes

    async def execute(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit commands of the service's own. Raises StoreError."""
        for command in commands:
            for secret in command.secrets:
                harden(secret, self._tools.sealing)
        facts = await self._load(commands, ())
        given = await self._given(commands, facts)
        decisions = [decide(command, facts, given) for command in commands]
        await self._make_durable([change for decision in decisions for change in decision.changes])
        return [decision.outcome for decision in decisions]

    def broken(self, inbound: Inbound, request: Request | None) -> Reply:
        """Return the reply to a message that broke us."""
        metrics.INTERNAL_ERRORS.inc()
        outcome = Refused(Reason.INTERNAL)
        try:
            outbounds = request.answer(outcome, self._tools.clock()) if request else ()
        except Exception:
            self._tools.log.exception("internal_error", topic=shown(inbound.topic))
            return Reply(inbound, None, outcome)
        return Reply(inbound, request, outcome, outbounds)

    async def _load(self, commands: Sequence[Command], request_ids: Iterable[tuple[str, str]]) -> Facts:
        """Load what the rules must see, and hash the passwords of those who may set one: milliseconds each.

        A token that somebody chose is looked up by its hash, so with one of those the facts are loaded anew.
        """
        keys = list(request_ids)
        facts = await self._tools.store.load(commands, self._policy, keys)
        late = [
            secret
            for command in commands
            if command.secrets and permitted(command, facts) and command.is_authentic(facts)
            for secret in command.secrets
            if not secret.is_hardened
        ]
        has_chosen_token = any(secret.kind is SecretKind.ACCESS_TOKEN and secret.text is not None for secret in late)
        await self._harden(late)
        return await self._tools.store.load(commands, self._policy, keys) if has_chosen_token else facts

    async def _harden(self, secrets: Sequence[Secret]) -> None:
        passwords = [secret for secret in secrets if secret.kind is SecretKind.PASSWORD]
        for secret in secrets:
            if secret.kind is not SecretKind.PASSWORD:
                harden(secret, self._tools.sealing)
        if passwords:
            await asyncio.gather(*(asyncio.to_thread(harden, secret, self._tools.sealing) for secret in passwords))

    async def _given(self, commands: Sequence[Command], facts: Facts) -> Given:
        foreign: frozenset[str] = frozenset()
        if any(command.needs_foreign_logins(facts) for command in commands):
            foreign = await self._tools.logins.foreign()
        now_ms = self._tools.clock()
        return Given(self._policy, now_ms, new_id, self._new_login, random_token, self._holds, foreign)

    def _holds(self, sealed: str, secret: Secret) -> bool:
        return hmac.compare_digest(self._tools.sealing.open(sealed, secret.kind.value), (secret.text or "").encode())

    def _new_login(self, kind: SecretKind) -> Secret:
        secret = Secret(kind, None)
        harden(secret, self._tools.sealing)
        return secret

    async def _make_durable(self, changes: Sequence[Change]) -> None:
        await self._apply(changes)
        self._tools.logins.note(changes)

    async def _apply(self, changes: Sequence[Change]) -> None:
        with metrics.COMMIT_SECONDS.time():
            await self._tools.store.apply(changes)
        count_events(changes)

    async def _filled(self, reply: Reply) -> Reply:
        """Fill a listing, or the like, from what is committed by now."""
        if reply.request is None or not isinstance(reply.outcome, LISTINGS):
            return reply
        try:
            page = await self._page(reply.outcome)
            answer = reply.request.answer(page, self._tools.clock())
        except Exception:
            self._tools.log.exception("internal_error", topic=shown(reply.inbound.topic))
            return self.broken(reply.inbound, reply.request)
        return replace(reply, outcome=page, outbounds=answer)

    async def _page(self, listing: Listing | RequestListing | ProfileListing | ClaimingQuestion) -> Outcome:
        store = self._tools.store
        if isinstance(listing, Listing):
            return await store.read(listing)
        if isinstance(listing, RequestListing):
            return await store.read_requests(listing)
        if isinstance(listing, ClaimingQuestion):
            return await store.read_claiming(listing)
        return await store.read_profiles(listing)


def _dated(inbound: Inbound, lag_ms: int) -> Inbound:
    """Return a message with the plugin's stamp, which is wall-clock time, brought to the service's clock."""
    stamp_ms = inbound.received_at_ms
    return inbound if not lag_ms or stamp_ms is None else replace(inbound, received_at_ms=stamp_ms + lag_ms)


def _request_ids(requests: Iterable[Request]) -> list[tuple[str, str]]:
    return [
        (request.lane, request.reading.request_id) for request in requests if request.reading.request_id is not None
    ]
