"""The store's logins at the broker: its own service login and everything issued, in Mosquitto's password file."""

from __future__ import annotations

from claimsvc.credentials.password_file import BrokerReloadError, PasswordFile, PasswordFileError
from claimsvc.log import Logger
from claimsvc.store.repository import Repository


class LoginsError(Exception):
    """The broker's logins could not be brought to the store's; trying again may help."""


class FileLogins:
    """Brings the password file to the store. `own` is the service's (login, hash)."""

    def __init__(self, file: PasswordFile, store: Repository, own: tuple[str, str], log: Logger) -> None:
        self._file = file
        self._store = store
        self._own = own
        self._log = log
        self._told = False
        """Whether the broker has been told of the file as it is."""

    async def sync(self) -> None:
        """Write the file and tell the broker. At the first call always: the last run may have died in between.

        Raises LoginsError, StoreError.
        """
        logins = [*await self._store.password_logins(), self._own]
        try:
            written = await self._file.write(logins)
            self._told = self._told and not written.changed
            if not self._told:
                await self._file.reload()
                self._told = True
        except (PasswordFileError, BrokerReloadError) as error:
            raise LoginsError(str(error)) from error
        if written.changed:
            self._log.info("logins_written", logins=written.logins)
        for login in written.left_out:
            self._log.error("login_left_out", login=login)

    async def foreign(self) -> frozenset[str]:
        """Return the logins of the file that are not ours and so never may be. Raises LoginsError."""
        try:
            return await self._file.foreign()
        except PasswordFileError as error:
            raise LoginsError(str(error)) from error
