"""The table of all generated parts, and their replacement in the documents.

A part of a Markdown file is between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs.generator import asyncapi, commands, errors, index, log_events, metrics, pictures, rest, settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PARTS: dict[str, Callable[[], str]] = {
    "settings": settings.tables,
    "errors": errors.table,
    "log events": log_events.table,
    "metrics": metrics.table,
    "calls": rest.tables,
    "commands": commands.reference,
    "the lanes": pictures.lanes,
    "the life of a device request": pictures.device_request,
    "how-tos": lambda: index.of(DOCS / "how-to"),
    "references": lambda: index.of(DOCS / "reference"),
}
FILES: dict[Path, Callable[[], str]] = {DOCS / "reference" / "asyncapi.json": asyncapi.document}

_PART = re.compile(r"<!-- generated: (?P<name>[^>]+?) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)


def documents() -> list[Path]:
    """Return every Markdown document."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def generated(text: str) -> str:
    """Return a document with fresh generated parts. Raises KeyError for an unknown part."""

    def fresh(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- generated: {name} -->\n\n{PARTS[name]().strip()}\n\n<!-- end -->"

    return _PART.sub(fresh, text)


def stale() -> dict[Path, str]:
    """Return the new text of each file that has an outdated part."""
    wanted = {path: make() for path, make in FILES.items()}
    wanted |= {path: generated(path.read_text()) for path in documents()}
    return {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}
