"""The outcome of a command, the changes that make it true, and the notices that follow from it."""

from __future__ import annotations

from typing import Generic, TypeVar

from claimsvc.core.model import (
    Customer,
    Device,
    DeviceGroup,
    Event,
    Group,
    Role,
    Row,
    Tenant,
    User,
)
from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.core.secrets import Secret
from claimsvc.immutable import immutable

T = TypeVar("T")


class Outcome:
    """What the asker gets. Each feature defines its own kinds."""

    __slots__ = ()


class Query(Outcome):
    """A question the caller may ask; the store answers it from what is committed after the batch."""

    __slots__ = ()


class Notice:
    """What a client other than the asker is told because of a decision."""

    __slots__ = ()


@immutable
class Refused(Outcome):
    """A refusal is a value: it may come with changes of its own, such as a counted attempt."""

    reason: Reason
    detail: str = ""
    retry_after_ms: int | None = None

    @property
    def message(self) -> str:
        """Return the text for a person."""
        text = MESSAGES[self.reason]
        return f"{text}: {self.detail}" if self.detail else text


@immutable
class Found(Outcome, Generic[T]):
    """One item that was asked for, made or changed."""

    item: T
    secret: Secret | None = None
    """A password or token that is given this once."""
    created: bool = False


@immutable
class Done(Outcome):
    """There is nothing to show."""


@immutable
class Listing(Query):
    """A page the caller may read."""

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


@immutable
class Page(Outcome):
    """A filled listing. `next_after` continues it; None on the last page."""

    listing: Listing
    items: tuple[object, ...]
    next_after: str | None


@immutable
class Repeated(Outcome):
    """The request was answered before; `kept` is what was kept of that answer."""

    kept: str


@immutable
class Put:
    """Write a row, new or changed."""

    row: Row


@immutable
class Remove:
    """Take a row away, with everything that hangs on it."""

    kind: type[Row]
    key: str | tuple[str, str] | tuple[str, str, int]


@immutable
class Append:
    """Write a line of the audit trail."""

    event: Event


Change = Put | Remove | Append


@immutable
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
