"""Registration: an operator announces a device, the device polls, the operator accepts it, the device gets its login.

`admission.STEPS` has the states of a request.

command         | who may                                     | what it does
CreateRequest   | DEVICE_CONTROL_ADMIN                        | announces a device
ReadRequest     | DEVICE_CONTROL_ADMIN or DEVICE_CONTROL_READ | reads a request
ListRequests    | DEVICE_CONTROL_ADMIN or DEVICE_CONTROL_READ | lists the tenant's requests, oldest first
ReadLimit       | DEVICE_CONTROL_ADMIN or DEVICE_CONTROL_READ | reads how many devices the tenant may have and has
AcceptRequest   | DEVICE_CONTROL_ADMIN                        | accepts a device that has polled, and issues its login
AcceptAll       | DEVICE_CONTROL_ADMIN                        | accepts all devices that have polled and need no token
DeleteRequest   | DEVICE_CONTROL_ADMIN                        | deletes a request; an issued login stays
PollCredentials | a new device, or a user of role bootstrap   | gives the device its login as soon as it is accepted
"""

from __future__ import annotations

from dataclasses import replace
from hmac import compare_digest

from claimsvc.core.admission import (
    ACCEPTED,
    BLOCKED,
    PENDING,
    STEPS,
    Admitted,
    Newcomer,
    Step,
    admit,
    after,
    announced,
    is_full,
    needs_names,
    username_of,
)
from claimsvc.core.command import Command, Rule
from claimsvc.core.decision import (
    Change,
    Decision,
    Done,
    Found,
    Notice,
    Outcome,
    Put,
    Query,
    Refused,
    Remove,
    device_event,
    refuse,
)
from claimsvc.core.device_groups import group_membership
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Credential, DeviceGroup, DeviceRequest, RequestStatus, Tenant
from claimsvc.core.names import device_id_error, principal_name, request_username
from claimsvc.core.permissions import (
    DEVICE_BOOTSTRAP,
    DEVICE_CONTROL_ADMIN,
    DEVICE_CONTROL_READ,
    missing_permission,
    permissions,
)
from claimsvc.core.policy import MANAGEMENT_TENANT, Given, Policy, SecurityTokenPolicy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.immutable import immutable


@immutable
class OnRequest(Command):
    """A command about the request for one device id."""

    device_id: str

    @property
    def device(self) -> str | None:
        return self.device_id

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.requests.add(self.device_id)


@immutable
class CreateRequest(OnRequest):
    """Announce a new device. Only the management tenant may name a `tenant`. `enrollment` is a one-time password."""

    tenant: str | None
    group_id: str | None
    type: str | None
    properties: str | None
    enrollment: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.enrollment,) if self.enrollment else ()

    def issues_logins(self, facts: Facts) -> bool:
        return self.enrollment is not None  # the device may poll in the same batch

    def tenant_meant(self, facts: Facts) -> str:
        """Return the tenant that the device will belong to."""
        return self.tenant or facts.tenant_of(self.caller)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnRequest.needs(self, needs, facts, policy)
        tenant = self.tenant_meant(facts)
        needs.tenants.add(tenant)
        # The device may poll and be accepted in the same batch.
        needs_names(tenant, self.device_id, needs, policy)
        needs.credentials = True
        if self.group_id is not None:
            needs.device_group_ids.add(self.group_id)
        if policy.device_limit:
            needs.device_counts.add(tenant)


@immutable
class ReadRequest(OnRequest):
    """Read a request."""


@immutable
class ListRequests(Command):
    """List a page of the tenant's requests. Pages count from 1."""

    page: int
    size: int
    status: RequestStatus | None
    with_total: bool


@immutable
class AcceptRequest(OnRequest):
    """Accept a device. `token` is the security token that the device displays and the operator typed."""

    token: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.token,) if self.token else ()

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnRequest.needs(self, needs, facts, policy)
        needs.accepting.add(self.device_id)


@immutable
class AcceptAll(Command):
    """Accept all devices of the caller's tenant that wait and need no token, at most a thousand at a time."""

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.pending_of.add(facts.tenant_of(self.caller))


@immutable
class DeleteRequest(OnRequest):
    """Delete a request. A login that was issued for it stays."""


