"""Rows, commands and facts with every field defaulted, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TypeVar

from claimsvc.core.claiming import ClaimDevice, OpenWindow, ReleaseDevice
from claimsvc.core.command import Command
from claimsvc.core.decision import Append, Change, Decision, Outcome, Put, Refused, Remove
from claimsvc.core.facts import Key
from claimsvc.core.model import (
    CLAIMING_ALLOWED,
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Credential,
    CredentialKind,
    Customer,
    Device,
    DeviceRequest,
    Principal,
    PrincipalKind,
    RequestStatus,
    Row,
    Tenant,
    User,
    WindowSource,
)
from claimsvc.core.policy import DAY_MS, MANAGEMENT_TENANT, Given, Policy, SecurityTokenPolicy
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import AcceptAll, AcceptRequest, CreateRequest, PollCredentials
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.message import Inbound
from tests.support.memory import Memory, decide

NOW = 1_700_000_000_000
MINUTE = 60_000
DAY = DAY_MS
SERVICE = "claimsvc"

R = TypeVar("R", bound=Row)


def hashed(text: str) -> str:
    """Stand for the keyed hash: equal for equal keys, and never the key itself."""
    return f"hash({text})"


def key(text: str = "value") -> Secret:
    """Return a claim key as the rules see it: hashed, its text gone."""
    secret = Secret(SecretKind.CLAIM_KEY, None)
    secret.digest = hashed(text)
    return secret


def password(text: str = "password-1") -> Secret:
    """Return a hardened password."""
    secret = Secret(SecretKind.PASSWORD, text)
    secret.digest, secret.sealed = f"$7$2$salt${hashed(text)}", f"sealed({text})"
    return secret


def token(text: str = "token-1") -> Secret:
    """Return a hardened access token."""
    secret = Secret(SecretKind.ACCESS_TOKEN, text)
    secret.digest, secret.sealed = hashed(text), f"sealed({text})"
    return secret


def security_token(text: str = "abc12345") -> Secret:
    """Return a security token, or a one-time password, as the rules see it."""
    secret = Secret(SecretKind.SECURITY_TOKEN, None)
    secret.digest = hashed(text)
    return secret


def given(now_ms: int = NOW, **policy: object) -> Given:
    """Return a batch's arguments; ids are id-1, id-2, ..."""
    numbers = count(1)
    choices: dict[str, object] = {
        "allow_by_default": True,
        "default_duration_ms": 24 * 60 * MINUTE,
        "max_duration_ms": 24 * 60 * MINUTE,
        "server_duration_ms": 365 * DAY,
        "max_attempts": 5,
        "lockout_ms": 15 * MINUTE,
        "max_failures_per_hour": 20,
        "auto_create": True,
        "default_tenant": "default",
        "reserved_names": frozenset({SERVICE, "bootstrap", "provision"}),
        "issue_logins": True,
        "login_excludes": "",
        "reissue_window_ms": 10 * MINUTE,
        "several_logins": False,
        "access_tokens": True,
        "overlap_ms": 60 * MINUTE,
        "overlapping_logins": False,
        "rotate_on_release": False,
        "security_token_policy": SecurityTokenPolicy.OPTIONAL,
        "max_token_failures": 5,
        "enrollment_ms": 60 * MINUTE,
        "device_limit": 0,
    }

    def new_login(kind: SecretKind) -> Secret:
        secret = Secret(kind, f"{kind.value}-{next(numbers)}")
        secret.digest, secret.sealed = f"hash of {secret.text}", f"sealed {secret.text}"
        return secret

    return Given(
        Policy(**(choices | policy)),  # type: ignore[arg-type]
        now_ms,
        lambda: f"id-{next(numbers)}",
        new_login,
        lambda: f"code-{next(numbers)}",
        lambda sealed, secret: sealed == f"sealed({secret.text})",
    )


def device(name: str = "Thermostat", **fields: object) -> Device:
    """Return an unowned device that logs in with its name."""
    values: dict[str, object] = {
        "id": f"device-{name}",
        "tenant": "default",
        "name": name,
        "principal": name,
        "created_at_ms": NOW,
    }
    return Device(**(values | fields))  # type: ignore[arg-type]


