"""The contract of every store. `tests/contract` checks each store against it.

A batch is one transaction. `begin` loads the facts that the commands need, the service decides, `commit` writes the
changes:

* **Facts.** They show everything that was committed before `begin`. Rows of the batch's keys do not change until the
  transaction ends, except through its own `commit`: a store with several writers locks the keys before it loads them.
* **Order.** The rows after `commit` are the same as if each change were written alone, in sequence. A store may
  reorder and merge the changes if that stays true. Removing a row removes the rows that belong to it:
  a device its windows, attributes, attempts and memberships; a user its attempts; a login its former passwords; a
  file its parts. A gateway that is removed is cleared from its devices. Events are appended in the order of the
  changes.
* **Atomicity.** `commit` returns after everything is durable: it survives a kill and a power cut. If it raises,
  nothing is written. Leaving the block without `commit` writes nothing. A cancelled `commit` is finished or undone
  before the cancellation continues. The caller cannot know which, so it handles the batch again.
* **Errors.** `StoreError`: the store cannot work now (disk full, file damaged, locked, server gone). The same batch
  may succeed later. `InconsistentError`: these changes contradict the rows, such as a second device of one name. The
  same batch fails again. Any other exception is a defect of this program.
* **First answers.** `repeat_keys` are (lane, request id). Their `Answered` rows are loaded with the facts. A new row
  with such a key replaces the older one.
* **Concurrency.** One task owns the writing side: `begin`, `delete_expired` and `put_service_value`
  must not overlap, and raise RuntimeError if they do. `read`, `query`, `read_import`, `read_import_parts`,
  `service_value` and `password_logins` may run at any time, in any number, also inside a transaction. They see
  committed rows only, and all of a batch or nothing of it.
* **Time.** A store has no clock. The caller passes the time, in epoch milliseconds. Rules must not depend on when
  `delete_expired` runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from claimsvc.core.command import Command
from claimsvc.core.decision import Change, Outcome, Query
from claimsvc.core.facts import Facts
from claimsvc.core.model import Import
from claimsvc.core.policy import Policy

MOST_ATTEMPTS, MOST_EVENTS = 100, 20
"""The largest number of users, and of events, in the answer to a `ClaimingQuestion`."""


class StoreError(Exception):
    """The store cannot work now: disk full, file damaged, locked. Nothing of the batch was written."""


class StoreInUseError(StoreError):
    """Another process has this store open."""


class SchemaTooNewError(StoreError):
    """The database was written by a newer release."""


class InconsistentError(Exception):
    """The changes contradict the rows in the store. Nothing of the batch was written."""


class Transaction(Protocol):
    """One batch between loading and commit. It serves one `commit`."""

    @property
    def facts(self) -> Facts:
        """The rows that the batch's commands need."""

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make the changes durable. Raises StoreError or InconsistentError; then nothing is written."""


class Store(Protocol):
    """The rows of one installation."""

    def begin(
        self, commands: Sequence[Command], policy: Policy, repeat_keys: Iterable[tuple[str, str]] = ()
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction with the facts of these commands. `repeat_keys` are (lane, request id).

        Leaving the block without `commit` changes nothing. Raises StoreError.
        """

    async def read(
        self, commands: Sequence[Command], policy: Policy, repeat_keys: Iterable[tuple[str, str]] = ()
    ) -> Facts:
        """Return the facts of these commands without locks, to check permissions before costly work.

        Raises StoreError.
        """

    async def query(self, question: Query) -> Outcome:
        """Return the filled listing or state. Raises StoreError."""

    async def delete_expired(self, now_ms: int, events_before_ms: int) -> bool:
        """Delete a slice of the expired rows of each kind, and of the audit events before `events_before_ms`.

        Return whether there may be more. Raises StoreError.
        """

    async def cut(self, answered_until_ms: int, sealed_until_ms: int) -> None:
        """Shorten the life of first answers and sealed logins: they end at these times at the latest.

        Only the oldest first answers are cut: those that the next `delete_expired` reads. Raises StoreError.
        """

    async def read_import(self, lane: str, request_id: str) -> Import | None:
        """Return the progress of a file, or None. Raises StoreError."""

    async def read_import_parts(self, lane: str, request_id: str) -> list[str]:
        """Return the sealed results of a file's slices, in the order of its rows. Raises StoreError."""

    async def service_value(self, name: str) -> str | None:
        """Return a value of the service itself, such as its key's fingerprint. Raises StoreError."""

    async def put_service_value(self, name: str, value: str) -> None:
        """Store a value of the service itself, durably. Raises StoreError."""

    async def password_logins(self, now_ms: int) -> tuple[list[tuple[str, str]], int | None]:
        """Return (login, hash) of every login that the broker may admit by password, and until when.

        None: until a row changes. Raises StoreError.
        """
