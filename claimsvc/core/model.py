"""The rows that rules read and write. Each is frozen and has a `key`, unique among its kind.

Times are epoch milliseconds UTC. Hashes are text.
"""

from __future__ import annotations

from enum import StrEnum

from claimsvc.immutable import immutable

CLAIMING_ALLOWED = "claimingAllowed"
"""The SERVER_SCOPE attribute that a device needs to open a claim window, unless `claim.allow_by_default` is set."""
TRUE = "true"
"""The JSON text of its value."""
CLAIMING_DATA = "claimingData"
"""The SERVER_SCOPE attribute that opens a server window."""
PROVISION_STATE = "provisionState"
"""The SERVER_SCOPE attribute of a provisioned device. While it exists, the device is not provisioned again."""
PROVISIONED = '"provisioned"'
"""The JSON text of its value."""


class PrincipalKind(StrEnum):
    """The kind of a principal. It never changes."""

    DEVICE = "device"
    USER = "user"
    SERVICE = "service"


class WindowSource(StrEnum):
    """The origin of a claim window: the device itself, or the `claimingData` attribute."""

    DEVICE = "device"
    SERVER = "server"


class CredentialKind(StrEnum):
    """The kind of a login on the broker."""

    PASSWORD = "password"  # noqa: S105 - the kind's name
    ACCESS_TOKEN = "access_token"  # noqa: S105 - the kind's name


@immutable
class Tenant:
    """One organisation. Everything else belongs to a tenant."""

    id: str
    title: str
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.id


@immutable
class Principal:
    """The identity of a client on the broker. The name is unique over all kinds and tenants."""

    name: str
    kind: PrincipalKind
    tenant: str

    @property
    def key(self) -> str:
        return self.name


@immutable
class EndedPrincipal:
    """A principal whose logins the service ended. Later messages in its name, such as a will, are refused."""

    name: str
    ended_at_ms: int

    @property
    def key(self) -> str:
        return self.name


@immutable
class Customer:
    """An owner of claimed devices."""

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
    """A human or a program that calls the API. A user of a customer can claim devices for that customer."""

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
    """A device or gateway. `principal` is None while it has no login of its own."""

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
    """The hash of the key of its last claim."""

    @property
    def key(self) -> str:
        return self.id

    @property
    def is_loginless(self) -> bool:
        """True if it has neither a login of its own nor a gateway, as a list creates it."""
        return self.principal is None and self.gateway_id is None


class Strategy(StrEnum):
    """The use of a profile's key and secret. Facts: docs/original-systems.md#provisioning-strategies."""

    DISABLED = "disabled"
    CREATE = "create"  # creates a device, if its name is new
    CHECK = "check"  # gives an existing device its login, once


@immutable
class DeviceProfile:
    """The key and secret that provision the devices of one type: the profile's name is their type.

    The key is unique over all tenants, because a device does not name its tenant.
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
    """The time in which a key claims a device. Open while now <= expires_at_ms."""

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
    """A SERVER_SCOPE attribute. `value` is JSON text."""

    device_id: str
    name: str
    value: str
    updated_at_ms: int

    @property
    def is_true(self) -> bool:
        """True if the value is the boolean `true`. As in ThingsBoard, the text "true" is not."""
        return self.value == TRUE

    @property
    def key(self) -> tuple[str, str]:
        return self.device_id, self.name


@immutable
class ClaimAttempts:
    """The failed claims of one user at one device since the last lockout, and the number of lockouts."""

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
    """The times of one user's recent failed claims of any device, oldest first."""

    user: str
    recent_ms: tuple[int, ...]
    lockouts: int
    locked_until_ms: int

    @property
    def key(self) -> str:
        return self.user


AT_ONCE_MS = 0
"""The end of a login that stops working at once. It stays ended even if the clock is set back."""


@immutable
class Credential:
    """A login on the broker. The service can open `sealed` until `sealed_until_ms`.

    The login stops working at `revoked_at_ms`; None means never.
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
    """A password from before a rotation, valid while now < until_ms.

    A broker that knows one password for each login admits only this one until then, and the new one after that.
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
    """A request for a new device. `id` is the device's id, unique over all tenants: a poll names no tenant."""

    id: str
    tenant: str
    status: RequestStatus
    owner: str
    """The user who created it."""
    created_at_ms: int
    group_id: str | None = None
    type: str | None = None
    properties: str | None = None
    """Custom properties, JSON text."""
    lane: str | None = None
    """The lane of the first poll. Only this lane, or a client with the first token, gets the credentials."""
    token_hash: str | None = None
    """The hash of the security token in the first poll."""
    token_failures: int = 0
    contested: bool = False
    """True if another client polled for it too."""
    enrollment_hash: str | None = None
    """The hash of a one-time password, which replaces acceptance."""
    enrollment_until_ms: int | None = None
    issued_at_ms: int | None = None
    """The time at which the credentials were created."""

    @property
    def key(self) -> str:
        return self.id


@immutable
class DeviceGroup:
    """A group of devices. `path` is the names of the groups above it and its own, separated by slashes."""

    id: str
    tenant: str
    path: str
    created_at_ms: int

    @property
    def key(self) -> str:
        return self.id


@immutable
class DeviceGroupMember:
    """The membership of a device in a group. A device may be in several groups."""

    group_id: str
    device_id: str

    @property
    def key(self) -> tuple[str, str]:
        return self.group_id, self.device_id


@immutable
class Import:
    """The progress of a file of rows, so that the service can continue it after a crash."""

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
    """The result of a slice of a file, sealed until the file is answered. `number` is that of its first row."""

    lane: str
    request_id: str
    number: int
    sealed: str

    @property
    def key(self) -> tuple[str, str, int]:
        return self.lane, self.request_id, self.number


@immutable
class Event:
    """An event of the audit trail, which is append-only."""

    tenant: str
    at_ms: int
    event: str
    principal: str
    device_id: str | None = None
    device: str | None = None
    detail: str | None = None


@immutable
class Answered:
    """The first answer to a request id, sealed. A repeated request gets it again and changes nothing."""

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
