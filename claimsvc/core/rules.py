"""The table of all rules; `decide`, which applies the rule of a command; `recall`, which recognizes repeats."""

from __future__ import annotations

from claimsvc.core import accounts, bulk, claiming, credentials, devices, inventory, provisioning, registration
from claimsvc.core.claiming import ClaimDevice, refusal_changes
from claimsvc.core.command import Command, Rule
from claimsvc.core.credentials import is_ended
from claimsvc.core.decision import Decision, Refused, Repeated, refuse
from claimsvc.core.facts import Facts
from claimsvc.core.model import Answered
from claimsvc.core.permissions import missing_permission, permissions
from claimsvc.core.policy import LANELESS, Given
from claimsvc.core.reasons import Reason

RULES: dict[type[Command], Rule] = {
    **accounts.RULES,
    **bulk.RULES,
    **claiming.RULES,
    **credentials.RULES,
    **devices.RULES,
    **inventory.RULES,
    **provisioning.RULES,
    **registration.RULES,
}


def permitted(command: Command, facts: Facts) -> bool:
    """Return whether the caller has a permission that the command needs."""
    rule = RULES[type(command)]
    return not rule.permissions or bool(rule.permissions & permissions(facts, command.caller))


def _forbid(command: Command, facts: Facts, given: Given) -> Decision:
    """Refuse a command, naming the missing permission."""
    needed = RULES[type(command)].permissions
    refused = Refused(Reason.NOT_PERMITTED, missing_permission(needed))
    if isinstance(command, ClaimDevice):
        return Decision(refused, refusal_changes(command, refused.reason, facts, given))
    return Decision(refused)


def decide(command: Command, facts: Facts, given: Given) -> Decision:
    """Decide one command, and apply its changes to the facts for the next one of the batch."""
    if command.caller in LANELESS:
        return refuse(Reason.NOT_PERMITTED, "this login is shared by new devices")
    if is_ended(command.caller, facts, given):
        return refuse(Reason.NOT_PERMITTED, "all logins of this name were ended")
    if not permitted(command, facts):
        return _forbid(command, facts, given)
    decision = RULES[type(command)].decide(command, facts, given)
    for change in decision.changes:
        facts.apply(change)
    return decision


def recall(
    earlier: Answered | None, digest: str, now_ms: int, *, window_ms: int, redelivered: bool
) -> Repeated | Refused | None:
    """Return the first answer, still sealed, for a repeat; a refusal for other content; None for a new request.

    A message that the broker redelivers is a repeat even if its first answer has expired. An answer that expires more
    than `window_ms` from now was given while the clock was ahead: then other content with its id is a new request.
    """
    if earlier is None:
        return None
    is_same = earlier.digest == digest
    if earlier.expires_at_ms < now_ms:
        return Repeated(earlier.sealed) if redelivered and is_same else None
    if is_same:
        return Repeated(earlier.sealed)
    return None if earlier.expires_at_ms > now_ms + window_ms else Refused(Reason.REQUEST_ID_REUSED)
