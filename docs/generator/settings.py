"""The tables of settings, from their classes: names, defaults, values and docstrings."""

from __future__ import annotations

import ast
import inspect
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from claimsvc.settings import Settings
from docs.generator.markdown import code, table

_PRACTICALLY_UNLIMITED = 2**53
"""The largest whole number in JSON; it is not shown as a limit."""


def tables() -> str:
    """Return a table for the keys without a section, then one per section."""
    alone = {key: field for key, field in Settings.model_fields.items() if key not in sections()}
    texts = descriptions(Settings)
    return "\n\n".join(
        [
            _table("", alone, texts),
            *(_section(name, model) for name, model in sections().items()),
        ]
    )


def sections() -> dict[str, type[BaseModel]]:
    """Return the sections by name."""
    found = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _section(name: str, model: type[BaseModel]) -> str:
    summary = inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
    return f"### {name}\n\n{summary}\n\n" + _table(f"{name}.", model.model_fields, descriptions(model))


def _table(prefix: str, fields: dict[str, FieldInfo], texts: dict[str, str]) -> str:
    rows = [
        (code(f"{prefix}{key}"), code(_default(field.default)), _values(field), texts.get(key, ""))
        for key, field in fields.items()
    ]
    return table(("key", "default", "values", "meaning"), rows)


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of each setting, which is below it in the class."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - a class has the source of one
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
            found[field.target.id] = " ".join(text.split())
    return found


def _default(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case StrEnum():
            return f'"{value.value}"'
        case int():
            return f"{value:_}"
        case str() | Path():
            return f'"{value}"'
        case tuple():
            return str(list(value))
    return str(value)


def _values(field: FieldInfo) -> str:
    kind: Any = next((each for each in get_args(field.annotation) if each is not NoneType), field.annotation)
    if get_origin(field.annotation) is Literal:
        return ", ".join(code(f'"{each}"') for each in get_args(field.annotation))
    if get_origin(field.annotation) is tuple:
        return "a list of texts"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(code(f'"{each.value}"') for each in kind)
    words = {bool: "`true`, `false`", int: "a whole number", float: "a number", str: "a text", SecretStr: "a text"}
    return words.get(kind, "a path") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    bounds = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("gt", "ge", "lt", "le")
        if hasattr(each, name)
    }
    least = bounds["gt"] + 1 if "gt" in bounds else bounds.get("ge")
    most = bounds["lt"] - 1 if "lt" in bounds else bounds.get("le")
    if field.annotation is float:
        return " above 0"
    if most == _PRACTICALLY_UNLIMITED:
        most = None
    if least is None:
        return ""
    return f", {least:_} to {most:_}" if most is not None else f", {least} or more"
