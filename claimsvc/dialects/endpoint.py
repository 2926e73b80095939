"""A topic that a dialect answers on, and what is common to reading its messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from claimsvc.core.command import Command
from claimsvc.core.decision import Refused
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Inbound, Rejected, Request
from claimsvc.immutable import immutable

USERS, CLIENTS = "u", "c"
"""The two kinds of lanes: of a principal, and of one client of a shared login."""


@immutable
class Endpoint:
    """A topic of a dialect, below its lane. `filter` may end in `+` levels; `depths` adds more of them."""

    dialect: str
    filter: str
    read: Callable[[Inbound], Request]
    depths: Sequence[int] = (0,)
    login: str | None = None
    """The one shared login whose clients have this topic in their lanes; None for the lanes of principals."""

    @property
    def lanes(self) -> str:
        """Return what follows the root in the lanes that have this topic; the lane's last level comes next."""
        return USERS if self.login is None else f"{CLIENTS}/{self.login}"

    @property
    def prefix(self) -> str | None:
        """Return what every tail begins with, or None if the tail is the filter itself."""
        return self.filter.partition("+")[0] if "+" in self.filter else None


def asked(decode: Callable[[Inbound], Command], inbound: Inbound, limit_bytes: int) -> Command | Refused:
    """Return the command of a message, or why it cannot be understood."""
    if len(inbound.payload) > limit_bytes:
        return Refused(Reason.TOO_LARGE, f"at most {limit_bytes} bytes")
    try:
        return decode(inbound)
    except Rejected as rejected:
        return rejected.refused
