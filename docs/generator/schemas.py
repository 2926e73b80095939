"""JSON schemas: of requests, from the wire models; of answers, from encoded samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import FunctionType
from typing import Any

from pydantic import TypeAdapter

from claimsvc.dialects.thingsboard import claim_topics, provision_topic
from claimsvc.dialects.thingsboard.device_calls import ClaimingData
from docs.generator.rest import model_of

Schema = dict[str, Any]

COMPONENTS: dict[str, Schema] = {}
"""The schema of every described wire model, by its name."""


def _described(adapter: TypeAdapter[Any]) -> Schema:
    """Keep a model's schema and return a reference to it; return a schema without a model as it is."""
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
    COMPONENTS.update(schema.pop("$defs", {}))
    name = schema.get("title")
    if name is None:
        return schema  # a reference already
    COMPONENTS[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}


_CLAIM = _described(TypeAdapter(claim_topics.ClaimBody))
_ANY_OBJECT: Schema = {"type": "object"}
BY_COMMAND: dict[str, Schema] = {
    # Bodies without a model of their own.
    "OpenWindows": {
        **_ANY_OBJECT,
        "description": "One member per device, with the device's name.",
        "minProperties": 1,
        "additionalProperties": _CLAIM,
    },
    "ProvisionDevice": _described(TypeAdapter(provision_topic.ProvisionBody)),
    "ReadSessionLimits": {
        **_ANY_OBJECT,
        "required": ["method"],
        "properties": {"method": {"const": "getSessionLimits"}},
    },
    "SetAttributes": {
        **_ANY_OBJECT,
        "description": "One member per attribute; the value is any JSON except null.",
        "properties": {
            "claimingData": _described(TypeAdapter(ClaimingData)),
            "claimingAllowed": {"type": "boolean"},
        },
    },
}


def request(name: str, read: Callable[..., Any]) -> Schema | None:
    """Return the schema of a command's payload; None if the payload is ignored."""
    if name in BY_COMMAND:
        return BY_COMMAND[name]
    for function in _functions(read):
        model = model_of(function)
        if model is not None:
            return _described(TypeAdapter(model))
        adapters = (function.__globals__.get(each) for each in function.__code__.co_names)
        adapter = next((each for each in adapters if isinstance(each, TypeAdapter)), None)
        if adapter is not None:
            return _described(adapter)
    return None


def _functions(function: Any) -> list[FunctionType]:
    """Return a function and the functions that it closes over."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [function, *(each for each in cells if isinstance(each, FunctionType))]


def answer(payload: bytes) -> tuple[Schema, Any]:
    """Return the schema of an answer, derived from the answer, and the answer itself."""
    try:
        shown = json.loads(payload)
    except ValueError:
        shown = payload.decode()
    return seen_in(shown), shown


def seen_in(value: Any) -> Schema:
    """Return the schema that a JSON value shows. Raises TypeError for other values."""
    match value:
        case None:
            return {}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array", "items": seen_in(value[0])} if value else {"type": "array"}
        case dict():
            return {**_ANY_OBJECT, "properties": {name: seen_in(each) for name, each in value.items()}}
    raise TypeError(f"no JSON: {type(value).__name__}")
