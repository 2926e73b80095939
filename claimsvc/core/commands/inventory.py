"""Commands of tenant admins who look at their devices: all of them, and why one cannot be claimed."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.commands.base import Command
from claimsvc.core.commands.devices import OnDevice


@dataclass(frozen=True, slots=True)
class ListDevices(Command):
    """Read a page of devices in order of their names that begin with `prefix`; of a group where one is named."""

    limit: int
    after: str | None
    prefix: str
    group_id: str | None


@dataclass(frozen=True, slots=True)
class ExamineClaiming(OnDevice):
    """Read what decides whether a device can be claimed, and what became of the last claims."""
