"""The login of an accepted device, also of one that is registered again."""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.credentials import credential_row, forget_formers, is_anothers
from claimsvc.core.decision import Append, Change, Put, Refused, Remove
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Credential, Device, DeviceRequest, Event, Principal, PrincipalKind, RequestStatus
from claimsvc.core.names import principal_name, request_username
from claimsvc.core.policy import Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret
from claimsvc.immutable import immutable


@immutable
class Newcomer:
    """A device on its way in: whose it is, its own id, and what is known of it; None where nothing is."""

    tenant: str
    device_id: str
    type: str | None
    label: str | None = None


@immutable
class Admitted:
    """A device that is in, with the changes that make it so."""

    device: Device
    principal: str
    changes: tuple[Change, ...]
    is_new: bool


def needs_of(request: DeviceRequest, needs: Needs, policy: Policy) -> None:
    """Add what the acceptance of a request, and a poll for its login, must see; a pending one's poll sees nothing."""
    is_accepting = (
        request.id in needs.accepting or request.tenant in needs.pending_of or request.enrollment_hash is not None
    )
    if is_accepting:
        needs_names(request.tenant, request.id, needs, policy)
        needs.credentials = True
    elif request.status is RequestStatus.ACCEPTED:
        needs.logins.add(principal_name(request.tenant, request_username(request.id), policy))
    if is_accepting and request.group_id is not None:
        needs.device_group_ids.add(request.group_id)
    if is_accepting and policy.device_limit:
        needs.device_counts.add(request.tenant)


def needs_names(tenant: str, device_id: str, needs: Needs, policy: Policy) -> None:
    """Add every name that a device of this id would have."""
    needs.device_names.add((tenant, device_id))
    logins = _login_names(tenant, device_id, policy)
    needs.principals.update(logins)  # the first is the device's own, and none may be somebody else's
    needs.logins.update(logins)


def username_of(request: DeviceRequest, policy: Policy) -> str:
    """Return what a device is told to log in as: Cumulocity's username, or the principal where only that works."""
    username = request_username(request.id)
    return username if policy.several_logins else principal_name(request.tenant, username, policy)


def admit(newcomer: Newcomer, secret: Secret | None, by: str, facts: Facts, given: Given) -> Admitted | Refused:
    """Create principal, device and login of a newcomer. A name that another login has is never taken over.

    Without a `secret` its logins are somebody else's to keep. A device without a login of its own, as a list makes
    them, gets one.
    """
    tenant, device_id, policy = newcomer.tenant, newcomer.device_id, given.policy
    principal = principal_name(tenant, request_username(device_id), policy)
    known = facts.get(Principal, principal)
    device = facts.device_named(tenant, device_id)
    is_again = known is not None and device is not None and device.principal == principal
    if not is_again and (known or (device and not device.is_loginless)):
        return Refused(Reason.NAME_TAKEN)
    logins = _login_names(tenant, device_id, policy)
    if any(is_anothers(login, principal, facts, given) for login in logins):
        return Refused(Reason.NAME_TAKEN)
    changes: list[Change] = [] if is_again else [Put(Principal(principal, PrincipalKind.DEVICE, tenant))]
    is_new = device is None
    if device is None:
        device = Device(given.new_id(), tenant, device_id, principal, given.now_ms)
        changes.append(Append(Event(tenant, given.now_ms, "device_created", by, device.id, device.name)))
    described = replace(
        device, principal=principal, type=newcomer.type or device.type, label=newcomer.label or device.label
    )
    if is_new or described != device:
        changes.insert(len(changes) - is_new, Put(described))
    if secret is not None:
        # Whatever let it in before is over: an access token too, and a name that this broker cannot admit any more.
        old = facts.credentials(principal)
        changes += [change for row in old for change in forget_formers(row.login, facts)]
        changes += [Remove(Credential, row.key) for row in old if row.login not in logins]
        changes += [Put(credential_row(login, principal, secret, given)) for login in logins]
    return Admitted(described, principal, tuple(changes), is_new)


def _login_names(tenant: str, device_id: str, policy: Policy) -> list[str]:
    """Return the names a device may log in with: its principal, and Cumulocity's way of writing it."""
    username = request_username(device_id)
    principal = principal_name(tenant, username, policy)
    if not policy.several_logins:
        return [principal]
    plain = [username] if tenant == policy.default_tenant else []
    return list(dict.fromkeys([principal, *plain, f"{tenant}/{username}"]))
