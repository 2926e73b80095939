"""The table of log events is complete and true: it is held against every line of code that writes one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import claimsvc
from claimsvc.log_events import LOG_EVENTS

ROOT = Path(claimsvc.__file__).parent
SOURCES = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "log_events.py"]
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
ALWAYS_THERE = {"event", "level", "time"}


@dataclass(frozen=True)
class Written:
    """A line of code that writes an event; the level is None where it is chosen elsewhere."""

    event: str
    level: str | None
    fields: frozenset[str]
    where: str


def _written() -> Iterator[Written]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            match node:
                case ast.Call(func=function, args=[ast.Constant(value=str(event)), *_]) if _logs(function):
                    yield Written(event, _level(function), _names(node) | _exception(function), where)
                case ast.Call(func=ast.Attribute(attr="handled")):
                    yield Written("handled", "info", frozenset(), where)  # the logger's fast line
                case ast.Call(
                    func=function,
                    args=[ast.Constant(value=str(level)), ast.Constant(value=str(event)), *more],
                ) if ast.unparse(function).endswith("report"):
                    yield Written(event, LEVELS[level], _names(node) | _keys(more), where)
                case ast.Tuple(elts=[ast.Constant(value=str(level)), ast.Constant(value=str(event))]):
                    if level in LEVELS:  # chosen by a table, reported elsewhere
                        yield Written(event, LEVELS[level], frozenset(), where)


def _names(call: ast.Call) -> frozenset[str]:
    return frozenset(each.arg for each in call.keywords if each.arg)


def _keys(arguments: list[ast.expr]) -> frozenset[str]:
    keys = [key for each in arguments if isinstance(each, ast.Dict) for key in each.keys]
    return frozenset(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def _logs(function: ast.expr) -> bool:
    """Whether this is a method of a logger, or such a method under the name `write`."""
    match function:
        case ast.Attribute(value=ast.Name(id="log") | ast.Attribute(attr="log" | "_log"), attr=method):
            return method in LEVELS
        case ast.Name(id="write"):
            return True
    return False


def _level(function: ast.expr) -> str | None:
    return LEVELS[function.attr] if isinstance(function, ast.Attribute) else None


def _exception(function: ast.expr) -> frozenset[str]:
    is_one = isinstance(function, ast.Attribute) and function.attr == "exception"
    return frozenset({"exception"} if is_one else ())


WRITTEN = list(_written())


def test_the_code_is_read() -> None:
    """The reader of the code sees all ways in which an event is written."""
    assert {"started", "handled", "broker_lost", "logins_written", "internal_error"} <= {
        each.event for each in WRITTEN
    }


def test_every_event_is_in_the_table_and_no_other() -> None:
    """A new event is described, and one that is gone is not."""
    assert {each.event for each in WRITTEN} == set(LOG_EVENTS)


def test_every_level_is_the_tables() -> None:
    """Nobody is told of an error that is logged as a warning."""
    assert [each for each in WRITTEN if each.level and each.level not in LOG_EVENTS[each.event].levels] == []
    levels = {name: {each.level for each in WRITTEN if each.event == name} for name in LOG_EVENTS}
    unused = {
        name for name, event in LOG_EVENTS.items() if None not in levels[name] and set(event.levels) - levels[name]
    }
    assert unused == set()


def test_every_field_is_in_the_table() -> None:
    """Whoever reads the log by program knows what there may be."""
    strange = {each.where: each.fields - set(LOG_EVENTS[each.event].fields) for each in WRITTEN}
    assert {where: fields for where, fields in strange.items() if fields} == {}


def test_no_field_hides_another() -> None:
    """What every line has is no event's own."""
    assert [name for name, event in LOG_EVENTS.items() if set(event.fields) & ALWAYS_THERE] == []