@immutable
class ReadLimit(Command):
    """Read the tenant's device limit."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_counts.add(facts.tenant_of(self.caller))


@immutable
class PollCredentials(OnRequest):
    """A new device polls for its credentials. The caller is "" if the broker knows only its client id.

    The device polls and gets the answer in `lane`. `token` is its security token or a one-time password.
    """

    lane: str
    token: Secret | None

    @property
    def is_poll(self) -> bool:
        return True

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.token,) if self.token else ()

    def issues_logins(self, facts: Facts) -> bool:
        request = facts.get(DeviceRequest, self.device_id)
        return self.token is not None and request is not None and request.enrollment_hash is not None


@immutable
class RequestRefused(Refused):
    """A refusal that names the device request and its state."""

    device_id: str = ""
    status: RequestStatus | None = None


@immutable
class CredentialsGiven(Outcome):
    """The login of an accepted device: a new `secret`, or a `credential` whose secret the service opens.

    Both are None if the service keeps no logins.
    """

    request: DeviceRequest
    username: str
    credential: Credential | None
    secret: Secret | None


@immutable
class AcceptedAll(Outcome):
    """The result for each pending request: None if it was accepted, otherwise the refusal."""

    results: tuple[tuple[str, RequestRefused | None], ...]


@immutable
class DeviceLimit(Outcome):
    """The number of devices that a tenant may have (0: any number) and has."""

    limit: int
    devices: int
    is_reached: bool


@immutable
class RequestListing(Query):
    """A numbered page of device requests, optionally with the number of all requests."""

    tenant: str
    page: int
    size: int
    status: RequestStatus | None
    with_total: bool


@immutable
class RequestPage(Outcome):
    """A filled page of device requests."""

    listing: RequestListing
    items: tuple[DeviceRequest, ...]
    is_last: bool
    total: int | None


@immutable
class CredentialsNotice(Notice):
    """Send a device its login, in the lane where it polled."""

    lane: str
    tenant: str
    username: str
    issued: Secret | None


def create_request(command: CreateRequest, facts: Facts, given: Given) -> Decision:
    """Announce a device. With a one-time password it needs no acceptance."""
    device_id, tenant = command.device_id, command.tenant_meant(facts)
    if tenant != facts.tenant_of(command.caller):
        if facts.tenant_of(command.caller) != MANAGEMENT_TENANT:
            return refuse(Reason.NOT_PERMITTED, "only the management tenant may register devices of other tenants")
        if command.group_id is not None:
            return refuse(Reason.INVALID_VALUE, "give a tenant or a group, not both")
        if facts.get(Tenant, tenant) is None:
            return refuse(Reason.NOT_FOUND, f"no tenant {tenant!r}")
    refused = barred(device_id, tenant, facts, given)
    if refused is not None:
        return Decision(refused)
    status = STEPS[None, Step.ANNOUNCE]
    request = DeviceRequest(
        device_id, tenant, status, command.caller, given.now_ms, command.group_id, command.type, command.properties
    )
    request = announced(request, command.enrollment, given)
    event = device_event(request, "request_created", command.caller, given)
    return Decision(Found(request, created=True), (Put(request), event))


def read_request(command: ReadRequest, facts: Facts, given: Given) -> Decision:
    """Read a request of the caller's tenant."""
    request = _own_request(command, facts)
    return Decision(Found(request)) if request else _refused(Reason.NO_REQUEST, command.device_id)


def list_requests(command: ListRequests, facts: Facts, given: Given) -> Decision:
    """Allow a page of the tenant's requests, oldest first."""
    tenant = facts.tenant_of(command.caller)
    return Decision(RequestListing(tenant, command.page, command.size, command.status, command.with_total))


def accept_request(command: AcceptRequest, facts: Facts, given: Given) -> Decision:
    """Accept a device that has polled. Accepting an accepted device changes nothing."""
    request = _own_request(command, facts)
    if request is None:
        return _refused(Reason.NO_REQUEST, command.device_id)
    if after(request.status, Step.LET_IN) is None:
        return _refused(Reason.NOT_PENDING, request.id, request.status)
    if request.status is ACCEPTED:
        return Decision(Found(request))
    if _wants_token(request, given):
        if command.token is None or request.token_hash is None:
            reason = Reason.CONTESTED if request.contested else Reason.WRONG_TOKEN
            return _refused(reason, request.id, request.status)
        if not compare_digest(command.token.hardened, request.token_hash):
            return _wrong_token(request, command.caller, given)
    return _accept(request, command.caller, facts, given)


def accept_all(command: AcceptAll, facts: Facts, given: Given) -> Decision:
    """Accept all devices that have polled and need no token. Refuse each other device with its reason."""
    results: list[tuple[str, RequestRefused | None]] = []
    changes: list[Change] = []
    notices: list[CredentialsNotice] = []
    ended: list[str] = []
    for request in facts.pending_requests(facts.tenant_of(command.caller)):
        if _wants_token(request, given):
            reason = Reason.CONTESTED if request.contested else Reason.WRONG_TOKEN
            results.append((request.id, RequestRefused(reason, device_id=request.id, status=request.status)))
            continue
        decision = _accept(request, command.caller, facts, given)
        for change in decision.changes:
            facts.apply(change)  # the device limit counts it for the next request
        changes += decision.changes
        notices += [each for each in decision.notices if isinstance(each, CredentialsNotice)]
        ended += decision.ended
        refused = decision.outcome if isinstance(decision.outcome, RequestRefused) else None
        results.append((request.id, refused))
    return Decision(AcceptedAll(tuple(results)), tuple(changes), tuple(notices), tuple(ended))


