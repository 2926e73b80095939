"""Pictures as Mermaid text, drawn from the tables that the code itself uses."""

from __future__ import annotations

from claimsvc.app import dialects_of
from claimsvc.core.request_states import STEPS
from claimsvc.dialects.exchange import CLIENTS, USERS
from claimsvc.dialects.rest import PREFIX
from claimsvc.settings import Settings


def _mermaid(*lines: str) -> str:
    return "\n".join(("```mermaid", *lines, "```"))


def device_request() -> str:
    """Return the states of a device request, and what leads from one to another."""
    steps = [
        f"    {before or '[*]'} --> {after}: {step}" for (before, step), after in STEPS.items() if before != after
    ]
    return _mermaid("stateDiagram-v2", *steps)


def lanes() -> str:
    """Return the two kinds of lanes, and what may be asked in each."""
    endpoints = dialects_of(Settings()).endpoints
    kinds = {
        USERS: ("claimsvc/u/&lt;username&gt;/", "a client with a login of its own"),
        CLIENTS: ("claimsvc/c/&lt;client id&gt;/", "a new device, by a login it shares"),
    }
    lines = ["flowchart LR"]
    for kind, (lane, who) in kinds.items():
        filters = [each.filter for each in endpoints if each.lanes == kind]
        topics = dict.fromkeys("request/..." if each.startswith(f"{PREFIX}+/+") else each for each in filters)
        lines.append(f'    {kind}who(["{who}"]) --> {kind}["{lane}"]')
        lines.append(f'    {kind} --> {kind}topics["{"<br/>".join(topics)}"]')
    return _mermaid(*lines)
