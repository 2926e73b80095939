"""How a `secretKey` of ThingsBoard's becomes a claim key: the same text for the device and for the customer.

Numbers and booleans are their text as it was written, so 1.10 is "1.10" on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from claimsvc.core.secrets import Secret, claim_key
from claimsvc.dialects.message import malformed

KeyValue = str | bool | int | float | None
EXPECTED = "secretKey: a text, number or boolean is expected"


def number_texts(payload: bytes) -> Any:
    """Return the payload with its numbers as their text. Raises Rejected for what is no number in JSON."""
    return json.loads(payload, parse_float=str, parse_int=str, parse_constant=_refuse)


def _refuse(_constant: str) -> None:
    raise malformed(EXPECTED)


def key_of(value: KeyValue, written: Callable[[], Any]) -> Secret:
    """Return the claim key of a value; `written` gives the text of a number. Raises Rejected."""
    if value is None:
        return claim_key("")
    if isinstance(value, str):
        return claim_key(value)
    if isinstance(value, bool):
        return claim_key("true" if value else "false")
    return claim_key(str(written()))