def delete_request(command: DeleteRequest, facts: Facts, given: Given) -> Decision:
    """Delete a request, in any state."""
    request = _own_request(command, facts)
    if request is None:
        return _refused(Reason.NO_REQUEST, command.device_id)
    event = device_event(request, "request_deleted", command.caller, given)
    return Decision(Done(), (Remove(DeviceRequest, request.id), event))


def read_limit(command: ReadLimit, facts: Facts, given: Given) -> Decision:
    """Read the tenant's device limit and the number of its devices."""
    tenant = facts.tenant_of(command.caller)
    return Decision(DeviceLimit(given.policy.device_limit, facts.device_count(tenant), is_full(tenant, facts, given)))


def poll_credentials(command: PollCredentials, facts: Facts, given: Given) -> Decision:
    """Give an accepted device its login. While the request is pending, every client gets the same answer."""
    if command.caller and DEVICE_BOOTSTRAP not in permissions(facts, command.caller):
        return refuse(Reason.NOT_PERMITTED, missing_permission(frozenset({DEVICE_BOOTSTRAP})))
    request = facts.get(DeviceRequest, command.device_id)
    if request is None:
        return _refused(Reason.NO_REQUEST, command.device_id)
    token = None if given.policy.security_token_policy is SecurityTokenPolicy.IGNORED else command.token
    if request.enrollment_hash is not None:
        return _enroll(request, command, facts, given)
    polled = after(request.status, Step.FIRST_POLL)
    if polled is not None:
        pending = replace(request, status=polled, lane=command.lane, token_hash=token.hardened if token else None)
        event = device_event(pending, "request_pending", command.caller or command.lane, given)
        return _not_yet(pending, Put(pending), event)
    if not _is_rightful(request, command.lane, token):
        if request.contested:
            return _not_yet(request)
        contested = replace(request, contested=True)
        event = device_event(contested, "request_contested", command.caller or command.lane, given, command.lane)
        return _not_yet(request, Put(contested), event)
    if request.status is not ACCEPTED:
        return _refused(Reason.NOT_ACCEPTED, request.id, request.status)
    return _give_again(request, facts, given)


def barred(device_id: str, tenant: str, facts: Facts, given: Given) -> RequestRefused | None:
    """Return the refusal if a device of this id cannot be announced, or None."""
    character = device_id_error(device_id)
    if character is not None:
        return RequestRefused(Reason.INVALID_DEVICE_ID, character, device_id=device_id)
    if facts.get(DeviceRequest, device_id) is not None:
        return RequestRefused(Reason.ALREADY_REQUESTED, device_id=device_id)
    if is_full(tenant, facts, given):
        return RequestRefused(Reason.DEVICE_LIMIT, device_id=device_id)
    return None


def _accept(request: DeviceRequest, caller: str, facts: Facts, given: Given) -> Decision:
    """Create the login, mark the request as accepted, and send the login to the lane where the device polled."""
    secret = given.new_login(SecretKind.PASSWORD) if given.policy.issue_logins else None
    made = admit(Newcomer(request.tenant, request.id, request.type), secret, caller, facts, given)
    if not isinstance(made, Admitted):
        return Decision(RequestRefused(made.reason, made.detail, device_id=request.id, status=request.status))
    if made.is_new and is_full(request.tenant, facts, given):
        return _refused(Reason.DEVICE_LIMIT, request.id, request.status)
    accepted = replace(request, status=STEPS[request.status, Step.LET_IN], issued_at_ms=given.now_ms)
    group = facts.get(DeviceGroup, request.group_id) if request.group_id is not None else None
    placed = group_membership(made.device, group)
    changes = (*made.changes, *placed, Put(accepted), device_event(accepted, "request_accepted", caller, given))
    notice = CredentialsNotice(request.lane or "", request.tenant, username_of(request, given.policy), secret)
    return Decision(Found(accepted), changes, (notice,), ended=() if made.is_new else (made.principal,))


def _wants_token(request: DeviceRequest, given: Given) -> bool:
    """Return whether the operator must give the device's token: by policy, or because the request is contested."""
    policy = given.policy.security_token_policy
    if request.contested or policy is SecurityTokenPolicy.REQUIRED:
        return True
    return policy is SecurityTokenPolicy.OPTIONAL and request.token_hash is not None


