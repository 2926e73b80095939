"""Which package may import what. A violation is a defect of the code, not of this table."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
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

COMMON = {f"dialects/{name}" for name in ("message", "rest", "sheets", "values")}
"""What every dialect uses."""

PACKAGES: dict[str, tuple[set[str], set[str]]] = {
    # package or module: (what of ours it may import, what of others, the standard library apart)
    "core/": ({"core", "immutable"}, set()),
    "dialects/": ({"core", "immutable", *COMMON}, {"pydantic", "pydantic_core"}),
    **{
        f"dialects/{name}/": ({"core", "immutable", *COMMON, f"dialects/{name}"}, {"pydantic", "pydantic_core"})
        for name in ("admin", "cumulocity", "thingsboard")
    },
    "store/": ({"core", "immutable", "store"}, {"pydantic_core"}),
    "service/": ({"core", "clock", "immutable", "log", "metrics", "sealing", "service", "store/contract"}, set()),
    "mqtt/": (
        {"core", "dialects/message", "immutable", "log", "metrics", "mqtt", "service", "store/contract"},
        {"aiomqtt", "paho", "pydantic_core"},
    ),
    "credentials/": (
        {"core", "clock", "credentials", "dialects/message", "files", "immutable", "store/contract"},
        set(),
    ),
    "immutable.py": (set(), set()),
    "clock.py": (set(), set()),
    "files.py": (set(), set()),
    "metrics.py": (set(), {"prometheus_client"}),
    "log.py": (set(), {"pydantic_core", "structlog"}),
    "log_events.py": ({"immutable"}, set()),
    "environment.py": (set(), set()),
    "settings.py": ({"environment"}, {"pydantic", "pydantic_settings"}),
    "sealing.py": ({"clock", "core/secrets", "files"}, {"cryptography"}),
    "checking/": ({"checking", "dialects/message", "immutable", "mqtt/caller", "store"}, {"pydantic_core"}),
    "tailing/": ({"immutable", "tailing"}, {"pydantic_core", "rich"}),
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


def _package(name: str) -> str:
    """Return the innermost entry of the table that holds a file."""
    parts = name.split("/")
    folders = ["/".join(parts[:depth]) + "/" for depth in range(len(parts) - 1, 0, -1)]
    return next((room for room in [name, *folders] if room in PACKAGES or room in ANYTHING), name)


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


def test_every_file_has_a_package() -> None:
    """A new file must find its place in the table."""
    unknown = {name for name in FILES if _package(name) not in {*PACKAGES, *ANYTHING}}
    assert unknown == set()


@pytest.mark.parametrize("name", [name for name in FILES if _package(name) not in ANYTHING])
def test_a_package_imports_only_what_it_may(name: str) -> None:
    """Imports flow down only."""
    ours, others = PACKAGES[_package(name)]
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


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("mqtt/")])
def test_mqtt_stays_in_the_broker_package(name: str) -> None:
    """The client library can be replaced without touching another package."""
    roots = {module.partition(".")[0] for module in _imports(FILES[name])}
    assert not roots & {"aiomqtt", "paho"}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("dialects/")])
def test_dialects_read_no_clock(name: str) -> None:
    """A dialect is told the time; it has no settings, SQL or chance."""
    forbidden = {"time", "random", "secrets", "os", "asyncio", "socket", "sqlite3", "pathlib"}
    assert not _imports(FILES[name]) & forbidden
    read = {"now", "utcnow", "today"}  # of datetime, which writes times down besides
    nodes = ast.walk(ast.parse(FILES[name].read_text()))
    assert not [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in read]


def test_the_service_knows_no_topic_and_no_byte() -> None:
    """Topics and encodings belong to the dialects and to the MQTT side."""
    code = "".join(_code(path) for name, path in FILES.items() if name.startswith("service/"))
    assert re.findall(r"v1/|claimsvc/|response/|request/|/api/|topic|json", code) == []


def test_file_names_are_unique() -> None:
    """A name says which file is meant."""
    names = Counter(Path(name).name for name in FILES if not name.endswith("__init__.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_imports_have_no_aliases() -> None:
    """One thing has one name."""
    aliases = [
        (name, alias.name, alias.asname)
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and (getattr(node, "module", None) or alias.name).startswith("claimsvc")
    ]
    assert aliases == []


def test_only_settings_reads_settings() -> None:
    """Below the composition root nobody sees a setting; values are handed down."""
    allowed = ANYTHING | {"settings.py"}
    readers = {_package(name) for name, path in FILES.items() if "claimsvc.settings" in _imports(path)}
    assert readers <= allowed
