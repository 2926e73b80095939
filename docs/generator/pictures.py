"""Mermaid pictures, drawn from the tables of the code."""

from __future__ import annotations

from claimsvc.app import lanes_of
from claimsvc.core.admission import STEPS
from claimsvc.dialects.message import CLIENTS, USERS
from claimsvc.dialects.rest import PREFIX
from claimsvc.settings import Settings


def _mermaid(*lines: str) -> str:
    return "\n".join(("```mermaid", *lines, "```"))


def device_request() -> str:
    """Return the states of a device request and the steps between them."""
    steps = [
        f"    {before or '[*]'} --> {after}: {step}" for (before, step), after in STEPS.items() if before != after
    ]
    return _mermaid("stateDiagram-v2", *steps)


def lanes() -> str:
    """Return the kinds of lanes and the requests in each."""
    endpoints = lanes_of(Settings()).endpoints
    own = (USERS, None, "claimsvc/u/&lt;username&gt;/", "a client with a login of its own")
    shared = (
        (f"{CLIENTS}{login}", login, f"claimsvc/c/{login}/&lt;client id&gt;/", f"a new device with the login {login}")
        for login in sorted({each.login for each in endpoints if each.login is not None})
    )
    lines = ["flowchart LR"]
    for node, login, lane, who in (own, *shared):
        filters = [each.filter for each in endpoints if each.login == login]
        topics = dict.fromkeys("request/..." if each.startswith(f"{PREFIX}+/+") else each for each in filters)
        lines.append(f'    {node}who(["{who}"]) --> {node}["{lane}"]')
        lines.append(f'    {node} --> {node}topics["{"<br/>".join(topics)}"]')
    return _mermaid(*lines)
