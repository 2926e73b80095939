"""One line per handled message, and its count: the exact reason also where the wire says FAILURE."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from claimsvc import metrics
from claimsvc.core.bulk import ImportFinished
from claimsvc.core.claiming import WindowsOpened
from claimsvc.core.decision import Outcome, Refused, Repeated
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Request
from claimsvc.log import Logger, clean

_MOST_ENTRIES = 20
"""Refused devices of one gateway message that its line names."""


def record(request: Request, log: Logger, at: str, *, answered: bool) -> None:
    """Count a message and write its line at `at`, ISO 8601.

    `answered` is False if its connection was lost first: the message comes again.
    """
    decision, asked = request.decision, request.asked
    outcome = decision.outcome if decision else Refused(Reason.INTERNAL)
    word, fields = _words(outcome)
    metrics.requests(request.dialect, request.name, word, str(fields.get("reason", ""))).inc()
    command = None if isinstance(asked, Refused) else asked
    caller = request.inbound.caller
    if request.response_topic_ignored:
        log.warning("response_topic_ignored", principal=caller)
    # A poll that changes nothing is repeated every few seconds for days. A forbidden one is for the operator to see.
    is_idle = (
        command is not None
        and command.is_poll
        and isinstance(outcome, Refused)
        and outcome.reason is not Reason.NOT_PERMITTED
        and not (decision is not None and decision.changes)
    )
    device = command.device if command is not None else None
    line: dict[str, object] = {
        "lane": clean(request.lane or shown(request.inbound.topic)),
        "principal": clean(caller) if request.lane and caller else None,
        "command": request.name,
        "outcome": word,
        "device": clean(device) if device is not None else None,
        "ms": round((time.monotonic() - request.inbound.arrived) * 1000, 1),
        **fields,
    }
    if not answered:
        line["answered"] = False
    if is_idle:
        log.debug("handled", **line)
    else:
        log.handled(line, at)


def record_flood(requests: Sequence[Request], log: Logger) -> None:
    """Count messages that came too often, and write one line for each principal instead of one for each message."""
    floods = Counter((each.inbound.caller, each.dialect, each.name) for each in requests if each.lane)
    for (principal, dialect, name), count in floods.items():
        metrics.requests(dialect, name, "refused", Reason.RATE_LIMITED.value).inc(count)
        log.warning("rate_limited", principal=principal, command=name, messages=count)


def shown(topic: str) -> str:
    """Return a topic as it may be logged: a query can hold an access token."""
    return topic.partition("?")[0]


def _words(outcome: Outcome) -> tuple[str, dict[str, object]]:
    if isinstance(outcome, Refused):
        detail = {"detail": clean(outcome.detail)} if outcome.detail else {}
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
