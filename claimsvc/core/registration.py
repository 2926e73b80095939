"""The states of a device request. Facts: docs/original-systems.md#request-states.

A pair that is not here is refused, or cannot happen. None is no request yet. From any state a request can be removed,
which begins afresh.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from hmac import compare_digest

from claimsvc.core.admission import Admitted, Newcomer, admit, needs_names, username_of
from claimsvc.core.command import Command, Rule
from claimsvc.core.decision import (
    Append,
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
    refuse,
)
from claimsvc.core.device_groups import group_membership
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Credential, DeviceGroup, DeviceRequest, Event, RequestStatus, Tenant
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

_WAITING, _PENDING = RequestStatus.WAITING_FOR_CONNECTION, RequestStatus.PENDING_ACCEPTANCE


_ACCEPTED, _BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED


class Step(StrEnum):
    """What moves a request."""

    ANNOUNCE = "announced"
    ENROLL = "announced with a one-time password"
    FIRST_POLL = "first poll"
    LET_IN = "accepted"
    GIVE_UP = "too many wrong tokens or one-time passwords"


STEPS: dict[tuple[RequestStatus | None, Step], RequestStatus] = {
    (None, Step.ANNOUNCE): _WAITING,
    (None, Step.ENROLL): _ACCEPTED,
    (_WAITING, Step.FIRST_POLL): _PENDING,
    (_PENDING, Step.LET_IN): _ACCEPTED,
    (_ACCEPTED, Step.LET_IN): _ACCEPTED,
    (_PENDING, Step.GIVE_UP): _BLOCKED,
    (_ACCEPTED, Step.GIVE_UP): _BLOCKED,
}


def after(status: RequestStatus | None, step: Step) -> RequestStatus | None:
    """Return where the step leads, or None where it cannot be made."""
    return STEPS.get((status, step))


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
    """Announce a new device. `tenant` only from the management tenant; `enrollment` is a one-time password."""

    tenant: str | None
    group_id: str | None
    type: str | None
    properties: str | None
    enrollment: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.enrollment,) if self.enrollment else ()

    def issues_logins(self, facts: Facts) -> bool:
        return self.enrollment is not None  # the device's poll may come in the same batch

    def tenant_meant(self, facts: Facts) -> str:
        """Return the tenant the device is to belong to."""
        return self.tenant or facts.tenant_of(self.caller)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnRequest.needs(self, needs, facts, policy)
        tenant = self.tenant_meant(facts)
        needs.tenants.add(tenant)
        # Its device may poll, and it may be accepted, in the same batch.
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
class DeleteRequest(OnRequest):
    """Remove a request; a login that was issued for it stays."""


@immutable
class AcceptRequest(OnRequest):
    """Let a device in. `token` is what the device shows to whoever stands before it."""

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
    """Let in whatever waits in the caller's tenant and needs no token, a thousand at a time."""

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.pending_of.add(facts.tenant_of(self.caller))


@immutable
class ListRequests(Command):
    """Read a page of the caller's tenant's requests; pages count from 1."""

    page: int
    size: int
    status: RequestStatus | None
    with_total: bool


@immutable
class ReadLimit(Command):
    """Read whether the tenant may have more devices."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_counts.add(facts.tenant_of(self.caller))


@immutable
class PollCredentials(OnRequest):
    """A new device asks for its credentials. The caller is "" for one that is known by its client id only.

    `lane` is where it asks, and where it is told; `token` the security token it made up, or a one-time password.
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
    """A refusal about a device request: which, and where it stands."""

    device_id: str = ""
    status: RequestStatus | None = None


@immutable
class CredentialsGiven(Outcome):
    """The login of an accepted device. `credential` is opened by the pipeline; both are None where we keep none."""

    request: DeviceRequest
    username: str
    credential: Credential | None
    secret: Secret | None


@immutable
class AcceptedAll(Outcome):
    """What became of each request that waited: None, or why not."""

    results: tuple[tuple[str, RequestRefused | None], ...]


@immutable
class DeviceLimit(Outcome):
    """How many devices a tenant may have (0: any number) and has."""

    limit: int
    devices: int
    is_reached: bool


@immutable
class RequestListing(Query):
    """A numbered page of device requests, with their number where that was asked for."""

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
    """Send a device its login where it polled for it."""

    lane: str
    tenant: str
    username: str
    issued: Secret | None


PENDING, ACCEPTED, BLOCKED = RequestStatus.PENDING_ACCEPTANCE, RequestStatus.ACCEPTED, RequestStatus.BLOCKED


