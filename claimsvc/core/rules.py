"""The table of all rules, `decide`, which applies the rule of a command, and `recall`, which recognizes a repeat."""

from __future__ import annotations

from claimsvc.core import accounts, bulk, claiming, credentials, devices, inventory, provisioning, registration
from claimsvc.core.claiming import ClaimDevice, not_allowed
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
    """Return whether the caller may ask this at all."""
    rule = RULES[type(command)]
    return not rule.permissions or bool(rule.permissions & permissions(facts, command.caller))


def _forbid(command: Command, facts: Facts, given: Given) -> Decision:
    """Refuse a command whose permission is missing, and say which."""
    needed = RULES[type(command)].permissions
    refused = Refused(Reason.NOT_PERMITTED, missing_permission(needed))
    if isinstance(command, ClaimDevice):
        return Decision(refused, not_allowed(command, refused.reason, facts, given))
    return Decision(refused)


def decide(command: Command, facts: Facts, given: Given) -> Decision:
    """Decide one command on the facts, and make its changes visible to the next one of the batch."""
    if command.caller in LANELESS:
        return refuse(Reason.NOT_PERMITTED, "this login has no lane of its own")
    if is_ended(command.caller, facts, given):
        return refuse(Reason.NOT_PERMITTED, "all logins of this name have ended")
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

    What the broker delivers again was sent when it was sent first, however long ago that is. An answer that lasts
    longer than `window_ms` from now was given while the clock was ahead: it keeps no other request from its id.
    """
    if earlier is None:
        return None
    is_same = earlier.digest == digest
    if earlier.expires_at_ms < now_ms:
        return Repeated(earlier.sealed) if redelivered and is_same else None
    if is_same:
        return Repeated(earlier.sealed)
    return None if earlier.expires_at_ms > now_ms + window_ms else Refused(Reason.REQUEST_ID_REUSED)
