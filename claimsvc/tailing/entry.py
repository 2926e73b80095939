"""Parse a line of the log, or an audit event, into an entry; match entries against a filter.

Both are JSON objects with an `event`. Any other line comes from another program and is no entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from pydantic_core import from_json

from claimsvc.immutable import immutable

_MS = 1_000


class Level(StrEnum):
    """The levels of the log, in ascending order."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_LEVELS = tuple(Level)


@immutable
class Entry:
    """A parsed line. `time` is None if the line has no readable time."""

    event: str
    level: str
    time: datetime | None
    fields: Mapping[str, Any]
    """All other members, in the order of the line."""

    def values(self, name: str) -> Iterator[str]:
        """Yield the values of a field. A gateway's message has several devices and reasons."""
        entries = self.fields.get("reasons")
        for_each = entries if isinstance(entries, dict) else {}
        found: list[object] = [self.fields.get(name)]
        if name == "device":
            found += for_each.keys()
        elif name == "reason":
            # An audit event has its reason in `detail`.
            found += [*for_each.values(), self.fields.get("detail")]
        yield from (str(value) for value in found if value is not None)


def parse(line: str) -> Entry | None:
    """Return the entry of a line, or None if the line is none."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        content = from_json(line)
    except ValueError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("event"), str):
        return None
    event, level, time = content.pop("event"), content.pop("level", "info"), content.pop("time", None)
    return Entry(event, str(level), _time(time), content)


def _time(value: object) -> datetime | None:
    """Read the log's ISO time or an audit event's epoch milliseconds."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        if isinstance(value, int):
            return datetime.fromtimestamp(value / _MS, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


@immutable
class Wanted:
    """A filter: every pattern given must match. Patterns may contain `*` and `?`."""

    event: str | None = None
    device: str | None = None
    principal: str | None = None
    outcome: str | None = None
    reason: str | None = None
    level: Level = Level.DEBUG
    """The lowest level that matches."""

    def matches(self, entry: Entry) -> bool:
        """Return whether an entry matches. An unknown level always matches."""
        if entry.level in _LEVELS and _LEVELS.index(Level(entry.level)) < _LEVELS.index(self.level):
            return False
        if self.event is not None and not fnmatchcase(entry.event, self.event):
            return False
        patterns = {name: getattr(self, name) for name in ("device", "principal", "outcome", "reason")}
        return all(
            any(fnmatchcase(value, pattern) for value in entry.values(name))
            for name, pattern in patterns.items()
            if pattern is not None
        )
