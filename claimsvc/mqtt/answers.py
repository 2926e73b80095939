"""Turns a decision into messages: notices, the answer, audit events, and the end of connections, in this order.

A first answer is kept for a repeat of its request id as JSON: answer, notices, whether it waits for logins, what ends
connections, and the answer's topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pydantic_core import from_json, to_json

from claimsvc import metrics
from claimsvc.core.bulk import ImportAllowed
from claimsvc.core.decision import Decision, Outcome, Refused, Repeated
from claimsvc.core.model import Event
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Outbound, Request
from claimsvc.log import Logger
from claimsvc.mqtt.journal import shown
from claimsvc.mqtt.lanes import Lanes
from claimsvc.service.execution import promises_login


class Answers:
    """Turns decisions into messages. Stores nothing."""

    def __init__(
        self,
        lanes: Lanes,
        clock: Callable[[], int],
        end_sessions: Callable[[Sequence[str]], Outbound] | None,
        log: Logger,
    ) -> None:
        """`clock` returns epoch milliseconds.

        `end_sessions` returns the message that makes the broker end the connections of principals; None if it cannot.
        """
        self._lanes = lanes
        self._clock = clock
        self._end_sessions = end_sessions
        self.log = log

    def keep(self, request: Request, decision: Decision, now_ms: int) -> str:
        """Prepare what is published for a decision, and return what a repeat of the request needs of it."""
        request.decision, outcome = decision, decision.outcome
        notices, events = self._lanes.told(decision)
        (answer,) = request.answer(outcome, now_ms)
        ends = self.ends(decision.ended)
        request.promises_login = promises_login(decision)
        # The connections end after the answer, which the asker must get even if the login that ends is its own.
        request.outbounds = (*notices, answer, *events, *ends)
        return kept_text(request, outcome, answer, notices, ends)

    def prepare(self, request: Request, now_ms: int) -> None:
        """Prepare what is published for a request's decision.

        No-op if `keep` has done so, and for a file that may be worked through: it is answered when it ends.
        """
        decision = request.decision
        if decision is None or request.outbounds or isinstance(decision.outcome, ImportAllowed):
            return
        try:
            if isinstance(decision.outcome, Repeated):
                self._repeat(request, decision.outcome)
                return
            answer = request.answer(decision.outcome, now_ms)
            if decision.changes:
                notices, events = self._lanes.told(decision)
                answer = (*notices, *answer, *events, *self.ends(decision.ended))
            request.outbounds, request.promises_login = answer, promises_login(decision)
        except Exception:
            self.log.exception("internal_error", topic=shown(request.inbound.topic))
            self.break_off(request)

    def _repeat(self, request: Request, repeated: Repeated) -> None:
        """Give the first answer again; the rest only to a redelivery, whose first handling may have died."""
        # Earlier releases kept three or four parts.
        payload, notices, request.promises_login, ends, tail = (*from_json(repeated.kept), [], "")[:5]
        answer = request.to_asker(payload.encode(), tail or None)
        request.outbounds = (answer,)
        if request.redelivered:
            request.outbounds = (*_outbounds(notices), answer, *_outbounds(ends))

    def refuse(self, request: Request, refused: Refused) -> None:
        """Prepare a refusal in place of whatever was decided."""
        request.decision, request.promises_login = Decision(refused), False
        request.outbounds = request.answer(refused, self._clock())

    def break_off(self, request: Request) -> None:
        """Prepare the answer `internal`; none if even that cannot be encoded."""
        metrics.INTERNAL_ERRORS.inc()
        try:
            self.refuse(request, Refused(Reason.INTERNAL))
        except Exception:
            self.log.exception("internal_error", topic=shown(request.inbound.topic))
            request.outbounds = ()

    def told(self, decision: Decision) -> list[Outbound]:
        """Return what others than the asker hear of a decision, and what ends connections."""
        notices, events = self._lanes.told(decision)
        return [*notices, *events, *self.ends(decision.ended)]

    def event(self, event: Event) -> Outbound:
        """Return an audit event as a message."""
        return self._lanes.event(event)

    def ends(self, principals: Sequence[str]) -> tuple[Outbound, ...]:
        """Return what makes the broker end the connections of principals; empty if it cannot."""
        return (self._end_sessions(principals),) if principals and self._end_sessions else ()


def kept_text(
    request: Request, outcome: Outcome, answer: Outbound, notices: Sequence[Outbound], ends: Sequence[Outbound]
) -> str:
    """Return what is kept of an answer for a repeat of its request id."""
    tail = "" if isinstance(request.answer_tail, str) else request.tail_for(outcome)
    kept = [answer.payload.decode(), _texts(notices), request.promises_login, _texts(ends), tail]
    return to_json(kept).decode()


def _texts(outbounds: Iterable[Outbound]) -> list[list[str]]:
    return [[each.topic, each.payload.decode()] for each in outbounds]


def _outbounds(texts: Iterable[Sequence[str]]) -> list[Outbound]:
    return [Outbound(topic, text.encode()) for topic, text in texts]
