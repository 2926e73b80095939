"""A batch's changes as set-based statements: the last of each row, each kind at once, what is referred to first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from claimsvc.core.decision import Append, Change, Put, Remove
from claimsvc.core.model import Row
from claimsvc.store import rows
from claimsvc.store.statements import Statements

_ORDER = {kind: position for position, kind in enumerate(rows.TABLES)}


class Writing:
    """Changes on their way into an open transaction."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def write(self, changes: Sequence[Change]) -> None:
        """Write the changes of a batch in its order, as far as order matters."""
        events: list[object] = []
        pending: dict[tuple[type[Row], object], Put | Remove] = {}
        for change in changes:
            if isinstance(change, Append):
                events.append(rows.event_values(change.event))
            elif isinstance(change, Put):
                pending[type(change.row), change.row.key] = change
            elif rows.TABLES[change.kind].has_dependents:
                self._write(pending.values())
                pending.clear()
                self._remove(change.kind, [change.key])
            else:
                pending[change.kind, change.key] = change
        self._write(pending.values())
        if events:
            self._statements.execute("append_events", rows=events)

    def _write(self, changes: Iterable[Put | Remove]) -> None:
        """Write the last change of each row: removals first, then rows after those they refer to."""
        removed: dict[type[Row], list[object]] = {}
        put: dict[type[Row], list[object]] = {}
        for change in changes:
            if isinstance(change, Remove):
                removed.setdefault(change.kind, []).append(change.key)
            else:
                kind = type(change.row)
                put.setdefault(kind, []).append(rows.TABLES[kind].values(change.row))
        for kind, keys in removed.items():
            self._remove(kind, keys)
        for kind in sorted(put, key=_ORDER.__getitem__):
            for statement in rows.TABLES[kind].put:
                self._statements.execute(statement, rows=put[kind])

    def _remove(self, kind: type[Row], keys: list[Any]) -> None:
        statement = rows.TABLES[kind].remove
        if statement is None:
            raise TypeError(f"{kind.__name__} rows are never removed")
        self._statements.execute(statement, keys=keys)
