"""The table of audit events in the how-to is held against the rules that make them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import claimsvc
from claimsvc.core.reasons import Reason
from docs.generator.parts import DOCS

CORE = Path(claimsvc.__file__).parent / "core"
NAME = re.compile(r"[a-z]+(?:_[a-z]+)+")
HAPPENED = re.compile(r"(device|request|claim|user|customer|profile)_\w+(ed|en)(_out)?")
MAKER = re.compile(r"Event|\w*_event")


def _texts(node: ast.AST) -> set[str]:
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return {text for text in texts if NAME.fullmatch(text)}


def _calls() -> list[ast.Call]:
    nodes = [node for path in CORE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [each for each in calls if isinstance(each.func, ast.Name) and MAKER.fullmatch(each.func.id)]


def _happenings() -> set[str]:
    """Return texts that say what happened, wherever they stand, and are no reasons."""
    known = set().union(*(_texts(ast.parse(path.read_text())) for path in CORE.rglob("*.py")))
    return {text for text in known if HAPPENED.fullmatch(text)} - set(Reason)


def _documented() -> set[str]:
    table = (DOCS / "how-to" / "operations.md").read_text().partition("## Audit")[2].partition("\n## ")[0]
    return {name for name in re.findall(r"`(\w+)`", table) if NAME.fullmatch(name)} - {"events_days"}


def test_every_audit_event_is_in_the_table() -> None:
    """What a rule writes down an operator can look up."""
    made = set().union(*map(_texts, _calls()), _happenings())
    assert {"request_blocked", "claim_refused"} <= made, "the reader of the code does not see the rules any more"
    assert made - _documented() == set()


def test_no_audit_event_is_only_in_the_table() -> None:
    """What is described there happens."""
    known = set().union(*(_texts(ast.parse(path.read_text())) for path in CORE.rglob("*.py")))
    assert _documented() - known == set()
