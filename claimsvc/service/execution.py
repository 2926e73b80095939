"""Executes batches of calls: load what they need, decide, commit, and remember first answers.

One batch is one transaction. Nothing is told to anybody before it is durable.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from claimsvc import metrics
from claimsvc.clock import Clock
from claimsvc.core.command import Command
from claimsvc.core.credentials import FoundCredential
from claimsvc.core.decision import Append, Change, Decision, Outcome, Put, Query, Refused, Repeated
from claimsvc.core.facts import Facts
from claimsvc.core.model import Answered
from claimsvc.core.policy import HOUR_MS, Given, Policy
from claimsvc.core.provisioning import Provisioned
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import CredentialsGiven
from claimsvc.core.rules import decide, permitted, recall
from claimsvc.core.secrets import LOGIN_KINDS, Secret, SecretKind
from claimsvc.log import Logger
from claimsvc.sealing import Sealing, new_id, random_token
from claimsvc.service.login_sync import LoginSync, changes_logins
from claimsvc.service.rates import Rates
from claimsvc.store.contract import Store, StoreError

NOTED_PER_HOUR = 20
"""Refusals of one caller that only write an audit event; more would fill the store."""
SHOW_LOGINS = (FoundCredential, CredentialsGiven, Provisioned)
"""Outcomes that may show the secret of a login."""


class Call(Protocol):
    """One command, with what makes it the repeat of an earlier call."""

    @property
    def command(self) -> Command:
        """The command, which names its caller."""

    @property
    def repeat_key(self) -> tuple[str, str] | None:
        """The caller's address and request id: a repeat gets the first answer again. None if there is no id."""

    @property
    def content(self) -> bytes:
        """The content that a repeat must have."""

    @property
    def redelivered(self) -> bool:
        """True if an earlier run may have executed this message."""


C = TypeVar("C", bound=Call)


