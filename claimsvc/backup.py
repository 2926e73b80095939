"""Backups: a copy of the database in one file, and optionally a copy of the key file that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import getpid, link
from pathlib import Path

from claimsvc.files import sync_directory, write_private
from claimsvc.immutable import immutable
from claimsvc.store.sqlite.sqlite_files import copy


class BackupError(Exception):
    """The backup cannot be written; nothing was changed."""


@immutable
class Backup:
    """A finished backup. `key` is the copy of the key file, if there is one."""

    path: Path
    bytes: int
    schema: int
    key: Path | None


def back_up(
    database: Path, key: Path, target: Path, key_directory: Path | None, progress: Callable[[int, int], None]
) -> Backup:
    """Write a backup to `target`, and a copy of the key file into `key_directory` if one is given.

    Never overwrites a file. A file under its final name is complete. `progress` receives the number of pages copied
    and the number of all pages. Raises BackupError, StoreError or OSError.
    """
    if not database.exists():
        raise BackupError(f"no database at {database}: check store.path")
    key_copy = key_directory / key.name if key_directory is not None else None
    for path in (target, *((key_copy,) if key_copy else ())):
        if path.exists():
            raise BackupError(f"{path} exists already; it is not overwritten")
    if not target.parent.is_dir():
        raise BackupError(f"no directory {target.parent}")
    if key_copy is not None and not key.exists():
        raise BackupError(f"no key file {key}")
    with _draft_of(target) as draft, ExitStack() as on_failure:
        schema = copy(database, draft, progress)
        if key_copy is not None:
            on_failure.callback(key_copy.unlink, missing_ok=True)
            write_private(key_copy, key.read_text())
        try:
            link(draft, target)  # unlike a rename, it fails if the target has been created meanwhile
        except FileExistsError:
            raise BackupError(f"{target} exists already; it is not overwritten") from None
        on_failure.pop_all()
    sync_directory(target.parent)
    return Backup(target, target.stat().st_size, schema, key_copy)


@contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`. At the end, remove this file and the files that SQLite adds to it."""
    draft = target.with_name(f".{target.name}.{getpid()}.part")
    try:
        yield draft
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
