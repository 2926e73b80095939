"""The service's own login and all issued logins, kept in Mosquitto's password file."""

from __future__ import annotations

from collections.abc import Callable

from claimsvc.credentials.password_file import BrokerReloadError, PasswordFile, PasswordFileError
from claimsvc.store.contract import Store


class FileLogins:
    """Keeps the password file equal to the store. `own` is the service's (login, hash).

    `report(level, event, fields)` writes to the log. `clock` returns epoch milliseconds.
    """

    def __init__(
        self,
        file: PasswordFile,
        store: Store,
        own: tuple[str, str],
        report: Callable[[str, str, dict[str, object]], None],
        clock: Callable[[], int],
    ) -> None:
        self._file = file
        self._store = store
        self._own = own
        self._report = report
        self._clock = clock
        self._due_ms: int | None = None
        self._told = False
        """True if the broker has loaded the file as it is."""

    @property
    def due_ms(self) -> int | None:
        """The time at which a password changes although no row changes, epoch milliseconds; None if there is none."""
        return self._due_ms

    async def sync(self) -> str | None:
        """Write the file, and make the broker load it if it changed. Return the error, or None.

        The first call always makes the broker load it, because the last run may have died in between. Raises
        StoreError.
        """
        try:
            await self.write()
            if not self._told:
                await self._file.reload()
                self._told = True
        except (PasswordFileError, BrokerReloadError) as error:
            return str(error)
        return None

    async def write(self) -> None:
        """Write the file without making the broker load it. Raises PasswordFileError, StoreError."""
        logins, due_ms = await self._store.password_logins(self._clock())
        written = await self._file.write([*logins, self._own])
        self._due_ms = due_ms
        if written.changed:
            self._told = False
            self._report("info", "logins_written", {"logins": written.logins})
        for login in written.left_out:
            self._report("error", "login_left_out", {"login": login})

    async def foreign(self) -> frozenset[str]:
        """Return the logins of the file that the service did not issue. Raises PasswordFileError."""
        return await self._file.foreign()
