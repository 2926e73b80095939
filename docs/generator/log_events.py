"""The events of the log."""

from __future__ import annotations

from claimsvc.log_events import LOG_EVENTS
from docs.generator.markdown import code
from docs.generator.markdown import table as table_of


def table() -> str:
    """Return one row per event."""
    rows = [
        (code(name), ", ".join(event.levels), event.meaning, ", ".join(map(code, event.fields)))
        for name, event in LOG_EVENTS.items()
    ]
    return table_of(("event", "level", "means", "fields"), rows)