# --- for operators
def create_request(command: CreateRequest, facts: Facts, given: Given) -> Decision:
    """Announce a device; with a one-time password it needs no acceptance."""
    device_id, tenant = command.device_id, command.tenant_meant(facts)
    if tenant != facts.tenant_of(command.caller):
        if facts.tenant_of(command.caller) != MANAGEMENT_TENANT:
            return refuse(Reason.NOT_PERMITTED, "the management tenant alone registers for others")
        if command.group_id is not None:
            return refuse(Reason.INVALID_VALUE, "give a tenant or a group, not both")
        if facts.get(Tenant, tenant) is None:
            return refuse(Reason.NOT_FOUND, f"tenant {tenant}")
    refused = barred(device_id, tenant, facts, given)
    if refused is not None:
        return Decision(refused)
    request = DeviceRequest(
        device_id,
        tenant,
        STEPS[None, Step.ANNOUNCE],
        command.caller,
        given.now_ms,
        command.group_id,
        command.type,
        command.properties,
    )
    request = announced(request, command.enrollment, given)
    event = request_event("request_created", request, command.caller, given)
    return Decision(Found(request, created=True), (Put(request), event))


def barred(device_id: str, tenant: str, facts: Facts, given: Given) -> RequestRefused | None:
    """Return why a device of this id cannot be announced, or None."""
    character = device_id_error(device_id)
    if character is not None:
        return RequestRefused(Reason.INVALID_DEVICE_ID, character, device_id=device_id)
    if facts.get(DeviceRequest, device_id) is not None:
        return RequestRefused(Reason.ALREADY_REQUESTED, device_id=device_id)
    if is_full(tenant, facts, given):
        return RequestRefused(Reason.DEVICE_LIMIT, device_id=device_id)
    return None


def announced(request: DeviceRequest, enrollment: Secret | None, given: Given) -> DeviceRequest:
    """Return a request that waits for its device, or for the one-time password that takes acceptance's place."""
    if enrollment is None:
        return request
    until_ms = given.now_ms + given.policy.enrollment_ms
    status = STEPS[None, Step.ENROLL]
    return replace(request, status=status, enrollment_hash=enrollment.hardened, enrollment_until_ms=until_ms)


def read_request(command: ReadRequest, facts: Facts, given: Given) -> Decision:
    """Read a request of the caller's tenant."""
    request = _own_request(command, facts)
    return Decision(Found(request)) if request else _refused(Reason.NO_REQUEST, command.device_id)


def delete_request(command: DeleteRequest, facts: Facts, given: Given) -> Decision:
    """Forget a request, whatever its state."""
    request = _own_request(command, facts)
    if request is None:
        return _refused(Reason.NO_REQUEST, command.device_id)
    event = request_event("request_deleted", request, command.caller, given)
    return Decision(Done(), (Remove(DeviceRequest, request.id), event))


def list_requests(command: ListRequests, facts: Facts, given: Given) -> Decision:
    """Read a page of the tenant's requests, oldest first."""
    tenant = facts.tenant_of(command.caller)
    return Decision(RequestListing(tenant, command.page, command.size, command.status, command.with_total))


def read_limit(command: ReadLimit, facts: Facts, given: Given) -> Decision:
    """Read whether the tenant may have more devices."""
    tenant = facts.tenant_of(command.caller)
    return Decision(DeviceLimit(given.policy.device_limit, facts.device_count(tenant), is_full(tenant, facts, given)))


def accept_request(command: AcceptRequest, facts: Facts, given: Given) -> Decision:
    """Accept a device that has polled. Accepting it again changes nothing."""
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
    """Accept all devices that have polled and need no token; refuse the others, each with its reason."""
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
            facts.apply(change)  # the next one is counted on top
        changes += decision.changes
        notices += [each for each in decision.notices if isinstance(each, CredentialsNotice)]
        ended += decision.ended
        refused = decision.outcome if isinstance(decision.outcome, RequestRefused) else None
        results.append((request.id, refused))
    return Decision(AcceptedAll(tuple(results)), tuple(changes), tuple(notices), tuple(ended))


# --- for devices
def poll_credentials(command: PollCredentials, facts: Facts, given: Given) -> Decision:
    """A device polls for its login. Until it may have one, every answer is that of a waiting device."""
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
        event = request_event("request_pending", pending, command.caller or command.lane, given)
        return _not_yet(pending, Put(pending), event)
    if not _is_rightful(request, command.lane, token):
        if request.contested:
            return _not_yet(request)
        contested = replace(request, contested=True)
        event = request_event(
            "request_contested", contested, command.caller or command.lane, given, detail=command.lane
        )
        return _not_yet(request, Put(contested), event)
    if request.status is not ACCEPTED:
        return _refused(Reason.NOT_ACCEPTED, request.id, request.status)
    return _give_again(request, facts, given)


