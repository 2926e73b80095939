"""What a decision is made of: the outcome the asker gets, and the changes that make it true."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from claimsvc.core.model import (
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Credential,
    Customer,
    Device,
    DeviceGroup,
    DeviceProfile,
    DeviceRequest,
    Event,
    Group,
    RequestStatus,
    Role,
    Row,
    Tenant,
    User,
    UserFailures,
)
from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.core.secrets import Secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal is a value: it may come with changes of its own, such as a counted attempt."""

    reason: Reason
    detail: str = ""
    retry_after_ms: int | None = None

    @property
    def message(self) -> str:
        """Return the text for a person."""
        text = MESSAGES[self.reason]
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(frozen=True, slots=True)
class RequestRefused(Refused):
    """A refusal about a device request: which, and where it stands."""

    device_id: str = ""
    status: RequestStatus | None = None


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """A claim window is open until `expires_at_ms`."""

    device: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class WindowsOpened:
    """A gateway's message: one outcome per device it named, in its order."""

    entries: tuple[tuple[str, WindowOpened | Refused], ...]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a client may send (TB 5.1)."""

    is_gateway: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """The device belongs to the caller's customer now."""

    device: Device


@dataclass(frozen=True, slots=True)
class Released:
    """The device belongs to nobody; `was_owned` is False when there was nothing to release."""

    device: Device
    was_owned: bool


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """One item that was asked for, made or changed."""

    item: T
    secret: Secret | None = None
    """A password or token that is given this once."""
    created: bool = False


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """A device's newest login; `credential` is None when this service keeps none for it."""

    device: Device
    credential: Credential | None
    secret: Secret | None = None
    """The login's secret, opened by the pipeline while it may be given again."""


@dataclass(frozen=True, slots=True)
class NewCredentials:
    """A device's new login. `username` is None for an access token.

    It lets in from `valid_from_ms`; what the device had before does until `old_valid_until_ms`, where it had any.
    """

    device: Device
    username: str | None
    secret: Secret
    valid_from_ms: int
    old_valid_until_ms: int | None


@dataclass(frozen=True, slots=True)
class FoundAttributes:
    """A device's SERVER_SCOPE attributes. Windows stand for `claimingData`, whose key is never shown."""

    attributes: tuple[Attribute, ...]
    server_window: ClaimWindow | None


@dataclass(frozen=True, slots=True)
class Bound:
    """A gateway with the devices just bound to it."""

    gateway: Device
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CredentialsGiven:
    """The login of an accepted device. `credential` is opened by the pipeline; both are None where we keep none."""

    request: DeviceRequest
    username: str
    credential: Credential | None
    secret: Secret | None


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The login of a provisioned device: fresh with its `secret`, or one whose secret the pipeline opens."""

    device: Device
    credential: Credential
    secret: Secret | None = None
    is_name_made_up: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedAll:
    """What became of each request that waited: None, or why not."""

    results: tuple[tuple[str, RequestRefused | None], ...]


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """How many devices a tenant may have (0: any number) and has."""

    limit: int
    devices: int
    is_reached: bool


class RowStatus(StrEnum):
    """What became of a row that was understood and allowed."""

    CREATED = "created"
    UPDATED = "updated"


class RowField(StrEnum):
    """What of a row is to blame; its dialect has a column for it."""

    DEVICE_ID = "device_id"
    TENANT = "tenant"
    SECRET = "secret"  # noqa: S105 - a name
    EXPIRES_AT = "expires_at"


@dataclass(frozen=True, slots=True)
class RowDone:
    """A row of a file that is done; a claim key's with the time until which it is good, epoch milliseconds."""

    status: RowStatus
    until_ms: int | None = None
    is_replaced: bool = False
    """Whether another claim key, which was still open, stopped working."""


@dataclass(frozen=True, slots=True)
class RowRefused:
    """A row of a file that is not; where one can be blamed, the field, or the column its dialect read."""

    refused: Refused
    column: RowField | str | None = None


@dataclass(frozen=True, slots=True)
class RowsDone:
    """A slice of a file: what became of each row, in its order."""

    results: tuple[RowDone | RowRefused, ...]


@dataclass(frozen=True, slots=True)
class ImportAllowed:
    """The file may be worked through, slice by slice, for the caller's tenant."""

    tenant: str


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """How far a file is worked through: `rows` in all, and what became of those that were reached."""

    rows: int
    created: int = 0
    updated: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.created + self.updated + self.failed


