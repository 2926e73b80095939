"""Commands of device registration: requests, their acceptance, and the device's own polls (C8Y 1, 2 and 5.1)."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.commands.base import Command
from claimsvc.core.enrolment import needs_names
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import DeviceRequest, RequestStatus
from claimsvc.core.policy import Policy
from claimsvc.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class OnRequest(Command):
    """A command about the request for one device id."""

    device_id: str

    @property
    def device(self) -> str | None:
        return self.device_id

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.requests.add(self.device_id)


@dataclass(frozen=True, slots=True)
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
        needs_names(tenant, self.device_id, needs, policy)  # it may be accepted in the same batch
        if policy.device_limit:
            needs.device_counts.add(tenant)


@dataclass(frozen=True, slots=True)
class ReadRequest(OnRequest):
    """Read a request."""


@dataclass(frozen=True, slots=True)
class DeleteRequest(OnRequest):
    """Remove a request; a login that was issued for it stays."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class AcceptAll(Command):
    """Let in whatever waits in the caller's tenant and needs no token, a thousand at a time."""

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.pending_of.add(facts.tenant_of(self.caller))


@dataclass(frozen=True, slots=True)
class ListRequests(Command):
    """Read a page of the caller's tenant's requests; pages count from 1."""

    page: int
    size: int
    status: RequestStatus | None
    with_total: bool


@dataclass(frozen=True, slots=True)
class ReadLimit(Command):
    """Read whether the tenant may have more devices."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_counts.add(facts.tenant_of(self.caller))


@dataclass(frozen=True, slots=True)
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
