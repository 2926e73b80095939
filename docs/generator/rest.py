"""The tables of calls of REST over MQTT, with their bodies and permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, RootModel

from claimsvc.app import SECTIONS
from claimsvc.core.permissions import DEVICE_BOOTSTRAP
from claimsvc.core.rules import RULES
from claimsvc.dialects.rest import Route
from docs.generator.markdown import code, table

PERMISSIONS = {kind.__name__: rule.permissions for kind, rule in RULES.items()}
"""By command name: the caller needs one of these permissions; without any, every caller is allowed."""
FREE_BODIES = {"SetAttributes": '`{"claimingData":{"secretKey","expirationTime"},"claimingAllowed":true, ...}`'}
"""Bodies with members of the caller's choice."""


def tables() -> str:
    """Return one table per prefix, in the order of the sections."""
    prefixes = dict.fromkeys(f"/{section.prefix.split('/')[1]}/" for section in SECTIONS)
    return "\n\n".join(f"### `{prefix}`\n\n{_table(prefix)}" for prefix in prefixes)


def _table(prefix: str) -> str:
    routes = [route for section in SECTIONS if section.prefix.startswith(prefix) for route in section.routes]
    rows = [(code(f"{route.method} {route.path}"), body_of(route), callers_of(route), route.name) for route in routes]
    return table(("call", "body", "permission", "`command` in the log"), rows)


def callers_of(route: Route) -> str:
    """Return the permissions, or the login, that a call needs."""
    permissions = " or ".join(code(each) for each in sorted(PERMISSIONS[route.name]))
    if route.login is not None:
        return f"the login {code(route.login)}, or {code(DEVICE_BOOTSTRAP)}"
    return permissions or "any login"


def body_of(route: Route) -> str:
    """Return the members of a body; optional ones have a question mark."""
    if route.open_sheet is not None:
        return "a CSV file"
    model = model_of(route.decode)
    if model is None:
        return FREE_BODIES.get(route.name, "")
    return code(_shape(model))


def _shape(model: type[BaseModel]) -> str:
    if issubclass(model, RootModel):
        return '["...", ...]'
    members = (f'"{name}"{"" if field.is_required() else "?"}' for name, field in model.model_fields.items())
    return "{" + ",".join(members) + "}"


def model_of(decode: Callable[..., Any]) -> type[BaseModel] | None:
    """Return the wire model that a decoder names; None if it reads no body, or a body without a model."""
    named = (decode.__globals__.get(name) for name in decode.__code__.co_names)
    return next((each for each in named if isinstance(each, type) and issubclass(each, BaseModel)), None)