@dataclass(frozen=True, slots=True)
class ImportFinished:
    """A file was worked through. `parts` are what its dialect noted of each slice."""

    counts: ImportCounts
    parts: tuple[Any, ...]
    is_rehearsal: bool
    """Whether nothing was changed: the file was only tried."""


@dataclass(frozen=True, slots=True)
class Done:
    """There is nothing to show."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page the caller may read; the store fills it from its reader after the batch is committed."""

    kind: type[Tenant | Customer | User | Group | Role | Device | DeviceGroup | Event]
    tenant: str | None
    limit: int
    after: str | None
    device: str | None = None
    since_ms: int | None = None
    prefix: str | None = None
    """All devices whose names begin so; None, for devices, means the gateways."""
    group_id: str | None = None
    """Of those the devices of this group only."""


@dataclass(frozen=True, slots=True)
class RequestListing:
    """A numbered page of device requests, with their number where that was asked for."""

    tenant: str
    page: int
    size: int
    status: RequestStatus | None
    with_total: bool


@dataclass(frozen=True, slots=True)
class RequestPage:
    """A filled page of device requests."""

    listing: RequestListing
    items: tuple[DeviceRequest, ...]
    is_last: bool
    total: int | None


@dataclass(frozen=True, slots=True)
class ProfileListing:
    """A numbered page of device profiles in order of their names; pages count from 0."""

    tenant: str
    page: int
    size: int


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """A filled page of device profiles, with the number of all of them."""

    listing: ProfileListing
    items: tuple[DeviceProfile, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Page:
    """A filled listing. `next_after` continues it; None on the last page."""

    listing: Listing
    items: tuple[object, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class ClaimingQuestion:
    """A device whose claiming the caller may look at; the store answers from its reader."""

    device: Device
    events: tuple[str, ...]
    """Which audit events are wanted."""
    key_replaced: str
    """The audit event of a replaced key; the newest is wanted, however many other events came after it."""
    allow_by_default: bool


@dataclass(frozen=True, slots=True)
class ClaimingState:
    """What decides whether a device can be claimed, and its newest events, newest first."""

    question: ClaimingQuestion
    windows: tuple[ClaimWindow, ...]
    claiming_allowed: Attribute | None
    attempts: tuple[ClaimAttempts, ...]
    """The users who failed here, the latest first."""
    failures: tuple[UserFailures, ...]
    """The failures of those users over all devices."""
    events: tuple[Event, ...]
    key_replaced: Event | None
    """When an open claim key was last replaced."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The request was answered before; `sealed` is that answer."""

    sealed: str


Outcome = (
    Refused
    | WindowOpened
    | WindowsOpened
    | SessionLimits
    | Claimed
    | Released
    | Found[Device]
    | Found[Customer]
    | Found[User]
    | Found[Group]
    | Found[Role]
    | Found[Tenant]
    | Found[DeviceRequest]
    | Found[DeviceProfile]
    | FoundCredential
    | NewCredentials
    | FoundAttributes
    | CredentialsGiven
    | Provisioned
    | AcceptedAll
    | DeviceLimit
    | RowsDone
    | ImportAllowed
    | ImportFinished
    | RequestListing
    | RequestPage
    | ProfileListing
    | ProfilePage
    | Bound
    | Done
    | Listing
    | Page
    | ClaimingQuestion
    | ClaimingState
    | Repeated
)


@dataclass(frozen=True, slots=True)
class Put:
    """Write a row, new or changed."""

    row: Row


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a row away, with everything that hangs on it."""

    kind: type[Row]
    key: str | tuple[str, str] | tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Append:
    """Write a line of the audit trail."""

    event: Event


Change = Put | Remove | Append


@dataclass(frozen=True, slots=True)
class ClaimNotice:
    """Tell a device that it was claimed or released (design 4.2)."""

    principal: str
    claimed: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class CredentialsNotice:
    """Give a device its login where it asked for it (design 4.3)."""

    lane: str
    tenant: str
    username: str
    issued: Secret | None


Notice = ClaimNotice | CredentialsNotice


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome, the changes it stands on, whom else to tell, and whose connections end."""

    outcome: Outcome
    changes: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = ()
    ended: tuple[str, ...] = ()
    """Principals whose login is no more or another one: who is connected with it has to go."""


def refuse(reason: Reason, detail: str = "") -> Decision:
    """Return a refusal that changes nothing."""
    return Decision(Refused(reason, detail))
