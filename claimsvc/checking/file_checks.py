"""Checks of the service's files: database, key files, the broker's password file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from claimsvc.checking.finding import Finding, Verdict, passed_or, skipped
from claimsvc.immutable import immutable
from claimsvc.store.contract import StoreError
from claimsvc.store.sqlite.sqlite_files import Inspection, inspect

DATABASE, PASSWORDS = "database", "password file"
LEAST_FREE_BYTES = 256 * 1024 * 1024
_OTHERS = 0o007
_FINGERPRINT, _TENANT = "key_fingerprint", "default_tenant"
UNSERVED = "/+#"
"""Characters that a login on a stock broker must not have, because the login is one level of its lane's topics."""


@immutable(kw_only=True)
class Files:
    """The files to check. `fingerprint` returns the fingerprint of the key file and may raise `key_failure`."""

    database: Path
    key: Path
    fingerprint: Callable[[], str]
    key_failure: type[Exception]
    tenant: str


def is_there(path: Path) -> bool:
    """Return whether a file exists; False if its directory is closed to this user."""
    try:
        return path.exists()
    except OSError:
        return False


def examine_files(files: Files) -> Iterator[Finding]:
    """Yield the findings about the files."""
    try:
        found = inspect(files.database, _FINGERPRINT, _TENANT)
    except StoreError as error:
        missing = "run `claimsvc init`, correct store.path, or run this command as the service's user"
        change = "restore a backup: see backup.md" if is_there(files.database) else missing
        yield Finding(DATABASE, "the database can be read", Verdict.FAIL, f"{files.database}: {error}", change)
    else:
        size_mb = files.database.stat().st_size / 1e6
        yield passed_or(
            DATABASE,
            "the database is intact",
            [found.damage] if found.damage else [],
            "stop the service and restore a backup",
            seen=f"{files.database}, {size_mb:.1f} MB",
        )
        yield _schema(found)
        yield _key(files, found)
    yield _space(files.database)
    yield _privacy(files)


def _schema(found: Inspection) -> Finding:
    name, seen = "the schema matches this release", f"schema {found.schema}"
    if found.schema > found.newest_schema:
        newer = f"{seen}; this release supports up to {found.newest_schema}"
        return Finding(DATABASE, name, Verdict.FAIL, newer, "use the newer release")
    if found.schema < found.newest_schema:
        older = f"{seen}; this release uses {found.newest_schema}"
        change = "make a backup, then start this release: it upgrades the database"
        return Finding(DATABASE, name, Verdict.WARN, older, change)
    return Finding(DATABASE, name, Verdict.PASS, seen)


def _key(files: Files, found: Inspection) -> Finding:
    name = "key file and settings match the database"
    troubles = []
    if not is_there(files.key):
        troubles.append(f"no file {files.key}")
    else:
        try:
            if found.values.get(_FINGERPRINT, "") not in {"", files.fingerprint()}:
                troubles.append(f"{files.key} belongs to another database")
        except (files.key_failure, OSError) as error:
            troubles.append(str(error))
    tenant = found.values.get(_TENANT, files.tenant)
    if tenant != files.tenant:
        troubles.append(f"tenants.default is {files.tenant!r}, but the database was created with {tenant!r}")
    change = "restore the key file, or the setting, that the database was created with"
    return passed_or(DATABASE, name, troubles, change)


def _space(database: Path) -> Finding:
    name = "the disk has free space"
    try:
        free = shutil.disk_usage(database.parent).free
    except OSError as error:
        return skipped(DATABASE, name, f"{database.parent}: {error.strerror}")
    return passed_or(
        DATABASE,
        name,
        [f"{free / 1e6:.0f} MB free"] if free < LEAST_FREE_BYTES else [],
        "free some space: on a full disk the service loses nothing but answers nothing",
        seen=f"{free / 1e9:.1f} GB free",
    )


def _privacy(files: Files) -> Finding:
    """Check the modes: owner and group only, and the key file for its owner only."""
    name = "the service's files are private"
    private = [files.database, files.key, *(files.key.with_name(each) for each in ("broker-password", "client-id"))]
    allowed = {files.key: 0o600}
    private = [path for path in private if is_there(path)]  # other checks report missing files
    if not private:
        return skipped(
            DATABASE,
            name,
            f"{files.database.parent}: none of its files can be seen",
            "run this command as the service's user",
        )
    troubles = []
    for path in private:
        mode = path.stat().st_mode & 0o777
        if mode & (0o777 & ~allowed[path] if path in allowed else _OTHERS):
            troubles.append(f"{path} has mode {mode:o}")
    return passed_or(DATABASE, name, troubles, "chmod 600 (the database: 660, its group the broker's)")


def examine_logins(paths: Sequence[Path], *, is_known: bool) -> Finding:
    """Warn of logins in the broker's password files that cannot have a lane.

    `is_known` is True if these are known to be all password files of the broker.
    """
    name = "every login can have a lane"
    if not paths and not is_known:
        return skipped(PASSWORDS, name, "no password file is known", "pass --mosquitto-conf")
    troubles = []
    for path in paths:
        try:
            troubles += [repr(login) for login in _unserved(path.read_text(errors="replace").splitlines())]
        except FileNotFoundError:
            if len(paths) == 1:
                return skipped(PASSWORDS, name, f"no file {path}")
            continue  # the broker would not start without it
        except OSError as error:
            return skipped(PASSWORDS, name, f"{path}: {error.strerror}")
    change = f"the service cannot serve such a login: rename it, without any of {' '.join(UNSERVED)}"
    return passed_or(PASSWORDS, name, troubles, change, seen=" ".join(map(str, paths)), as_warning=True)


def _unserved(lines: Iterable[str]) -> list[str]:
    logins = (line.partition(":")[0] for line in lines if line and not line.startswith("#"))
    return [login for login in logins if set(login) & set(UNSERVED)]
