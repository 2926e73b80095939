"""One line per handled message, and its count: the exact reason also where the wire says FAILURE."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from claimsvc import metrics
from claimsvc.core.bulk import ImportAllowed, ImportFinished
from claimsvc.core.claiming import WindowsOpened
from claimsvc.core.decision import Append, Change, Outcome, Refused, Repeated
from claimsvc.core.reasons import Reason
from claimsvc.dialects.exchange import Request
from claimsvc.immutable import immutable
from claimsvc.log import Logger, clean
from claimsvc.wire import Inbound, Outbound

_MOST_ENTRIES = 20
"""Refused devices of one gateway message that its line names."""


@immutable
class Reply:
    """What one message comes to: its outcome, and what is published before it is acknowledged."""

    inbound: Inbound
    request: Request | None
    outcome: Outcome
    outbounds: tuple[Outbound, ...] = ()
    changes: tuple[Change, ...] = ()
    promises_login: bool = False
    """Whether the answer shows a login, which must work by then."""

    @property
    def is_idle(self) -> bool:
        """Whether a device asked again and in vain, as it does every few seconds for days.

        A poll by a login that may not poll at all is no such waiting: an operator has to see it.
        """
        command = self.request.command if self.request else None
        if command is None or not command.is_poll or self.changes or not isinstance(self.outcome, Refused):
            return False
        return self.outcome.reason is not Reason.NOT_PERMITTED

    @property
    def begins_import(self) -> bool:
        """Whether the answer comes later: a file is to be worked through first."""
        return isinstance(self.outcome, ImportAllowed)

    @property
    def is_flood(self) -> bool:
        """Whether the message came too often to be looked at."""
        return isinstance(self.outcome, Refused) and self.outcome.reason is Reason.RATE_LIMITED


def record(reply: Reply, log: Logger, *, answered: bool) -> None:
    """Count a message and write its line; one whose connection went away first says so, and comes again."""
    request, outcome = reply.request, reply.outcome
    word, fields = _words(outcome)
    dialect, name = (request.dialect, request.reading.name) if request else ("none", "unknown")
    metrics.requests(dialect, name, word, str(fields.get("reason", ""))).inc()
    command = request.command if request else None
    if request and request.response_topic_ignored:
        log.warning("response_topic_ignored", principal=request.principal)
    write = log.debug if reply.is_idle else log.info
    write(
        "handled",
        lane=request.lane if request else shown(reply.inbound.topic),
        principal=request.principal or None if request else None,
        command=name,
        outcome=word,
        device=command.device if command else None,
        ms=round((time.monotonic() - reply.inbound.arrived) * 1000, 1),
        **fields,
        **({} if answered else {"answered": False}),
    )


def record_flood(replies: Sequence[Reply], log: Logger) -> None:
    """Count what came too often, and write one line for each principal instead of one for each message."""
    floods = Counter(
        (reply.request.principal, reply.request.dialect, reply.request.reading.name)
        for reply in replies
        if reply.request
    )
    for (principal, dialect, name), count in floods.items():
        metrics.requests(dialect, name, "refused", Reason.RATE_LIMITED.value).inc(count)
        log.warning("rate_limited", principal=principal, command=name, messages=count)


def count_events(changes: Sequence[Change]) -> None:
    """Count the audit events of a batch that is durable now."""
    for event, count in Counter(change.event.event for change in changes if isinstance(change, Append)).items():
        metrics.events(event).inc(count)


def shown(topic: str) -> str:
    """Return a topic as it may be logged: a query can hold an access token."""
    return topic.partition("?")[0]


def _words(outcome: Outcome) -> tuple[str, dict[str, object]]:
    if isinstance(outcome, Refused):
        detail = {"detail": outcome.detail} if outcome.detail else {}
        return "refused", {"reason": outcome.reason.value, **detail}
    if isinstance(outcome, Repeated):
        return "repeated", {}
    if isinstance(outcome, WindowsOpened):
        refused = {name: entry.reason.value for name, entry in outcome.entries if isinstance(entry, Refused)}
        first = {clean(name): reason for name, reason in islice(refused.items(), _MOST_ENTRIES)}
        return "done", {"entries": len(outcome.entries), "refused": len(refused), "reasons": first}
    if isinstance(outcome, ImportFinished):
        counts = outcome.counts
        return "done", {
            "entries": counts.rows,
            "created": counts.created,
            "updated": counts.updated,
            "refused": counts.failed,
        }
    return "done", {}
