"""Whether the broker's logins have caught up with the store's, and the trying again while they have not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from claimsvc.clock import Clock
from claimsvc.core.decision import Change, Put, Remove
from claimsvc.core.model import Credential
from claimsvc.log import Logger
from claimsvc.store.contract import StoreError

_RETRY_MS, _RETRY_MOST_MS = 500, 60_000
_MOST_DOUBLINGS = 16


class Logins(Protocol):
    """Who makes the broker admit the logins of the store."""

    @property
    def due_ms(self) -> int | None:
        """When the logins written last are no longer the store's though no row changes, epoch milliseconds."""

    async def sync(self) -> str | None:
        """Bring the broker's logins to the store's; returns what went wrong, or None. Raises StoreError."""

    async def foreign(self) -> frozenset[str]:
        """Return the logins the broker admits that are not the store's."""


class LoginSync:
    """Keeps the broker's logins up with what is committed. `logins` is None where nobody has to be told."""

    def __init__(self, logins: Logins | None, log: Logger, clock: Clock) -> None:
        self._logins = logins
        self.log = log
        self._clock = clock
        self.behind = logins is not None
        """From the start: the last run may have died between its commit and the broker's logins."""
        self._next_try_ms = 0
        """On the steady clock."""
        self._failures = 0
        self._due_ms: int | None = None

    def note(self, changes: Sequence[Change]) -> None:
        """Take note of changes just committed."""
        if self._logins is not None and not self.behind:
            self.behind = any(map(changes_logins, changes))

    def note_all(self) -> None:
        """Take note that many logins changed."""
        self.behind = self._logins is not None

    @property
    def due_in_s(self) -> float:
        """Return in how many seconds the broker's logins are behind by themselves; infinity for never."""
        return math.inf if self._due_ms is None else max(0, self._due_ms - self._clock()) / 1000

    async def catch_up(self) -> None:
        """Bring the broker's logins to the store's; what fails is tried again, ever more rarely.

        A reload that hangs holds everybody up while it is tried.
        """
        now_ms = self._clock.steady_ms()
        self.behind = self.behind or not self.due_in_s
        if self._logins is None or not self.behind or now_ms < self._next_try_ms:
            return
        try:
            error = await self._logins.sync()
        except StoreError as failure:
            error = str(failure)
        self.behind = error is not None
        self._due_ms = self._logins.due_ms
        self._failures = self._failures + 1 if error else 0
        if error:
            delay_ms = min(_RETRY_MS << min(self._failures, _MOST_DOUBLINGS), _RETRY_MOST_MS)
            self._next_try_ms = now_ms + delay_ms
            self.log.error("logins_behind", error=error)

    async def foreign(self) -> frozenset[str]:
        """Return the logins the broker admits that are not ours and so never may be."""
        return await self._logins.foreign() if self._logins else frozenset()


def changes_logins(change: Change) -> bool:
    """Return whether a change creates, changes or ends a login."""
    if isinstance(change, Put):
        return isinstance(change.row, Credential)
    return isinstance(change, Remove) and change.kind is Credential