def gateway(name: str = "Gateway", **fields: object) -> Device:
    """Return a gateway."""
    return device(name, **({"is_gateway": True} | fields))


def user(name: str = "alice", **fields: object) -> User:
    """Return a user who may claim for customer `c1`."""
    values: dict[str, object] = {
        "principal": name,
        "tenant": "default",
        "username": name,
        "customer_id": "c1",
        "roles": ("customer",),
        "groups": (),
        "created_at_ms": NOW,
    }
    return User(**(values | fields))  # type: ignore[arg-type]


def admin(name: str = "root", **fields: object) -> User:
    """Return a tenant admin, of no customer."""
    return user(name, **({"customer_id": None, "roles": ("admin",)} | fields))


def customer(id_: str = "c1", **fields: object) -> Customer:
    """Return a customer."""
    values: dict[str, object] = {"id": id_, "tenant": "default", "title": id_, "created_at_ms": NOW}
    return Customer(**(values | fields))  # type: ignore[arg-type]


def window(of: Device, text: str = "value", **fields: object) -> ClaimWindow:
    """Return a window of a minute that was opened just now with this key."""
    values: dict[str, object] = {
        "device_id": of.id,
        "source": WindowSource.DEVICE,
        "key_hash": hashed(text),
        "opened_at_ms": NOW,
        "expires_at_ms": NOW + MINUTE,
    }
    return ClaimWindow(**(values | fields))  # type: ignore[arg-type]


def server_window(of: Device, text: str = "server", **fields: object) -> ClaimWindow:
    """Return the window of a `claimingData` attribute, of a minute."""
    return window(of, text, **({"source": WindowSource.SERVER} | fields))


def allowed(of: Device, value: str = "true") -> Attribute:
    """Return the device's `claimingAllowed` attribute; `value` is JSON text."""
    return Attribute(of.id, CLAIMING_ALLOWED, value, NOW)


def attempts(of: Device, by: str = "alice", **fields: object) -> ClaimAttempts:
    """Return one failure, just now, of a user at a device."""
    values: dict[str, object] = {
        "user": by,
        "device_id": of.id,
        "count": 1,
        "lockouts": 0,
        "locked_until_ms": 0,
        "last_failed_at_ms": NOW,
    }
    return ClaimAttempts(**(values | fields))  # type: ignore[arg-type]


def credential(login: str, **fields: object) -> Credential:
    """Return a password login issued just now, whose password may still be given again."""
    values: dict[str, object] = {
        "login": login,
        "principal": login,
        "kind": CredentialKind.PASSWORD,
        "secret_hash": f"$7$2$salt${hashed(login)}",
        "sealed": f"sealed({login})",
        "sealed_until_ms": NOW + 10 * MINUTE,
        "created_at_ms": NOW,
    }
    return Credential(**(values | fields))  # type: ignore[arg-type]


LANE = "c/bootstrap/1234/"
"""Where the device of a request asks."""


def request(status: RequestStatus = RequestStatus.PENDING_ACCEPTANCE, **fields: object) -> DeviceRequest:
    """Return the request for device 1234, made just now by `root`; whoever polled did so in LANE, without a token."""
    values: dict[str, object] = {
        "id": "1234",
        "tenant": "default",
        "status": status,
        "owner": "root",
        "created_at_ms": NOW,
        "lane": None if status is RequestStatus.WAITING_FOR_CONNECTION else LANE,
        "issued_at_ms": NOW if status is RequestStatus.ACCEPTED else None,
    }
    return DeviceRequest(**(values | fields))  # type: ignore[arg-type]


def enrollment(text: str = "one-time", **fields: object) -> DeviceRequest:
    """Return the request for device 1234 with a one-time password that is good for an hour."""
    values: dict[str, object] = {
        "lane": None,
        "issued_at_ms": None,
        "enrollment_hash": hashed(text),
        "enrollment_until_ms": NOW + 60 * MINUTE,
    }
    return request(RequestStatus.ACCEPTED, **(values | fields))


