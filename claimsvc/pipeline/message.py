"""One message's reply, decided on the facts of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pydantic_core import from_json, to_json

from claimsvc.core.commands.base import Command
from claimsvc.core.decide import decide
from claimsvc.core.facts import Facts
from claimsvc.core.model import Answered, Credential
from claimsvc.core.outcomes import (
    Append,
    Change,
    ClaimingQuestion,
    CredentialsGiven,
    FoundCredential,
    Listing,
    Outcome,
    Put,
    Refused,
    Remove,
    Repeated,
    RequestListing,
)
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.repeats import recall
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.exchange import Dialects, Request
from claimsvc.pipeline.journal import Reply
from claimsvc.sealing import Sealing
from claimsvc.wire import Inbound, Outbound


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

    def reply(self, inbound: Inbound, request: Request | None, facts: Facts, given: Given) -> Reply:
        if request is None:
            return Reply(inbound, None, Refused(Reason.NO_SUCH_CALL))
        command = request.reading.command
        if isinstance(command, Refused):
            return self._refused(request, command, given)
        if request.reading.request_id is not None and (inbound.redelivered or not command.is_poll):
            earlier = facts.get(Answered, (request.lane, request.reading.request_id))
            digest = self._sealing.digest(request.reading.content) if earlier else ""
            recalled = recall(earlier, digest, given.now_ms, redelivered=inbound.redelivered)
            if isinstance(recalled, Repeated):
                return self._again(request, recalled)
            if recalled is not None:
                return self._refused(request, recalled, given)
        return self._first(request, command, facts, given)

    def _refused(self, request: Request, refused: Refused, given: Given) -> Reply:
        return Reply(request.inbound, request, refused, request.answer(refused, given.now_ms))

    def _first(self, request: Request, command: Command, facts: Facts, given: Given) -> Reply:
        decision = decide(command, facts, given)
        outcome = self._revealed(decision.outcome)
        if isinstance(outcome, Listing | RequestListing | ClaimingQuestion):
            return Reply(request.inbound, request, outcome)
        dialects = self._dialects
        answer = request.answer(outcome, given.now_ms)
        notices = [notice for each in decision.notices if (notice := dialects.notice(each))]
        events = [dialects.event(change.event) for change in decision.changes if isinstance(change, Append)]
        # Behind the answer, which the asker must get even where the login that ends is the asker's own.
        ends = [self._end_sessions(decision.ended)] if decision.ended and self._end_sessions else []
        changes = decision.changes
        promises = any(map(changes_logins, changes)) or (
            isinstance(outcome, FoundCredential | CredentialsGiven) and bool(outcome.secret)
        )
        if request.reading.request_id is not None and changes:
            kept = [answer[0].payload.decode(), _texts(notices), promises, _texts(ends)]
            remembered = Put(self._answered(request, request.reading.request_id, kept, given))
            facts.apply(remembered)
            changes = (*changes, remembered)
        outbounds = (*notices, *answer, *events, *ends)
        return Reply(request.inbound, request, outcome, outbounds, changes, promises_login=promises)

    def _answered(self, request: Request, request_id: str, kept: list[object], given: Given) -> Answered:
        sealing = self._sealing
        sealed = sealing.seal(to_json(kept), _purpose(request))
        expires_at_ms = given.now_ms + self._repeat_window_ms
        return Answered(request.lane, request_id, sealing.digest(request.reading.content), sealed, expires_at_ms)

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
        if not isinstance(outcome, FoundCredential | CredentialsGiven) or not outcome.credential:
            return outcome
        kind, sealed = outcome.credential.kind.value, outcome.credential.sealed
        if sealed is None:
            return outcome
        text = self._sealing.open(sealed, kind).decode()
        return replace(outcome, secret=Secret(SecretKind(kind), text))


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
