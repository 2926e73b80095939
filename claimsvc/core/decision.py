"""The result of a rule: an outcome, the changes that make it true, and notices to other clients."""

from __future__ import annotations

from typing import Generic, TypeVar

from claimsvc.core.model import (
    Customer,
    Device,
    DeviceGroup,
    DeviceRequest,
    Event,
    Group,
    Role,
    Row,
    Tenant,
    User,
)
from claimsvc.core.policy import Given
from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.core.secrets import Secret
from claimsvc.immutable import immutable

T = TypeVar("T")


class Outcome:
    """The result of a command, for its caller. Each feature defines its own kinds."""

    __slots__ = ()


class Query(Outcome):
    """A listing or state that the caller may read. The store fills it from what is committed after the batch."""

    __slots__ = ()


class Notice:
    """A message to a client other than the caller, because of a decision."""

    __slots__ = ()


@immutable
class Refused(Outcome):
    """A refusal. It is a value, so that changes can come with it, such as a counted attempt."""

    reason: Reason
    detail: str = ""
    retry_after_ms: int | None = None

    @property
    def message(self) -> str:
        """Return the human-readable text."""
        text = MESSAGES[self.reason]
        return f"{text}: {self.detail}" if self.detail else text


@immutable
class Found(Outcome, Generic[T]):
    """One item that was read, created or changed."""

    item: T
    secret: Secret | None = None
    """A password or token. It is shown only this once."""
    created: bool = False


@immutable
class Done(Outcome):
    """Success, with nothing to show."""


@immutable
class Listing(Query):
    """A page that the caller may read."""

    kind: type[Tenant | Customer | User | Group | Role | Device | DeviceGroup | Event]
    tenant: str | None
    limit: int
    after: str | None
    device: str | None = None
    since_ms: int | None = None
    prefix: str | None = None
    """Devices: list those whose names begin with this text. None lists only the gateways."""
    group_id: str | None = None
    """With a prefix: list only the devices of this group."""


@immutable
class Page(Outcome):
    """A filled listing. Pass `next_after` as `after` to get the next page; it is None on the last page."""

    listing: Listing
    items: tuple[object, ...]
    next_after: str | None


@immutable
class Repeated(Outcome):
    """The request was answered before. `kept` is the stored answer."""

    kept: str


@immutable
class Put:
    """Insert or update a row."""

    row: Row


@immutable
class Remove:
    """Delete a row, and with it all rows that belong to it."""

    kind: type[Row]
    key: str | tuple[str, str] | tuple[str, str, int]


@immutable
class Append:
    """Append an event to the audit trail."""

    event: Event


Change = Put | Remove | Append


@immutable
class Decision:
    """An outcome, the changes that make it true, notices to other clients, and sessions to end."""

    outcome: Outcome
    changes: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = ()
    ended: tuple[str, ...] = ()
    """Principals whose login changed or stopped working: the broker disconnects their clients."""


def refuse(reason: Reason, detail: str = "") -> Decision:
    """Return a refusal that changes nothing."""
    return Decision(Refused(reason, detail))


def device_event(
    about: Device | DeviceRequest, name: str, by: str, given: Given, detail: str | None = None
) -> Append:
    """Return the audit event `name` about a device, or about the request for one. `by` is the principal or lane."""
    if isinstance(about, Device):
        return Append(Event(about.tenant, given.now_ms, name, by, about.id, about.name, detail))
    return Append(Event(about.tenant, given.now_ms, name, by, None, about.id, detail))


def tenant_event(tenant: str, name: str, by: str, given: Given, detail: str) -> Append:
    """Return the audit event `name` about something else in a tenant, which `detail` names."""
    return Append(Event(tenant, given.now_ms, name, by, detail=detail))