def create_request(device_id: str = "1234", *, by: str = "root", **fields: object) -> CreateRequest:
    """Return an operator's announcement of a device."""
    values: dict[str, object] = {
        "tenant": None,
        "group_id": None,
        "type": None,
        "properties": None,
        "enrollment": None,
    }
    return CreateRequest(by, device_id, **(values | fields))  # type: ignore[arg-type]


def accept_request(text: str | None = None, *, device_id: str = "1234", by: str = "root") -> AcceptRequest:
    """Return an operator's acceptance, with a security token where one is given."""
    return AcceptRequest(by, device_id, security_token(text) if text else None)


def accept_all(*, by: str = "root") -> AcceptAll:
    """Return an operator's acceptance of whatever waits."""
    return AcceptAll(by)


def poll(text: str | None = None, *, lane: str = LANE, device_id: str = "1234", by: str = "") -> PollCredentials:
    """Return a device's question in its client id's lane, with a token where one is given."""
    return PollCredentials(by, device_id, lane, security_token(text) if text else None)


def open_window(caller: str = "Thermostat", text: str = "value", **fields: object) -> OpenWindow:
    """Return a device's claim message of a minute that did not wait anywhere."""
    values: dict[str, object] = {"duration_ms": MINUTE, "received_at_ms": None, "redelivered": False} | fields
    return OpenWindow(caller, key(text), **values)  # type: ignore[arg-type]


def claim_device(name: str = "Thermostat", text: str = "value", *, by: str = "alice") -> ClaimDevice:
    """Return a user's claim."""
    return ClaimDevice(by, name, key(text))


def release_device(name: str = "Thermostat", *, by: str = "alice") -> ReleaseDevice:
    """Return a user's release."""
    return ReleaseDevice(by, name)


def result(decision: Decision) -> Reason | type[Outcome]:
    """Return why a decision refused, or the kind of its outcome."""
    return decision.outcome.reason if isinstance(decision.outcome, Refused) else type(decision.outcome)


def refused(reason: Reason, known: Memory, command: Command, at: Given | None = None) -> Refused:
    """Decide a command that must be refused for this reason, and return the refusal."""
    outcome = decide(command, known, at or given()).outcome
    assert isinstance(outcome, Refused), outcome
    assert reason is outcome.reason
    return outcome


def events(changes: Iterable[Change]) -> list[str]:
    """Return the names of the audit events among changes."""
    return [change.event.event for change in changes if isinstance(change, Append)]


def written(changes: Iterable[Change], kind: type[R]) -> list[R]:
    """Return the rows of a kind that changes write."""
    return [change.row for change in changes if isinstance(change, Put) and isinstance(change.row, kind)]


def removed(changes: Iterable[Change]) -> list[tuple[type[Row], Key]]:
    """Return the kinds and keys of what changes take away."""
    return [(change.kind, change.key) for change in changes if isinstance(change, Remove)]


def inbound(tail: str, payload: bytes | str = b"", *, caller: str = "alice", **fields: object) -> Inbound:
    """Return a message in a caller's lane."""
    content = payload.encode() if isinstance(payload, str) else payload
    topic = f"claimsvc/u/{caller}/{tail}"
    return Inbound(topic, content, 1, 1, 1, 0.0, **fields)  # type: ignore[arg-type]


def facts(*rows: Row) -> Memory:
    """Return a memory with these rows, the principals they speak as, and the two tenants there always are."""
    known = Memory("default")
    for tenant in ("default", MANAGEMENT_TENANT):
        known.put(Tenant(tenant, tenant, NOW))
    known.put(Principal(SERVICE, PrincipalKind.SERVICE, "default"))
    for row in rows:
        if isinstance(row, Device) and row.principal:
            known.put(Principal(row.principal, PrincipalKind.DEVICE, row.tenant))
        if isinstance(row, User):
            known.put(Principal(row.principal, PrincipalKind.USER, row.tenant))
        known.put(row)
    return known
