"""The login of an accepted device: made new, or anew for a device that is registered again (C8Y 2)."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.facts import Facts, Needs
from claimsvc.core.logins import credential, forget_formers
from claimsvc.core.model import Credential, Device, DeviceRequest, Event, Principal, PrincipalKind, RequestStatus
from claimsvc.core.names import principal_name, request_username
from claimsvc.core.outcomes import Append, Change, Put, Refused
from claimsvc.core.policy import Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind


@dataclass(frozen=True, slots=True)
class Issued:
    """What lets a device in. `secret` is None where somebody else keeps the broker's logins."""

    principal: str
    changes: tuple[Change, ...]
    secret: Secret | None
    is_new_device: bool


def needs_of(request: DeviceRequest, needs: Needs, policy: Policy) -> None:
    """Add what the acceptance of a request, and a poll for its login, must see; a pending one's poll sees nothing."""
    is_accepting = (
        request.id in needs.accepting or request.tenant in needs.pending_of or request.enrollment_hash is not None
    )
    if is_accepting or request.status is RequestStatus.ACCEPTED:
        needs_names(request.tenant, request.id, needs, policy)
    if is_accepting and policy.device_limit:
        needs.device_counts.add(request.tenant)


def needs_names(tenant: str, device_id: str, needs: Needs, policy: Policy) -> None:
    """Add every name that a device of this id would have."""
    needs.device_names.add((tenant, device_id))
    needs.principals.add(principal_name(tenant, request_username(device_id), policy))
    needs.logins.update(_logins(tenant, device_id, policy))


def username_of(request: DeviceRequest, policy: Policy) -> str:
    """Return what a device is told to log in as: Cumulocity's username, or the principal where only that works."""
    username = request_username(request.id)
    return username if policy.several_logins else principal_name(request.tenant, username, policy)


def issue_login(request: DeviceRequest, facts: Facts, given: Given) -> Issued | Refused:
    """Make principal, device and login of a request; a name that is another's is never taken over (design 3)."""
    policy = given.policy
    principal = principal_name(request.tenant, request_username(request.id), policy)
    known = facts.get(Principal, principal)
    device = facts.device_named(request.tenant, request.id)
    is_again = known is not None and device is not None and device.principal == principal
    if not is_again and (known or device):
        return Refused(Reason.NAME_TAKEN)
    logins = _logins(request.tenant, request.id, policy)
    if any(_is_anothers(login, principal, facts, given) for login in logins):
        return Refused(Reason.NAME_TAKEN)
    changes: list[Change] = []
    if not is_again:
        device = Device(
            given.new_id(), request.tenant, request.id, principal, given.now_ms, type=request.type or "default"
        )
        created = Event(request.tenant, given.now_ms, "device_created", principal, device.id, device.name)
        changes += [Put(Principal(principal, PrincipalKind.DEVICE, request.tenant)), Put(device), Append(created)]
    secret = given.new_login(SecretKind.PASSWORD) if policy.issue_logins else None
    if secret is not None:
        changes += [change for login in logins for change in forget_formers(login, facts)]
        changes += [Put(credential(login, principal, secret, given)) for login in logins]
    return Issued(principal, tuple(changes), secret, is_new_device=not is_again)


def _logins(tenant: str, device_id: str, policy: Policy) -> list[str]:
    """Return the names a device may log in with: its principal, and Cumulocity's way of writing it."""
    username = request_username(device_id)
    principal = principal_name(tenant, username, policy)
    if not policy.several_logins:
        return [principal]
    plain = [username] if tenant == policy.default_tenant else []
    return list(dict.fromkeys([principal, *plain, f"{tenant}/{username}"]))


def _is_anothers(login: str, principal: str, facts: Facts, given: Given) -> bool:
    known = facts.get(Credential, login)
    return login in given.foreign_logins or (known is not None and known.principal != principal)
