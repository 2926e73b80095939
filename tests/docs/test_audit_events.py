"""The table of audit events in the how-to is held against the rules that make them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import claimsvc
from docs.generator.parts import DOCS

CORE = Path(claimsvc.__file__).parent / "core"
NAME = re.compile(r"[a-z]+(?:_[a-z]+)+")
MAKERS = {"Event", "_event"}


def _texts(node: ast.AST) -> set[str]:
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return {text for text in texts if NAME.fullmatch(text)}


def _calls() -> list[ast.Call]:
    nodes = [node for path in CORE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [each for each in calls if isinstance(each.func, ast.Name) and each.func.id in MAKERS]


def _documented() -> set[str]:
    table = (DOCS / "how-to" / "operations.md").read_text().partition("## Audit")[2].partition("\n## ")[0]
    return {name for name in re.findall(r"`(\w+)`", table) if NAME.fullmatch(name)} - {"events_days"}


def test_every_audit_event_is_in_the_table() -> None:
    """What a rule writes down an operator can look up."""
    made = set().union(*map(_texts, _calls()))
    assert "request_blocked" in made, "the reader of the code does not see the rules any more"
    assert made - _documented() == set()


def test_no_audit_event_is_only_in_the_table() -> None:
    """What is described there happens."""
    known = set().union(*(_texts(ast.parse(path.read_text())) for path in CORE.rglob("*.py")))
    assert _documented() - known == set()
