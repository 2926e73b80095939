"""One message's reply, decided on the facts of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pydantic_core import from_json, to_json

from claimsvc.core.bulk import ImportAllowed
from claimsvc.core.command import Command
from claimsvc.core.credentials import FoundCredential
from claimsvc.core.decision import Append, Change, Decision, Listing, Outcome, Put, Refused, Remove, Repeated
from claimsvc.core.facts import Facts
from claimsvc.core.inventory import ClaimingQuestion
from claimsvc.core.model import Answered, Credential
from claimsvc.core.policy import HOUR_MS, Given
from claimsvc.core.provisioning import ProfileListing, Provisioned
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import CredentialsGiven, RequestListing
from claimsvc.core.repeats import recall
from claimsvc.core.rules import decide
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.exchange import Dialects, Request
from claimsvc.pipeline.journal import Reply
from claimsvc.pipeline.rates import Rates
from claimsvc.sealing import Sealing
from claimsvc.wire import Inbound, Outbound

LISTINGS = (Listing, RequestListing, ProfileListing, ClaimingQuestion)
"""Outcomes that the store fills after the batch is committed."""
NOTED_PER_HOUR = 20
"""Refusals of one principal that change nothing and are written to the audit trail; more would fill the store."""
SHOW_LOGINS = (FoundCredential, CredentialsGiven, Provisioned)
"""Outcomes that may show the secret of a login."""


class Replies:
    """Makes replies. Nothing is stored here: a reply carries the changes it stands on."""

    def __init__(
        self,
        dialects: Dialects,
        sealing: Sealing,
        repeat_window_ms: int,
        end_sessions: Callable[[Sequence[str]], Outbound] | None,
    ) -> None:
        self._dialects = dialects
        self._end_sessions = end_sessions
        self._sealing = sealing
        self._repeat_window_ms = repeat_window_ms
        self._noting = Rates(NOTED_PER_HOUR / 60, HOUR_MS)

    def reply(self, inbound: Inbound, request: Request | None, facts: Facts, given: Given) -> Reply:
        if request is None:
            return Reply(inbound, None, Refused(Reason.NO_SUCH_CALL))
        command = request.reading.command
        if isinstance(command, Refused):
            return self._refused(request, command, given.now_ms)
        if request.reading.request_id is not None and (inbound.redelivered or not command.is_poll):
            earlier = self.answered_before(request, None, facts, given.now_ms)
            if earlier is not None:
                return earlier
        return self._first(request, command, facts, given)

    def answered_before(self, request: Request, digest: str | None, facts: Facts, now_ms: int) -> Reply | None:
        """Return the first answer to a request id again, or its refusal for other content; None for a new one.

        `digest` is of the request's content, where that is gone.
        """
        earlier = facts.get(Answered, (request.lane, request.reading.request_id or ""))
        if earlier is None:
            return None
        content = digest or self._sealing.digest(request.reading.content)
        recalled = recall(
            earlier, content, now_ms, window_ms=self._repeat_window_ms, redelivered=request.inbound.redelivered
        )
        if isinstance(recalled, Repeated):
            return self._again(request, recalled)
        return self._refused(request, recalled, now_ms) if recalled is not None else None

    def told(self, decision: Decision) -> tuple[Outbound, ...]:
        """Return what others are told of a decision: devices, and who listens to events."""
        dialects = self._dialects
        notices = (notice for each in decision.notices if (notice := dialects.notice(each)))
        events = (dialects.event(change.event) for change in decision.changes if isinstance(change, Append))
        return (*notices, *events)

    def ends(self, principals: Sequence[str]) -> tuple[Outbound, ...]:
        """Return what makes the broker end the connections of principals, where it can."""
        return (self._end_sessions(principals),) if principals and self._end_sessions else ()

    def remembered(
        self, request: Request, payload: bytes, ends: Sequence[Outbound], digest: str, now_ms: int
    ) -> Answered:
        """Return a file's answer as it is kept for a repeat, with what a redelivery tells the broker again."""
        return self._answered(request, [payload.decode(), [], True, _texts(ends)], digest, now_ms)

    def _answered(self, request: Request, kept: list[object], digest: str, now_ms: int) -> Answered:
        """Return the first answer to a request id as it is kept for a repeat."""
        sealed = self._sealing.seal(to_json(kept), _purpose(request))
        request_id = request.reading.request_id or ""
        return Answered(request.lane, request_id, digest, sealed, now_ms + self._repeat_window_ms)

    def _refused(self, request: Request, refused: Refused, now_ms: int) -> Reply:
        return Reply(request.inbound, request, refused, request.answer(refused, now_ms))

    def _first(self, request: Request, command: Command, facts: Facts, given: Given) -> Reply:
        decision = decide(command, facts, given)
        is_noted = _is_only_noted(decision)
        if is_noted and self._noting.wait_ms(request.principal, given.now_ms):
            decision = replace(decision, changes=())
        outcome = self._revealed(decision.outcome)
        if isinstance(outcome, (*LISTINGS, ImportAllowed)):
            return Reply(request.inbound, request, outcome)
        dialects = self._dialects
        answer = request.answer(outcome, given.now_ms)
        notices = [notice for each in decision.notices if (notice := dialects.notice(each))]
        events = [dialects.event(change.event) for change in decision.changes if isinstance(change, Append)]
        # Behind the answer, which the asker must get even where the login that ends is the asker's own.
        ends = self.ends(decision.ended)
        changes = decision.changes
        promises = any(map(changes_logins, changes)) or (isinstance(outcome, SHOW_LOGINS) and bool(outcome.secret))
        if request.reading.request_id is not None and changes and not is_noted:
            kept = [answer[0].payload.decode(), _texts(notices), promises, _texts(ends)]
            digest = self._sealing.digest(request.reading.content)
            remembered = Put(self._answered(request, kept, digest, given.now_ms))
            facts.apply(remembered)
            changes = (*changes, remembered)
        outbounds = (*notices, *answer, *events, *ends)
        return Reply(request.inbound, request, outcome, outbounds, changes, promises_login=promises)

    def _again(self, request: Request, repeated: Repeated) -> Reply:
        """Give the first answer again; the rest only to a redelivery, whose first handling may have died."""
        payload, notices, promises, *more = from_json(self._sealing.open(repeated.sealed, _purpose(request)))
        answer = request.to_asker(payload.encode())
        outbounds: tuple[Outbound, ...] = (answer,)
        if request.inbound.redelivered:
            ends = more[0] if more else []  # rows of earlier releases have three parts
            outbounds = (*_outbounds(notices), answer, *_outbounds(ends))
        return Reply(request.inbound, request, repeated, outbounds, promises_login=promises)

    def _revealed(self, outcome: Outcome) -> Outcome:
        """Open a login's secret that may still be given."""
        if not isinstance(outcome, SHOW_LOGINS) or outcome.secret or not outcome.credential:
            return outcome
        kind, sealed = outcome.credential.kind.value, outcome.credential.sealed
        if sealed is None:
            return outcome
        text = self._sealing.open(sealed, kind).decode()
        return replace(outcome, secret=Secret(SecretKind(kind), text))


def _is_only_noted(decision: Decision) -> bool:
    """Return whether a decision refuses and does no more than write an audit event."""
    changes = decision.changes
    return (
        isinstance(decision.outcome, Refused) and bool(changes) and all(isinstance(each, Append) for each in changes)
    )


def _texts(outbounds: Iterable[Outbound]) -> list[list[str]]:
    return [[each.topic, each.payload.decode()] for each in outbounds]


def _outbounds(texts: Iterable[Sequence[str]]) -> list[Outbound]:
    return [Outbound(topic, text.encode()) for topic, text in texts]


def changes_logins(change: Change) -> bool:
    """Return whether a change makes, changes or ends a login."""
    if isinstance(change, Put):
        return isinstance(change.row, Credential)
    return isinstance(change, Remove) and change.kind is Credential


def _purpose(request: Request) -> str:
    return f"answer {request.lane}{request.reading.request_id}"
