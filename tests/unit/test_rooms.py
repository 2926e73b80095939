"""Design 5: which room may import what. A violation is the code's fault, not this table's."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import claimsvc

ROOT = Path(claimsvc.__file__).parent
FILES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}

PURE = {
    *("__future__", "abc", "base64", "collections", "dataclasses", "enum", "functools", "hashlib", "hmac"),
    *("itertools", "math", "operator", "re", "string", "typing", "unicodedata", "urllib.parse"),
}
"""Parts of the standard library without I/O, clock or chance."""

ROOMS: dict[str, tuple[set[str], set[str]]] = {
    # room: (what of ours it may import, what of others, the standard library apart)
    "core/": ({"core"}, set()),
    "dialects/": (
        {"core", "wire", *(f"dialects/{name}" for name in ("exchange", "rest", "claim_keys", "thingsboard_shapes"))},
        {"pydantic", "pydantic_core"},
    ),
    "dialects/admin/": (
        {"core", "wire", "dialects/exchange", "dialects/rest", "dialects/sheets", "dialects/admin"},
        {"pydantic", "pydantic_core"},
    ),
    "dialects/cumulocity/": (
        {"core", "wire", "dialects/exchange", "dialects/rest", "dialects/sheets", "dialects/cumulocity"},
        {"pydantic", "pydantic_core"},
    ),
    "store/": ({"core", "store", "immutable"}, {"pydantic_core"}),
    "credentials/": ({"core", "store", "files", "credentials", "wire"}, set()),
    "wire.py": (set(), set()),
    "clock.py": (set(), set()),
    "files.py": (set(), set()),
    "metrics.py": (set(), {"prometheus_client"}),
    "log.py": (set(), {"pydantic_core", "structlog"}),
    "log_events.py": (set(), set()),
    "environment.py": (set(), set()),
    "settings.py": ({"environment"}, {"pydantic", "pydantic_settings"}),
    "sealing.py": ({"files"}, {"cryptography"}),
    "checking/": ({"checking", "broker/caller", "wire", "store"}, {"pydantic_core"}),
    "tailing/": ({"tailing"}, {"pydantic_core", "rich"}),
    "broker/": ({"broker", "wire"}, {"aiomqtt", "paho"}),
    "pipeline/": (
        {"core", "dialects/exchange", "store", "wire", "clock", "sealing", "log", "metrics", "pipeline"},
        {"pydantic_core", "structlog"},
    ),
}
ANYTHING = {
    "__init__.py",
    "__main__.py",
    "app.py",
    "backup.py",
    "cli/",
    "founding.py",
    "monitoring.py",
    "supervisor.py",
    "shipped/__init__.py",
}
"""The composition root, the commands, and what holds nothing."""


def _imports(path: Path) -> set[str]:
    """Return the modules a file imports; `from x import y` is x, or x.y where that is a module of ours."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide a room"
            assert node.module is not None
            below = ROOT.parent / node.module.replace(".", "/")
            modules = {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (below / f"{alias.name}.py").exists() or (below / alias.name).is_dir()
            }
            found.update(modules or {node.module})
    return found


def _room(name: str) -> str:
    """Return the innermost room a file is in."""
    parts = name.split("/")
    folders = ["/".join(parts[:depth]) + "/" for depth in range(len(parts) - 1, 0, -1)]
    return next((room for room in [name, *folders] if room in ROOMS or room in ANYTHING), name)


def _may(module: str, rooms: set[str]) -> bool:
    path = module.removeprefix("claimsvc").lstrip(".").replace(".", "/")
    return not path or any(path == room or path.startswith(f"{room}/") for room in rooms)


def _code(path: Path) -> str:
    """Return a file's code without comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [each for each in body if not _is_text(each)]
            setattr(node, "body", kept or [ast.Pass()])  # noqa: B010 - any node with a body
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


IN_CORE = [name for name in FILES if name.startswith("core/")]


def test_every_file_has_a_room() -> None:
    """A new file must find its place in the table."""
    unknown = {name for name in FILES if _room(name) not in {*ROOMS, *ANYTHING}}
    assert unknown == set()


@pytest.mark.parametrize("name", [name for name in FILES if _room(name) not in ANYTHING])
def test_room_imports_only_its_neighbours(name: str) -> None:
    """What of ours a room imports flows down only: nothing flows back up."""
    ours, others = ROOMS[_room(name)]
    imported = _imports(FILES[name])
    strange = {module for module in imported if module.startswith("claimsvc") and not _may(module, ours)}
    outside = {
        module
        for module in imported
        if module.partition(".")[0] not in {*sys.stdlib_module_names, *others, "claimsvc"}
    }
    assert (strange, outside) == (set(), set())


@pytest.mark.parametrize("name", IN_CORE)
def test_core_is_pure(name: str) -> None:
    """No clock, no chance, no I/O, no JSON: the core's standard library is its pure part."""
    impure = {m for m in _imports(FILES[name]) if not m.startswith("claimsvc") and m not in PURE}
    impure -= {"collections.abc"}
    assert impure == set()
    nodes = ast.walk(ast.parse(FILES[name].read_text()))
    assert [node for node in nodes if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncWith)] == []


@pytest.mark.parametrize("name", IN_CORE)
def test_core_knows_no_wire(name: str) -> None:
    """No topic and no dialect's name stands in the code of a rule."""
    code = _code(FILES[name])
    found = re.findall(
        r"v1/|v2/c|claimsvc/|/api/|devicecontrol|thingsboard|cumulocity|mosquitto", code, re.IGNORECASE
    )
    assert found == []


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("store/")])
def test_sql_stays_in_the_store(name: str) -> None:
    """No statement, and no driver, outside the store."""
    assert not _imports(FILES[name]) & {"sqlite3", "aiosqlite"}
    statements = r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE|PRAGMA)\b"
    assert re.findall(statements, _code(FILES[name]), re.DOTALL) == []


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("broker/")])
def test_mqtt_stays_in_the_broker_room(name: str) -> None:
    """The client library can be replaced without touching another room."""
    roots = {module.partition(".")[0] for module in _imports(FILES[name])}
    assert not roots & {"aiomqtt", "paho"}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("dialects/") or name == "wire.py"])
def test_dialects_read_no_clock(name: str) -> None:
    """A dialect is told the time; it has no settings, SQL or chance."""
    forbidden = {"time", "random", "secrets", "os", "asyncio", "socket", "sqlite3", "pathlib"}
    assert not _imports(FILES[name]) & forbidden
    read = {"now", "utcnow", "today"}  # of datetime, which writes times down besides
    nodes = ast.walk(ast.parse(FILES[name].read_text()))
    assert not [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in read]


def test_broker_knows_no_json() -> None:
    """Payloads are bytes there."""
    imported = set().union(*(_imports(path) for name, path in FILES.items() if name.startswith("broker/")))
    assert not imported & {"json", "pydantic", "pydantic_core"}


def test_pipeline_knows_no_topic() -> None:
    """Topics are the dialects' own."""
    code = "".join(_code(path) for name, path in FILES.items() if name.startswith("pipeline/"))
    assert re.findall(r"v1/|claimsvc/|response/|request/|/api/", code) == []


def test_only_settings_reads_settings() -> None:
    """Below the composition root nobody sees a setting; values are handed down."""
    allowed = ANYTHING | {"settings.py"}
    readers = {_room(name) for name, path in FILES.items() if "claimsvc.settings" in _imports(path)}
    assert readers <= allowed
