"""The rows the rules speak about. Each is frozen and has a `key` that is unique among its kind.

Times are epoch milliseconds UTC. Hashes are text.
"""

from __future__ import annotations

from enum import StrEnum

from claimsvc.immutable import immutable

CLAIMING_ALLOWED = "claimingAllowed"
"""The SERVER_SCOPE attribute a device needs before it may open a window, unless `claim.allow_by_default` is set."""
TRUE = "true"
"""The JSON text of that value."""
CLAIMING_DATA = "claimingData"
"""The SERVER_SCOPE attribute that opens a server window."""
PROVISION_STATE = "provisionState"
"""The SERVER_SCOPE attribute of a provisioned device. While it is there, the device is not provisioned again."""
PROVISIONED = '"provisioned"'
"""The JSON text of its value."""


class PrincipalKind(StrEnum):
    """The kind of a login's owner. A name belongs to one kind forever."""

    DEVICE = "device"
    USER = "user"
    SERVICE = "service"


class WindowSource(StrEnum):
    """What opened a claim window: the device itself, or the `claimingData` attribute."""

    DEVICE = "device"
    SERVER = "server"


class CredentialKind(StrEnum):
    """How a device or user logs in at the broker."""

    PASSWORD = "password"  # noqa: S105 - the kind's name
    ACCESS_TOKEN = "access_token"  # noqa: S105 - the kind's name


@immutable
class Tenant:
    """One organisation; everything else belongs to a tenant."""

    id: str
    title: str
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.id


@immutable
class Principal:
    """A name the broker may say is talking, unique over all kinds and tenants."""

    name: str
    kind: PrincipalKind
    tenant: str

    @property
    def key(self) -> str:
        return self.name


@immutable
class EndedPrincipal:
    """A name whose logins this service kept and ended. What still comes in this name, such as a will, is refused."""

    name: str
    ended_at_ms: int

    @property
    def key(self) -> str:
        return self.name


@immutable
class Customer:
    """Who owns claimed devices."""

    id: str
    tenant: str
    title: str
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.id


@immutable
class Role:
    """A named set of permissions."""

    tenant: str
    name: str
    permissions: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.name


@immutable
class Group:
    """Users with the same roles."""

    tenant: str
    name: str
    roles: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.name


@immutable
class User:
    """A person or program that calls the API; with a customer it can claim for that customer."""

    principal: str
    tenant: str
    username: str
    customer_id: str | None
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.principal


@immutable
class Device:
    """A device or gateway. `principal` is None while it has no login: then a gateway speaks for it."""

    id: str
    tenant: str
    name: str
    principal: str | None
    created_at_ms: int
    owner: str | None = None
    """The customer's id."""
    gateway_id: str | None = None
    is_gateway: bool = False
    type: str = "default"
    label: str | None = None
    claimed_at_ms: int | None = None
    claimed_with: str | None = None
    """The hash of the key it was claimed with last."""

    @property
    def key(self) -> str:
        return self.id

    @property
    def is_loginless(self) -> bool:
        """Whether nobody speaks for it yet, neither a login of its own nor a gateway: a list made it."""
        return self.principal is None and self.gateway_id is None


class Strategy(StrEnum):
    """What a profile's key and secret give a device. Facts: docs/original-systems.md#provisioning-strategies."""

    DISABLED = "disabled"
    CREATE = "create"  # a device of a new name is made
    CHECK = "check"  # a device that was made before gets its login, once


@immutable
class DeviceProfile:
    """What devices of one type show to be provisioned: the devices of its tenant whose type is its name.

    The key is unique over all tenants: a device names none.
    """

    id: str
    tenant: str
    name: str
    strategy: Strategy
    provision_key: str
    secret_hash: str
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.id


@immutable
class ClaimWindow:
    """The time during which a key claims a device. Open while now <= expires_at_ms."""

    device_id: str
    source: WindowSource
    key_hash: str
    opened_at_ms: int
    expires_at_ms: int
    attempts: int = 0
    """Wrong keys tried against this window."""

    @property
    def key(self) -> tuple[str, WindowSource]:
        return self.device_id, self.source


@immutable
class Attribute:
    """One SERVER_SCOPE attribute; `value` is JSON text."""

    device_id: str
    name: str
    value: str
    updated_at_ms: int

    @property
    def is_true(self) -> bool:
        """Whether this is the boolean `true`. As in ThingsBoard the text "true" is not."""
        return self.value == TRUE

    @property
    def key(self) -> tuple[str, str]:
        return self.device_id, self.name


