"""The table of log events."""

from __future__ import annotations

from claimsvc.log_events import LOG_EVENTS
from docs.generator.markdown import code
from docs.generator.markdown import table as table_of


def table() -> str:
    """Return the table with one row per event."""
    rows = [
        (code(name), ", ".join(event.levels), event.meaning, ", ".join(map(code, event.fields)))
        for name, event in LOG_EVENTS.items()
    ]
    return table_of(("event", "level", "means", "fields"), rows)