def _enroll(request: DeviceRequest, command: PollCredentials, facts: Facts, given: Given) -> Decision:
    """The one-time password takes the place of acceptance: good once, for a while, and for a few tries."""
    if request.status is BLOCKED or request.enrollment_hash is None:
        return _refused(Reason.NOT_ACCEPTED, request.id, request.status)
    if command.token is None or given.now_ms > (request.enrollment_until_ms or 0):
        return _not_yet(request)
    if not compare_digest(command.token.hardened, request.enrollment_hash):
        failed = _count_failure(request, given)
        event = request_event("enrollment_failed", failed, command.caller or command.lane, given, detail=command.lane)
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


# --- in common
def _accept(request: DeviceRequest, caller: str, facts: Facts, given: Given) -> Decision:
    """Make the login, tell the device where it polled, and keep the request as accepted."""
    secret = given.new_login(SecretKind.PASSWORD) if given.policy.issue_logins else None
    made = admit(Newcomer(request.tenant, request.id, request.type), secret, caller, facts, given)
    if not isinstance(made, Admitted):
        return Decision(RequestRefused(made.reason, made.detail, device_id=request.id, status=request.status))
    if made.is_new and is_full(request.tenant, facts, given):
        return _refused(Reason.DEVICE_LIMIT, request.id, request.status)
    accepted = replace(request, status=STEPS[request.status, Step.LET_IN], issued_at_ms=given.now_ms)
    group = facts.get(DeviceGroup, request.group_id) if request.group_id is not None else None
    placed = group_membership(made.device, group)
    changes = (*made.changes, *placed, Put(accepted), request_event("request_accepted", accepted, caller, given))
    notice = CredentialsNotice(request.lane or "", request.tenant, username_of(request, given.policy), secret)
    return Decision(Found(accepted), changes, (notice,), ended=() if made.is_new else (made.principal,))


def _wants_token(request: DeviceRequest, given: Given) -> bool:
    """Return whether acceptance needs the device's token: by the policy, or because the request is contested."""
    policy = given.policy.security_token_policy
    if request.contested or policy is SecurityTokenPolicy.REQUIRED:
        return True
    return policy is SecurityTokenPolicy.OPTIONAL and request.token_hash is not None


def _wrong_token(request: DeviceRequest, caller: str, given: Given) -> Decision:
    failed = _count_failure(request, given)
    reason = Reason.BLOCKED if failed.status is BLOCKED else Reason.WRONG_TOKEN
    event = request_event("request_blocked" if failed.status is BLOCKED else "token_refused", failed, caller, given)
    return Decision(RequestRefused(reason, device_id=request.id, status=failed.status), (Put(failed), event))


def _count_failure(request: DeviceRequest, given: Given) -> DeviceRequest:
    failures = request.token_failures + 1
    is_over = failures >= given.policy.max_token_failures
    status = STEPS[request.status, Step.GIVE_UP] if is_over else request.status
    return replace(request, token_failures=failures, status=status)


def _own_request(command: OnRequest, facts: Facts) -> DeviceRequest | None:
    """Return the request where it is the caller's tenant's; the management tenant sees all."""
    request = facts.get(DeviceRequest, command.device_id)
    tenant = facts.tenant_of(command.caller)
    return request if request and tenant in {request.tenant, MANAGEMENT_TENANT} else None


def is_full(tenant: str, facts: Facts, given: Given) -> bool:
    """Return whether the tenant has as many devices as it may."""
    limit = given.policy.device_limit
    return bool(limit) and facts.device_count(tenant) >= limit


def _not_yet(request: DeviceRequest, *changes: Change) -> Decision:
    """Say what a pending device hears, whoever asks and whatever just changed."""
    return Decision(RequestRefused(Reason.NOT_ACCEPTED, device_id=request.id, status=PENDING), changes)


def _refused(reason: Reason, device_id: str, status: RequestStatus | None = None, *, detail: str = "") -> Decision:
    return Decision(RequestRefused(reason, detail, device_id=device_id, status=status))


def request_event(
    name: str, request: DeviceRequest, caller: str, given: Given, *, detail: str | None = None
) -> Append:
    """Return the audit event of what happened to a request."""
    return Append(Event(request.tenant, given.now_ms, name, caller, None, request.id, detail))


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