@immutable
class ClaimAttempts:
    """Failures of one user at one device since the last lockout, and how often that user was locked out."""

    user: str
    device_id: str
    count: int
    lockouts: int
    locked_until_ms: int
    last_failed_at_ms: int

    @property
    def key(self) -> tuple[str, str]:
        return self.user, self.device_id


@immutable
class UserFailures:
    """The times of one user's recent failures over all devices, oldest first."""

    user: str
    recent_ms: tuple[int, ...]
    lockouts: int
    locked_until_ms: int

    @property
    def key(self) -> str:
        return self.user


AT_ONCE_MS = 0
"""When a login stops working that must stop at once: a clock that is set back later does not bring it back."""


@immutable
class Credential:
    """A login at the broker. `sealed` can be opened by the service until `sealed_until_ms`.

    It stops working at `revoked_at_ms`; None: at no time.
    """

    login: str
    principal: str
    kind: CredentialKind
    secret_hash: str
    sealed: str | None
    sealed_until_ms: int
    created_at_ms: int
    revoked_at_ms: int | None = None

    @property
    def key(self) -> str:
        return self.login


@immutable
class FormerCredential:
    """The password a login had before it was rotated: good while now < until_ms.

    Where the broker knows one password for a login, this is the one until then, and the login's own follows.
    """

    login: str
    secret_hash: str
    until_ms: int

    @property
    def key(self) -> tuple[str, str]:
        return self.login, self.secret_hash


class RequestStatus(StrEnum):
    """The state of a device request. Facts: docs/original-systems.md#request-states."""

    WAITING_FOR_CONNECTION = "WAITING_FOR_CONNECTION"
    PENDING_ACCEPTANCE = "PENDING_ACCEPTANCE"
    ACCEPTED = "ACCEPTED"
    BLOCKED = "BLOCKED"


@immutable
class DeviceRequest:
    """A request for a new device. `id` is the device's own and unique over all tenants, as a poll names no tenant."""

    id: str
    tenant: str
    status: RequestStatus
    owner: str
    """The user that made it."""
    created_at_ms: int
    group_id: str | None = None
    type: str | None = None
    properties: str | None = None
    """Custom properties, JSON text."""
    lane: str | None = None
    """Where it was polled from first: only there, or with the first token, are its credentials given."""
    token_hash: str | None = None
    """The security token that came with the first poll."""
    token_failures: int = 0
    contested: bool = False
    """Somebody else polled for it too."""
    enrollment_hash: str | None = None
    """A one-time password that takes the place of acceptance."""
    enrollment_until_ms: int | None = None
    issued_at_ms: int | None = None
    """When the credentials were made."""

    @property
    def key(self) -> str:
        return self.id


@immutable
class DeviceGroup:
    """Devices that belong together. `path` is the names of the groups above it and its own, with slashes between."""

    id: str
    tenant: str
    path: str
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.id


@immutable
class DeviceGroupMember:
    """A device in a group; it may be in several."""

    group_id: str
    device_id: str

    @property
    def key(self) -> tuple[str, str]:
        return self.group_id, self.device_id


@immutable
class Import:
    """How far a file of rows is worked through, so that a service that died goes on where it stood."""

    lane: str
    request_id: str
    digest: str
    done: int
    created: int
    updated: int
    failed: int
    touched_at_ms: int

    @property
    def key(self) -> tuple[str, str]:
        return self.lane, self.request_id


@immutable
class ImportPart:
    """What a slice of a file came to, sealed until the whole is answered. `number` is its first row's."""

    lane: str
    request_id: str
    number: int
    sealed: str

    @property
    def key(self) -> tuple[str, str, int]:
        return self.lane, self.request_id, self.number


@immutable
class Event:
    """One line of the audit trail; append only."""

    tenant: str
    at_ms: int
    event: str
    principal: str
    device_id: str | None = None
    device: str | None = None
    detail: str | None = None


@immutable
class Answered:
    """The first answer to a request id, kept sealed so that a repeat does nothing twice."""

    lane: str
    request_id: str
    digest: str
    sealed: str
    expires_at_ms: int

    @property
    def key(self) -> tuple[str, str]:
        return self.lane, self.request_id


Row = (
    Tenant
    | Principal
    | EndedPrincipal
    | Customer
    | Role
    | Group
    | User
    | Device
    | DeviceProfile
    | ClaimWindow
    | Attribute
    | ClaimAttempts
    | UserFailures
    | Credential
    | FormerCredential
    | DeviceRequest
    | DeviceGroup
    | DeviceGroupMember
    | Import
    | ImportPart
    | Answered
)
