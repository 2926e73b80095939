"""What commands print, as a screen of some width shows it."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from claimsvc.cli.operators.screen import Screen
from tests.support.factories import NOW

DEVICE: dict[str, Any] = {
    "name": "Lamp",
    "id": "7",
    "principal": "Lamp",
    "type": "default",
    "label": None,
    "tenantId": "default",
    "customerId": None,
    "gatewayId": None,
    "gateway": False,
    "createdTime": NOW,
    "claimedTime": None,
}


def printed(what: Any, width: int = 80) -> str:
    """Return what a terminal of this width would show, without colours."""
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def screen_of(width: int = 80) -> tuple[Screen, StringIO]:
    """Return a screen of this width, and what is printed on it."""
    out = StringIO()
    return Screen(as_json=False, out=Console(file=out, width=width, color_system=None)), out