class Service:
    """Executes calls. One batch at a time: the caller awaits each method before it calls the next."""

    def __init__(  # noqa: PLR0913 - each is named
        self,
        *,
        store: Store,
        sealing: Sealing,
        policy: Policy,
        logins: LoginSync,
        clock: Clock,
        repeat_window_ms: int,
        log: Logger,
    ) -> None:
        self.store = store
        self.sealing = sealing
        self.logins = logins
        self.clock = clock
        self._policy = policy
        self._repeat_window_ms = repeat_window_ms
        self._noting = Rates(NOTED_PER_HOUR / 60, HOUR_MS)
        self.log = log

    async def execute(self, calls: Sequence[C], keep: Callable[[C, Decision, int], str]) -> list[Decision]:
        """Decide and commit a batch; return the decisions, with listings filled from what is committed.

        `keep` returns the text that a repeat of the call gets as `Repeated`; it is called before the commit.
        Raises StoreError: then nothing is written, and the batch may be executed again. A call that breaks the
        service is found by halving the batch: it is answered `internal` and costs the others nothing.
        """
        try:
            decisions = await self._commit_batch(calls, keep)
        except StoreError:
            raise
        except Exception:
            if len(calls) == 1:
                self.log.exception("internal_error", **_about(calls[0].command))
                return [_broken()]
            middle = len(calls) // 2
            first = await self.execute(calls[:middle], keep)
            return [*first, *await self.execute(calls[middle:], keep)]
        return [await self._filled(call, decision) for call, decision in zip(calls, decisions, strict=True)]

    async def execute_own(self, commands: Sequence[Command]) -> list[Outcome]:
        """Decide and commit commands of the service itself, and bring the broker's logins up. Raises StoreError."""
        await self._harden(commands)
        async with self.store.begin(commands, self._policy, ()) as transaction:
            given = await self._given(commands, transaction.facts)
            decisions = [decide(command, transaction.facts, given) for command in commands]
            await self._commit(transaction.commit, [change for each in decisions for change in each.changes])
        await self.logins.catch_up()
        return [decision.outcome for decision in decisions]

    async def execute_slice(
        self, command: Command, beside: Callable[[Decision], Sequence[Change]], *, is_rehearsal: bool
    ) -> Decision:
        """Decide a slice of a file, whose secrets are hashed, and commit it together with `beside(decision)`.

        A rehearsal commits nothing. The slice's logins reach the broker when the file ends. Raises StoreError.
        """
        async with self.store.begin([command], self._policy, ()) as transaction:
            decision = decide(command, transaction.facts, await self._given([command], transaction.facts))
            if not is_rehearsal:
                changes = [*decision.changes, *beside(decision)]
                await transaction.commit(changes)
                _count(changes)
        return decision

    async def end_file(self, changes: Sequence[Change]) -> None:
        """Commit what ends a file, and bring the logins of all its slices to the broker. Raises StoreError."""
        async with self.store.begin((), self._policy, ()) as transaction:
            await self._commit(transaction.commit, changes)
        self.logins.note_all()
        await self.logins.catch_up()  # no message may come for a long time

    async def recall(self, call: Call, digest: str) -> Decision | None:
        """Return what an earlier call of the same request id decides for this one; None if there was none.

        Raises StoreError.
        """
        keys = [call.repeat_key] if call.repeat_key is not None else []
        facts = await self.store.read((), self._policy, keys)
        return self._recalled(call, digest, facts, self.clock())

    def remember(self, key: tuple[str, str], digest: str, kept: str, now_ms: int) -> Answered:
        """Return the first answer to a request id as it is kept for a repeat."""
        sealed = self.sealing.seal(kept.encode(), _purpose(key))
        return Answered(*key, digest, sealed, now_ms + self._repeat_window_ms)

    async def delete_expired(self, by_ms: int, events_before_ms: int) -> bool:
        """Delete what expired before `by_ms`; return whether there may be more. Raises StoreError.

        Before that, what would last longer than it can is cut: a clock that was ahead has written it.
        """
        now_ms = self.clock()
        await self.store.cut(now_ms + self._repeat_window_ms, now_ms + self._policy.reissue_window_ms)
        return await self.store.delete_expired(by_ms, events_before_ms)

    # --- one batch

    async def _commit_batch(self, calls: Sequence[C], keep: Callable[[C, Decision, int], str]) -> list[Decision]:
        commands = [call.command for call in calls]
        keys = [call.repeat_key for call in calls if call.repeat_key is not None]
        await self._harden(commands)
        async with self.store.begin(commands, self._policy, keys) as transaction:
            facts = transaction.facts
            given = await self._given(commands, facts)
            changes: list[Change] = []
            decisions = [self._decide(call, keep, facts, given, changes) for call in calls]
            await self._commit(transaction.commit, changes)
        return decisions

    def _decide(
        self, call: C, keep: Callable[[C, Decision, int], str], facts: Facts, given: Given, changes: list[Change]
    ) -> Decision:
        """Decide one call, or recall its first answer, and add its changes."""
        command, key = call.command, call.repeat_key
        if key is not None and (call.redelivered or not command.is_poll):
            earlier = self._recalled(call, None, facts, given.now_ms)
            if earlier is not None:
                return earlier
        decision = self._revealed(decide(command, facts, given))
        is_noted = _is_only_noted(decision)
        if is_noted and self._noting.wait_ms(command.caller, self.clock.steady_ms()):
            decision = replace(decision, changes=())
        if key is not None and decision.changes and not is_noted:
            kept = keep(call, decision, given.now_ms)
            remembered = Put(self.remember(key, self.sealing.digest(call.content), kept, given.now_ms))
            facts.apply(remembered)
            changes.append(remembered)
        changes += decision.changes
        return decision

    def _recalled(self, call: Call, digest: str | None, facts: Facts, now_ms: int) -> Decision | None:
        """Decide a repeat; None for a new request. `digest` is of the content, if that is gone."""
        key = call.repeat_key or ("", "")
        earlier = facts.get(Answered, key)
        if earlier is None:
            return None
        content = digest or self.sealing.digest(call.content)
        recalled = recall(earlier, content, now_ms, window_ms=self._repeat_window_ms, redelivered=call.redelivered)
        if isinstance(recalled, Repeated):
            return Decision(Repeated(self.sealing.open(recalled.kept, _purpose(key)).decode()))
        return Decision(recalled) if recalled is not None else None

    async def _commit(self, commit: Callable[[Sequence[Change]], object], changes: Sequence[Change]) -> None:
        with metrics.COMMIT_SECONDS.time():
            await commit(changes)  # type: ignore[misc]
        self.logins.note(changes)
        _count(changes)

    # --- secrets

    async def _harden(self, commands: Sequence[Command]) -> None:
        """Hash the secrets of commands: cheap ones at once, logins only for callers who may set one.

        A login takes milliseconds, so it is hashed in a thread, and before the batch begins: nobody waits for it.
        """
        late: list[Command] = []
        for command in commands:
            for secret in command.secrets:
                if secret.is_hardened:
                    continue
                if secret.kind in LOGIN_KINDS:
                    late.append(command)
                else:
                    self.sealing.harden(secret)
        if not late:
            return
        facts = await self.store.read(late, self._policy)
        secrets = [
            secret
            for command in late
            if permitted(command, facts) and command.is_authentic(facts)
            for secret in command.secrets
            if not secret.is_hardened
        ]
        passwords = [secret for secret in secrets if secret.kind is SecretKind.PASSWORD]
        for secret in secrets:
            if secret.kind is not SecretKind.PASSWORD:
                self.sealing.harden(secret)
        await asyncio.gather(*(asyncio.to_thread(self.sealing.harden, secret) for secret in passwords))

    async def _given(self, commands: Sequence[Command], facts: Facts) -> Given:
        foreign: frozenset[str] = frozenset()
        if any(command.needs_foreign_logins(facts) for command in commands):
            foreign = await self.logins.foreign()
        return Given(self._policy, self.clock(), new_id, self._new_login, random_token, self._holds, foreign)

    def _holds(self, sealed: str, secret: Secret) -> bool:
        return hmac.compare_digest(self.sealing.open(sealed, secret.kind.value), (secret.text or "").encode())

    def _new_login(self, kind: SecretKind) -> Secret:
        secret = Secret(kind, None)
        self.sealing.harden(secret)
        return secret

    def _revealed(self, decision: Decision) -> Decision:
        """Open a login's secret that may still be given."""
        outcome = decision.outcome
        if not isinstance(outcome, SHOW_LOGINS) or outcome.secret or not outcome.credential:
            return decision
        kind, sealed = outcome.credential.kind.value, outcome.credential.sealed
        if sealed is None:
            return decision
        text = self.sealing.open(sealed, kind).decode()
        return replace(decision, outcome=replace(outcome, secret=Secret(SecretKind(kind), text)))

    # --- after the commit

    async def _filled(self, call: Call, decision: Decision) -> Decision:
        """Fill a listing, or the like, from what is committed by now."""
        if not isinstance(decision.outcome, Query):
            return decision
        try:
            return replace(decision, outcome=await self.store.query(decision.outcome))
        except Exception:  # the batch is committed; this answer alone fails
            self.log.exception("internal_error", **_about(call.command))
            return _broken()


def _broken() -> Decision:
    metrics.INTERNAL_ERRORS.inc()
    return Decision(Refused(Reason.INTERNAL))


def _about(command: Command) -> dict[str, object]:
    return {"command": type(command).__name__, "principal": command.caller or None}


def _is_only_noted(decision: Decision) -> bool:
    """Return whether a decision refuses and does no more than write an audit event."""
    changes = decision.changes
    return (
        isinstance(decision.outcome, Refused) and bool(changes) and all(isinstance(each, Append) for each in changes)
    )


def promises_login(decision: Decision) -> bool:
    """Return whether the answer shows a login, which the broker must admit when the answer is out."""
    outcome = decision.outcome
    return any(map(changes_logins, decision.changes)) or (isinstance(outcome, SHOW_LOGINS) and bool(outcome.secret))


def _count(changes: Sequence[Change]) -> None:
    """Count the audit events of changes that are durable now."""
    for event, count in Counter(_events(changes)).items():
        metrics.events(event).inc(count)


def _events(changes: Sequence[Change]) -> Iterator[str]:
    return (change.event.event for change in changes if isinstance(change, Append))


def _purpose(key: tuple[str, str]) -> str:
    return f"answer {key[0]}{key[1]}"
