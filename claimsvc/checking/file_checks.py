"""The files of the service: its database, its key, the broker's password file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from claimsvc.checking.finding import Finding, Verdict, passed_or, unseen
from claimsvc.immutable import immutable
from claimsvc.store.contract import StoreError
from claimsvc.store.sqlite.sqlite_files import Inspection, inspect

DATABASE, PASSWORDS = "database", "password file"
LEAST_FREE_BYTES = 256 * 1024 * 1024
_OTHERS = 0o007
_FINGERPRINT, _TENANT = "key_fingerprint", "default_tenant"
UNSERVED = "/+#"
"""Characters that a login of a stock broker must not have: it is a level of its lane."""


@immutable(kw_only=True)
class Files:
    """Where they are. `fingerprint` returns that of the key in the key file, and may raise `key_failure`."""

    database: Path
    key: Path
    fingerprint: Callable[[], str]
    key_failure: type[Exception]
    tenant: str


def is_there(path: Path) -> bool:
    """Return whether a file can be seen; not where its directory is closed to this user."""
    try:
        return path.exists()
    except OSError:
        return False


def examine_files(files: Files) -> Iterator[Finding]:
    """Yield what there is to say of them."""
    try:
        found = inspect(files.database, _FINGERPRINT, _TENANT)
    except StoreError as error:
        missing = "run `claimsvc init`, look at store.path, or run this as the service's user"
        change = "see the backup's page" if is_there(files.database) else missing
        yield Finding(DATABASE, "the database can be read", Verdict.FAIL, f"{files.database}: {error}", change)
    else:
        size_mb = files.database.stat().st_size / 1e6
        yield passed_or(
            DATABASE,
            "the database is whole",
            [found.damage] if found.damage else [],
            "stop the service and restore a backup",
            seen=f"{files.database}, {size_mb:.1f} MB",
        )
        yield _schema(found)
        yield _key(files, found)
    yield _space(files.database)
    yield _privacy(files)


def _schema(found: Inspection) -> Finding:
    name, seen = "the schema is this release's", f"schema {found.schema}"
    if found.schema > found.newest_schema:
        told = f"{seen}, and this release knows {found.newest_schema}"
        return Finding(DATABASE, name, Verdict.FAIL, told, "use the newer release")
    if found.schema < found.newest_schema:
        told = f"{seen} of {found.newest_schema}"
        return Finding(DATABASE, name, Verdict.WARN, told, "a backup, and then a start of this release brings it up")
    return Finding(DATABASE, name, Verdict.PASS, seen)


def _key(files: Files, found: Inspection) -> Finding:
    name = "key file and settings belong to the database"
    troubles = []
    if not is_there(files.key):
        troubles.append(f"there is no {files.key}")
    else:
        try:
            if found.values.get(_FINGERPRINT, "") not in {"", files.fingerprint()}:
                troubles.append(f"{files.key} is of another database")
        except (files.key_failure, OSError) as error:
            troubles.append(str(error))
    tenant = found.values.get(_TENANT, files.tenant)
    if tenant != files.tenant:
        troubles.append(f"tenants.default is {files.tenant!r}, and the database was made with {tenant!r}")
    return passed_or(
        DATABASE, name, troubles, "restore the key file, or the setting, that the database was made with"
    )


def _space(database: Path) -> Finding:
    name = "the disk has room"
    try:
        free = shutil.disk_usage(database.parent).free
    except OSError as error:
        return unseen(DATABASE, name, f"{database.parent}: {error.strerror}")
    return passed_or(
        DATABASE,
        name,
        [f"{free / 1e6:.0f} MB are left"] if free < LEAST_FREE_BYTES else [],
        "make room: with a full disk nothing is lost, and nothing is answered either",
        seen=f"{free / 1e9:.1f} GB are left",
    )


def _privacy(files: Files) -> Finding:
    """Nobody outside of owner and group may read what the service keeps; the key is its owner's alone."""
    name = "its files are private"
    private = [files.database, files.key, *(files.key.with_name(each) for each in ("broker-password", "client-id"))]
    allowed = {files.key: 0o600}
    private = [path for path in private if is_there(path)]  # what is missing is told elsewhere, where it matters
    if not private:
        return unseen(
            DATABASE, name, f"{files.database.parent}: none of them can be seen", "run it as the service's user"
        )
    troubles = []
    for path in private:
        mode = path.stat().st_mode & 0o777
        if mode & (0o777 & ~allowed[path] if path in allowed else _OTHERS):
            troubles.append(f"{path} has mode {mode:o}")
    return passed_or(DATABASE, name, troubles, "chmod 600 (the database: 660, its group the broker's)")


def examine_logins(paths: Sequence[Path], *, is_known: bool) -> Finding:
    """Warn of logins in the broker's password files that cannot be the name of a lane.

    `is_known` says whether the broker is known to have these files and no other.
    """
    name = "every login can be a lane"
    if not paths and not is_known:
        return unseen(PASSWORDS, name, "no password file is known", "give --mosquitto-conf")
    troubles = []
    for path in paths:
        try:
            troubles += [repr(login) for login in _unserved(path.read_text(errors="replace").splitlines())]
        except FileNotFoundError:
            if len(paths) == 1:
                return unseen(PASSWORDS, name, f"there is no {path}")
            continue  # the broker would not start with it, either
        except OSError as error:
            return unseen(PASSWORDS, name, f"{path}: {error.strerror}")
    change = f"such a login cannot be served: rename it, without any of {' '.join(UNSERVED)}"
    return passed_or(PASSWORDS, name, troubles, change, seen=" ".join(map(str, paths)), as_warning=True)


def _unserved(lines: Iterable[str]) -> list[str]:
    logins = (line.partition(":")[0] for line in lines if line and not line.startswith("#"))
    return [login for login in logins if set(login) & set(UNSERVED)]
