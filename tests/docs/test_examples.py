"""Every example of the documents is run as it stands; what cannot be says why."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from claimsvc.settings import Settings
from docs.generator.parts import DOCS, ROOT, documents
from tests.docs.examples import Reader, examples, unfenced_commands, wants_plugin
from tests.support.processes import World

RUN = {"bash", "python"}
PICTURES_AND_ANSWERS = {"mermaid", "json", "text"}
READ_ONLY = {"toml", "conf", "yaml"}
WITH_EXAMPLES = [path for path in documents() if any(each.language in RUN for each in examples(path))]
NOT_RUN = {
    "README.md": 1,
    "docs/quickstart.md": 1,
    "docs/performance.md": 1,
    "docs/how-to/backup.md": 1,
    "docs/how-to/containers.md": 3,
    "docs/how-to/monitoring.md": 1,
    "docs/how-to/operators.md": 1,
    "docs/how-to/own-broker.md": 8,
    "docs/how-to/plugin.md": 2,
}
"""How many blocks of each document are not run; each says why on the line before it."""
PRELUDE = next(each for each in examples(DOCS / "quickstart.md") if each.text.startswith("rr()"))
"""The function by which all documents ask as one of the demo's accounts."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=_name)
def test_examples_do_what_they_say(document: Path, plugin: Path, tmp_path: Path) -> None:
    """Copied block by block into a shell beside a fresh demo."""
    (tmp_path / "demo").mkdir()
    world = World(tmp_path / "demo", plugin if wants_plugin(document) else None)
    runnable = [each for each in examples(document) if each.language in RUN and each.why_not_run is None]
    try:
        world.start()
        reader = Reader(tmp_path, world)
        try:
            reader.run(PRELUDE)
            for example in runnable:
                reader.run(example)
            reader.finish([each for each in runnable if each.awaited])
        finally:
            reader.close()
    finally:
        world.stop()


def test_what_is_not_run_is_counted() -> None:
    """A block that stops being run is noticed, and each has a reason."""
    skipped = [(path, each) for path in documents() for each in examples(path) if each.why_not_run is not None]
    assert [f"{_name(path)}:{each.line}" for path, each in skipped if not each.why_not_run] == []
    assert Counter(_name(path) for path, _ in skipped) == NOT_RUN


@pytest.mark.parametrize("document", documents(), ids=_name)
def test_no_command_escapes(document: Path) -> None:
    """Commands stand in fences, whose language says what they are."""
    assert unfenced_commands(document) == []
    known = RUN | PICTURES_AND_ANSWERS | READ_ONLY
    assert [each.line for each in examples(document) if each.language not in known] == []


@pytest.mark.parametrize("document", documents(), ids=_name)
def test_settings_shown_are_settings(document: Path) -> None:
    """A TOML block is a file that the service would read."""
    for example in examples(document):
        if example.language == "toml":
            Settings(**tomllib.loads(example.text))