def _wrong_token(request: DeviceRequest, caller: str, given: Given) -> Decision:
    failed = _count_failure(request, given)
    reason = Reason.BLOCKED if failed.status is BLOCKED else Reason.WRONG_TOKEN
    event = device_event(failed, "request_blocked" if failed.status is BLOCKED else "token_refused", caller, given)
    return Decision(RequestRefused(reason, device_id=request.id, status=failed.status), (Put(failed), event))


def _count_failure(request: DeviceRequest, given: Given) -> DeviceRequest:
    failures = request.token_failures + 1
    is_over = failures >= given.policy.max_token_failures
    status = STEPS[request.status, Step.GIVE_UP] if is_over else request.status
    return replace(request, token_failures=failures, status=status)


def _own_request(command: OnRequest, facts: Facts) -> DeviceRequest | None:
    """Return the request if it belongs to the caller's tenant. The management tenant sees all requests."""
    request = facts.get(DeviceRequest, command.device_id)
    tenant = facts.tenant_of(command.caller)
    return request if request and tenant in {request.tenant, MANAGEMENT_TENANT} else None


def _enroll(request: DeviceRequest, command: PollCredentials, facts: Facts, given: Given) -> Decision:
    """Accept the device by its one-time password, which is valid once, for a limited time and a few tries."""
    if request.status is BLOCKED or request.enrollment_hash is None:
        return _refused(Reason.NOT_ACCEPTED, request.id, request.status)
    if command.token is None or given.now_ms > (request.enrollment_until_ms or 0):
        return _not_yet(request)
    if not compare_digest(command.token.hardened, request.enrollment_hash):
        failed = _count_failure(request, given)
        event = device_event(failed, "enrollment_failed", command.caller or command.lane, given, command.lane)
        return _not_yet(request, Put(failed), event)
    used = replace(request, enrollment_hash=None, lane=command.lane, token_hash=command.token.hardened)
    entering = _accept(used, command.caller or command.lane, facts, given)
    if isinstance(entering.outcome, RequestRefused):
        return entering
    issued = next(each.issued for each in entering.notices if isinstance(each, CredentialsNotice))
    given_now = CredentialsGiven(used, username_of(request, given.policy), None, issued)
    return Decision(given_now, entering.changes, ended=entering.ended)


def _give_again(request: DeviceRequest, facts: Facts, given: Given) -> Decision:
    username = username_of(request, given.policy)
    if not given.policy.issue_logins:
        return Decision(CredentialsGiven(request, username, None, None))
    principal = principal_name(request.tenant, request_username(request.id), given.policy)
    credential = facts.get(Credential, principal)
    is_over = (
        credential is None
        or credential.sealed is None
        or credential.revoked_at_ms is not None
        or given.now_ms > credential.sealed_until_ms
        or credential.created_at_ms != request.issued_at_ms
    )
    if is_over:
        return _refused(Reason.CREDENTIALS_GIVEN, request.id, request.status)
    return Decision(CredentialsGiven(request, username, credential, None))


def _is_rightful(request: DeviceRequest, lane: str, token: Secret | None) -> bool:
    if request.lane == lane:
        return True
    return token is not None and request.token_hash is not None and compare_digest(token.hardened, request.token_hash)


def _not_yet(request: DeviceRequest, *changes: Change) -> Decision:
    """Return the answer of a pending request. It is the same for every client and every change."""
    return Decision(RequestRefused(Reason.NOT_ACCEPTED, device_id=request.id, status=PENDING), changes)


def _refused(reason: Reason, device_id: str, status: RequestStatus | None = None, *, detail: str = "") -> Decision:
    return Decision(RequestRefused(reason, detail, device_id=device_id, status=status))


RULES: dict[type[Command], Rule] = {
    CreateRequest: Rule(create_request, frozenset({DEVICE_CONTROL_ADMIN})),
    ReadRequest: Rule(read_request, frozenset({DEVICE_CONTROL_ADMIN, DEVICE_CONTROL_READ})),
    ListRequests: Rule(list_requests, frozenset({DEVICE_CONTROL_ADMIN, DEVICE_CONTROL_READ})),
    ReadLimit: Rule(read_limit, frozenset({DEVICE_CONTROL_ADMIN, DEVICE_CONTROL_READ})),
    AcceptRequest: Rule(accept_request, frozenset({DEVICE_CONTROL_ADMIN})),
    AcceptAll: Rule(accept_all, frozenset({DEVICE_CONTROL_ADMIN})),
    DeleteRequest: Rule(delete_request, frozenset({DEVICE_CONTROL_ADMIN})),
    PollCredentials: Rule(poll_credentials),
}
