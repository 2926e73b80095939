"""Shared by registration, files of devices and provisioning: the states of a device request, and a device's login.

Facts: docs/original-systems.md#request-states. A step that `STEPS` lacks for a state is refused, or cannot happen. A
request can be deleted in any state; then the device can be registered again.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from claimsvc.core.credentials import credential_row, forget_formers, is_anothers
from claimsvc.core.decision import Change, Put, Refused, Remove, device_event
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Credential, Device, DeviceRequest, Principal, PrincipalKind, RequestStatus
from claimsvc.core.names import principal_name, request_username
from claimsvc.core.policy import Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret
from claimsvc.immutable import immutable

WAITING, PENDING = RequestStatus.WAITING_FOR_CONNECTION, RequestStatus.PENDING_ACCEPTANCE
ACCEPTED, BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED


# --- the states of a request


class Step(StrEnum):
    """An event that moves a request from one state to another."""

    ANNOUNCE = "announced"
    ENROLL = "announced with a one-time password"
    FIRST_POLL = "first poll"
    LET_IN = "accepted"
    GIVE_UP = "too many wrong tokens or one-time passwords"


STEPS: dict[tuple[RequestStatus | None, Step], RequestStatus] = {
    # None: there is no request yet.
    (None, Step.ANNOUNCE): WAITING,
    (None, Step.ENROLL): ACCEPTED,
    (WAITING, Step.FIRST_POLL): PENDING,
    (PENDING, Step.LET_IN): ACCEPTED,
    (ACCEPTED, Step.LET_IN): ACCEPTED,
    (PENDING, Step.GIVE_UP): BLOCKED,
    (ACCEPTED, Step.GIVE_UP): BLOCKED,
}


def after(status: RequestStatus | None, step: Step) -> RequestStatus | None:
    """Return the state after a step, or None if the step is not possible."""
    return STEPS.get((status, step))


def announced(request: DeviceRequest, enrollment: Secret | None, given: Given) -> DeviceRequest:
    """Return a new request with its one-time password, which replaces acceptance; unchanged without one."""
    if enrollment is None:
        return request
    until_ms = given.now_ms + given.policy.enrollment_ms
    status = STEPS[None, Step.ENROLL]
    return replace(request, status=status, enrollment_hash=enrollment.hardened, enrollment_until_ms=until_ms)


def is_full(tenant: str, facts: Facts, given: Given) -> bool:
    """Return whether the tenant has reached its device limit."""
    limit = given.policy.device_limit
    return bool(limit) and facts.device_count(tenant) >= limit


# --- needs


def needs_of(request: DeviceRequest, needs: Needs, policy: Policy) -> None:
    """Add the keys that accepting a request, or polling an accepted one, reads. Polling a pending one reads none."""
    is_accepting = (
        request.id in needs.accepting or request.tenant in needs.pending_of or request.enrollment_hash is not None
    )
    if is_accepting:
        needs_names(request.tenant, request.id, needs, policy)
        needs.credentials = True
    elif request.status is ACCEPTED:
        needs.logins.add(principal_name(request.tenant, request_username(request.id), policy))
    if is_accepting and request.group_id is not None:
        needs.device_group_ids.add(request.group_id)
    if is_accepting and policy.device_limit:
        needs.device_counts.add(request.tenant)


def needs_names(tenant: str, device_id: str, needs: Needs, policy: Policy) -> None:
    """Add every name that a device of this id would have."""
    needs.device_names.add((tenant, device_id))
    logins = _login_names(tenant, device_id, policy)
    needs.principals.update(logins)  # the first is the device's own; none may belong to another principal
    needs.logins.update(logins)


# --- the device and its login


@immutable
class Newcomer:
    """A device to admit. `device_id` is its own id. `type` and `label` are None if unknown."""

    tenant: str
    device_id: str
    type: str | None
    label: str | None = None


@immutable
class Admitted:
    """An admitted device, with the changes that admit it."""

    device: Device
    principal: str
    changes: tuple[Change, ...]
    is_new: bool


def username_of(request: DeviceRequest, policy: Policy) -> str:
    """Return the username that the device gets: Cumulocity's, or the principal if the broker admits only that."""
    username = request_username(request.id)
    return username if policy.several_logins else principal_name(request.tenant, username, policy)


def admit(newcomer: Newcomer, secret: Secret | None, by: str, facts: Facts, given: Given) -> Admitted | Refused:
    """Create the principal, the device and its login. Refuses with NAME_TAKEN if a name belongs to another login.

    Without a `secret` the service issues no login. A device that a list created gets its login here.
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
        changes.append(device_event(device, "device_created", by, given))
    described = replace(
        device, principal=principal, type=newcomer.type or device.type, label=newcomer.label or device.label
    )
    if is_new or described != device:
        changes.insert(len(changes) - is_new, Put(described))
    if secret is not None:
        # All earlier logins stop working, also access tokens and names that this broker no longer admits.
        old = facts.credentials(principal)
        changes += [change for row in old for change in forget_formers(row.login, facts)]
        changes += [Remove(Credential, row.key) for row in old if row.login not in logins]
        changes += [Put(credential_row(login, principal, secret, given)) for login in logins]
    return Admitted(described, principal, tuple(changes), is_new)


def _login_names(tenant: str, device_id: str, policy: Policy) -> list[str]:
    """Return the names that a device may log in with: its principal, and Cumulocity's spelling of it."""
    username = request_username(device_id)
    principal = principal_name(tenant, username, policy)
    if not policy.several_logins:
        return [principal]
    plain = [username] if tenant == policy.default_tenant else []
    return list(dict.fromkeys([principal, *plain, f"{tenant}/{username}"]))
