"""The claim key of a ThingsBoard `secretKey`: the same text for the device and for the customer.

Numbers and booleans become their text as it was written, so 1.10 is "1.10" on both sides.
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
    """Return the parsed payload, with numbers as text. Raises Rejected for NaN and Infinity."""
    return json.loads(payload, parse_float=str, parse_int=str, parse_constant=_refuse)


def _refuse(_constant: str) -> None:
    raise malformed(EXPECTED)


def key_of(value: KeyValue, written: Callable[[], Any]) -> Secret:
    """Return the claim key of a value. `written` returns the text of a number. Raises Rejected."""
    if value is None:
        return claim_key("")
    if isinstance(value, str):
        return claim_key(value)
    if isinstance(value, bool):
        return claim_key("true" if value else "false")
    return claim_key(str(written()))
